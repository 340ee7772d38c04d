"""Give names to what is whole, durably: after a power cut a file has its name only if its folder was synced too."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folders(folders: Iterable[Path]) -> None:
    """Make the names in several folders durable. Raises OSError."""
    for folder in folders:
        sync_folder(folder)


def place_of(path: Path) -> Path:
    """Return the path that a new file is to take in place of an old one: where a link that is there leads.

    Raises OSError where no file is but a folder, or a device or pipe, which nobody would have back.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a device or a pipe; a file is needed", str(path))
    return Path(os.path.realpath(path))
