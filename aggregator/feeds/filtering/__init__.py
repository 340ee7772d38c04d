"""What `filter` needs: downloads, publications, rejected bodies, and what is remembered of each feed."""
