"""Collect access logs and realtime feeds; lose nothing, count everything."""

__version__ = "0.1.0"
