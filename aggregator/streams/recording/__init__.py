"""The files of streams: their names, their lines, what stands beside them."""
