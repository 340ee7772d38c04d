"""Open files in folders that others may write to, without being led to a file that those others could not reach.

Whoever can make an entry in a folder can make a link. A program of another user that opens the link reads or writes
the link's target with the rights of that user. Linux refuses the worst cases in /tmp (`fs.protected_symlinks`); this
module refuses them in every folder, on every system, and for each part of a path.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_LINKS = 40
"""How many links the kernel follows in one path."""
_NO_FILE = "not a regular file"
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# O_NONBLOCK: opening a FIFO must not wait for its other end
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_own(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file that only we make; refuse a link, a file that is not regular, and a file with a second name.

    Raises OSError with words that say what was found.
    """
    try:
        handle = os.open(path, flags | _FILE, mode)
    except OSError as error:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "is a link, where only a file can be; remove it", str(path)) from error
        raise
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return handle
    os.close(handle)
    words = "has a second name" if stat.S_ISREG(found.st_mode) else "is no regular file"
    raise OSError(errno.EPERM, f"{words}, where only a file of our own can be; remove it", str(path))


def open_part(path: Path) -> int:
    """Open a temporary file, empty, for writing. Its name can be foreseen, so somebody else may have made it first.

    Raises OSError as `open_own` does.
    """
    handle = open_own(path, os.O_WRONLY | os.O_CREAT, 0o666)
    # only now: O_TRUNC would have emptied a file with a second name before the file was checked
    os.ftruncate(handle, 0)
    return handle


def open_followed(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a regular file, and follow links only where that cannot be another user's trick (`may_follow`).

    Raises OSError with words that say which link was not followed, and what to do.
    """
    parts = _parts(os.path.join(os.getcwd(), path))
    folder, links = os.open("/", _FOLDER), 0
    try:
        while parts:
            name = parts.pop()
            target = _link(folder, name)
            if target is not None:
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if target.startswith("/"):
                    folder = _go_to("/", folder)
                parts += _parts(target)
            elif parts:
                folder = _go_to(name, folder)
            else:
                return _open_regular(name, flags, mode, folder)
        raise OSError(0, _NO_FILE)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(folder)


def untrusted_link(path: Path) -> str | None:
    """Return why the link at a path must not be followed; None when there is no link, or it may be followed."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _link(folder, path.name)
    except PermissionError as error:
        return error.strerror
    finally:
        os.close(folder)
    return None


def may_follow(folder: os.stat_result, link: os.stat_result, target: os.stat_result | None) -> bool:
    """True when a link cannot be meant to lead us to a file that its maker may not use himself.

    The link is ours or root's, or leads to a file of its maker, or lies where only we and root can make links.
    """
    trusted = (0, os.geteuid())
    if link.st_uid in trusted or (target is not None and target.st_uid == link.st_uid):
        return True
    return folder.st_uid in trusted and not folder.st_mode & 0o022


def _link(folder: int, name: str) -> str | None:
    """Return where a link that may be followed leads, None when the entry is no link. Raises PermissionError."""
    before = _facts(name, folder, follow=False)
    if before is None or not stat.S_ISLNK(before.st_mode):
        return None
    target = os.readlink(name, dir_fd=folder)
    after = _facts(name, folder, follow=False)
    same = after is not None and (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    if same and may_follow(os.fstat(folder), before, _facts(name, folder, follow=True)):
        return target
    owner = f"{name} is a link of user {before.st_uid} to what is not that user's, in a folder that others write to"
    raise PermissionError(errno.EPERM, f"{owner}: not followed; name its target, or make the link yourself")


def _facts(name: str, folder: int, *, follow: bool) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=follow)
    except OSError:
        return None


def _go_to(name: str, folder: int) -> int:
    """Open the folder of this name and return it; close the folder that it lies in."""
    inside = os.open(name, _FOLDER, dir_fd=folder)
    os.close(folder)
    return inside


def _open_regular(name: str, flags: int, mode: int, folder: int) -> int:
    handle = os.open(name, flags | _FILE, mode, dir_fd=folder)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(0, _NO_FILE)


def _parts(path: str) -> list[str]:
    """Return the names in a path, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
