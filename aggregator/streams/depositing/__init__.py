"""Finished files on their way into a store: which they are, how they get there, and when they are removed here."""
