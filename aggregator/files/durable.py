"""Write files whole or not at all. After a power cut a file has its name only if its folder was synced too."""

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
    """Replace the file of this name as a whole and durably. Raises OSError, having left the old file.

    A link of this name is replaced and not followed.
    """
    part = part_of(path)
    try:
        write_part(part, data, mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def part_of(path: Path) -> Path:
    """Return the name of a file while this process writes it: hidden, and without the suffix of the finished file."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def write_part(part: Path, data: bytes | Iterable[bytes], mode: int, owner: os.stat_result | None = None) -> None:
    """Write a file under a temporary name, whatever the umask is; its content is durable, its name is not.

    The file gets the user and group of `owner`, if we run as root. Raises OSError.
    """
    # a killed process may have had our process id, because all processes have the same one in a container
    part.unlink(missing_ok=True)
    # O_EXCL: the name can be foreseen, and a file that somebody else put there must not be written to
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(handle, "wb") as file:
        if owner is not None and os.geteuid() == 0:
            os.fchown(handle, owner.st_uid, owner.st_gid)
        os.fchmod(handle, mode)
        file.writelines([data] if isinstance(data, bytes) else data)
        file.flush()
        os.fsync(handle)


def place_of(path: Path) -> Path:
    """Return the path at which a new file replaces an old one: where a link leads, if the path is a link.

    Raises OSError for a folder, and for a device or pipe, which nobody could restore.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a device or a pipe; a file is needed", str(path))
    return Path(os.path.realpath(path))
