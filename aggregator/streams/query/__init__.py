"""What is known of streams: how each is doing, what was recorded of it, what is missing."""
