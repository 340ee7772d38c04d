"""Feeds: download, filter, compress, archive, and getting the data out again."""
