"""Files of older programs, and how they come into the folders of streams."""
