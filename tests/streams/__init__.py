"""Streams: what is recorded, read again, organized and exported."""
