"""Write files as a whole or not at all: after a power cut one has its name only if its folder was synced too."""

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


def write_durably(path: Path, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
    """Put a file in the place of the one of this name, as a whole and durably. Raises OSError, having left the old one.

    A link that is there is replaced and not followed.
    """
    part = part_of(path)
    try:
        write_part(part, data, mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def part_of(path: Path) -> Path:
    """Return what a file is called while this process writes it: hidden, and with no suffix of its own."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def write_part(part: Path, data: bytes | Iterable[bytes], mode: int, owner: os.stat_result | None = None) -> None:
    """Write a file that is still to get its name, whatever the umask is; its text is durable, its name is not.

    `owner` has whose it becomes, where we may give files away. Raises OSError.
    """
    # one that was killed may have had our process id, as all have the same in a container
    part.unlink(missing_ok=True)
    # O_EXCL: the name can be foreseen, and nothing is written to what somebody laid there
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(handle, "wb") as file:
        if owner is not None and os.geteuid() == 0:
            os.fchown(handle, owner.st_uid, owner.st_gid)
        os.fchmod(handle, mode)
        file.writelines([data] if isinstance(data, bytes) else data)
        file.flush()
        os.fsync(handle)


def place_of(path: Path) -> Path:
    """Return the path that a new file is to take in place of an old one: where a link that is there leads.

    Raises OSError where no file is but a folder, or a device or pipe, which nobody would have back.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a device or a pipe; a file is needed", str(path))
    return Path(os.path.realpath(path))
