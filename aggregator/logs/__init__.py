"""The log pipeline: tail files, copy messages, ping a usage tracker, file lines."""
