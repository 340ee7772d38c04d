"""Collect feeds, streams, logs and metrics; lose nothing, count everything."""

__version__ = "0.1.0"
