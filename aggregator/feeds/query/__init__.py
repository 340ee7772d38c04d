"""Get data out of the archive: catalogue, coverage, retrieve, verify, export."""
