"""Read the body of a feed: its time, its format, its entities."""
