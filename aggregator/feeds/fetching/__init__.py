"""The parts of `download`: when a feed is due, how it is requested, and where its body is written."""
