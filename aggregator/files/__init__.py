"""Files that outlive crashes: written whole or not at all, appended exactly once, locked, safe from foreign links."""
