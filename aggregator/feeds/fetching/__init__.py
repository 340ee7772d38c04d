"""What `download` needs: when a feed is due, how it is asked, and where its body lands."""
