"""What `tail` needs: following log files across rotation, truncation and deletion."""
