"""Files that outlive crashes: whole or not there, appended exactly once, locked, opened without being led astray."""
