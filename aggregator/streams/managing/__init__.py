"""Add, change and remove streams: their sections of loglines.cfg, and their programs."""
