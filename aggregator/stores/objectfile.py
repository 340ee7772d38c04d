"""The files of a folder that is a store, one for each object: how a file is opened, hashed and put in its place."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from aggregator.errors import Reject, Unavailable
from aggregator.stores.store import Conflict, Info, ObjectReader

CHUNK = 1024 * 1024
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR)
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""Errors of the system for a name under which there is no file of ours."""


class ObjectFile(ObjectReader):
    """One state of an object: its file, also after another file took the object's name."""

    def __init__(self, key: str, path: Path, fd: int, start: int) -> None:
        self._key = key
        self._path = path
        self._file = io.FileIO(fd)
        self._file.seek(start)
        self._info: Info | None = None

    @property
    def info(self) -> Info:
        """Return the facts of this state; the first call reads the whole file for its tag."""
        if self._info is None:
            with faults_of_system(self._path):
                facts = os.fstat(self._file.fileno())
                tag = hash_at(self._file.fileno())
            self._info = Info(self._key, facts.st_size, facts.st_mtime, tag, tag)
        return self._info

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; with fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        with faults_of_system(self._path):
            while filled < len(view):
                count = self._file.readinto(view[filled:])
                if not count:
                    break
                filled += count
        return filled

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def open_regular(path: Path) -> int | None:
    """Open a regular file; return None when there is none of this name."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def hash_at(fd: int) -> str:
    """Return the SHA-256 of an open file; its position stays."""
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(fd, CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def copy_hashed(source: BinaryIO, target: BinaryIO) -> str:
    """Copy a file and return its content's SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def refuse_unless(path: Path, tag: str | None) -> None:
    """Raise Conflict when the object does not have the tag; with None nothing is checked."""
    if tag is None:
        return
    fd = open_regular(path)
    if fd is None:
        raise Conflict(f"{path} is gone")
    try:
        if hash_at(fd) != tag:
            raise Conflict(f"{path} has changed")
    finally:
        os.close(fd)


def put_in_place(temporary: Path, path: Path, if_absent: bool) -> None:
    """Give the object's name to a file that is complete."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not if_absent:
        os.replace(temporary, path)
        return
    try:
        # unlike a rename, a link fails when the object exists, even if another program put it there without our lock
        os.link(temporary, path)
    except FileExistsError as error:
        raise Conflict(f"{path} exists") from error


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error


def identity_of(facts: os.stat_result) -> tuple[int, int]:
    """Return the device and inode, which tell one file from all others, however it is reached."""
    return facts.st_dev, facts.st_ino


def names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno in ABSENT:
            return []
        raise


def try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def faults_of_system(path: Path) -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            raise Reject(f"{path} cannot be stored: a folder or file of that name is in the way") from error
        if error.errno == errno.ENAMETOOLONG:
            raise Reject(f"{path} cannot be stored: the name is too long") from error
        raise Unavailable(f"{path}: {error.strerror or error}", 10.0) from error
