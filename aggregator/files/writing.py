"""Write to a file descriptor."""

from __future__ import annotations

import os


def write_all(fd: int, data: bytes) -> None:
    """Write all data, however little the system takes at once. Raises OSError, when a part of it may be written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
