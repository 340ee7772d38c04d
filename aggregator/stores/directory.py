"""A plain folder as an object store: one file an object, safe between processes and against kills.

A write goes to a file of its own under `.store/incoming` and takes the object's name when it is whole and on the
disk. Writers of one key take turns under a `flock`; the tag is the content's SHA-256, so it survives copies and
says truly whether something changed. Who reads needs no lock.

Needs a file system with `flock` and hard links, which local ones and NFS have.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from aggregator.errors import Reject, Unavailable
from aggregator.files.durable import sync_folder
from aggregator.stores.probe import probe_store
from aggregator.stores.store import (
    Capabilities,
    Conflict,
    Info,
    NotFound,
    Reader,
    Source,
    check_key,
    check_prefix,
    fault_of_key,
    open_source,
)

_CHUNK = 1024 * 1024
_LOCKS = 64
_INTERNAL = ".store"
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_OF_THE_DISK = "lost+found"
"""What a file system has at its root, for nobody but root to read."""


class DirectoryStore:
    """Keep objects as files under a folder, which is made with the first object."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INTERNAL / "incoming"
        self._locks = root / _INTERNAL / "locks"

    def get(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and tag; for small ones. Raises NotFound."""
        with self.open_read(key) as reader:
            body = b"".join(iter(lambda: reader.read(_CHUNK) or b"", b""))
        return body, hashlib.sha256(body).hexdigest()

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> Reader:
        """Open an object from byte `start`; past its end it is empty.

        Raises NotFound, and Conflict when `tag` is given and the object has another by now.
        """
        path = self._root / check_key(key)
        with _faults_of(path):
            fd = _open_regular(path)
        if fd is None:
            raise NotFound(f"no object {path}")
        reader = _FileReader(key, path, fd, start)
        if tag is not None and reader.info.tag != tag:
            reader.close()
            raise Conflict(f"{path} has changed")
        return reader

    def head(self, key: str) -> Info | None:
        """Return what is known of an object, its tag always; None when there is none. Reads the whole object."""
        try:
            with self.open_read(key) as reader:
                return reader.info
        except NotFound:
            return None

    def list(self, prefix: str = "") -> Iterator[Info]:
        """Yield the objects whose keys begin with `prefix` (not only at a slash), in no order."""
        folder, _, name = check_prefix(prefix).rpartition("/")
        steps = folder.split("/") if folder else []
        paths = [self._root.joinpath(*steps[:count]) for count in range(len(steps) + 1)]
        with _faults_of(self._root):
            above = tuple(_identity(os.stat(path)) for path in paths if path.exists())
        yield from self._list(folder, name, above)

    def _list(self, folder: str, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Info]:
        """Yield what is in a folder; `above` are the folders it is in, lest a link back to one is followed for ever."""
        path = self._root / folder
        with _faults_of(path):
            for entry_name in _names_in(path):
                key = f"{folder}/{entry_name}" if folder else entry_name
                # what is hidden is ours, or nothing that a key could name
                if not entry_name.startswith(name) or fault_of_key(key) or key == _OF_THE_DISK:
                    continue
                try:
                    facts = os.stat(path / entry_name)
                except OSError as error:
                    if error.errno not in (*_ABSENT, errno.ELOOP):
                        raise
                    continue
                if stat.S_ISDIR(facts.st_mode) and _identity(facts) not in above:
                    yield from self._list(key, "", (*above, _identity(facts)))
                elif stat.S_ISREG(facts.st_mode):
                    yield Info(key, facts.st_size, facts.st_mtime)

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        """Store an object and return its tag; it is durable then.

        With `if_absent` only when there is none, with `if_tag` only while it has this tag; otherwise Conflict.
        """
        path = self._root / check_key(key)
        with open_source(source) as stream, _faults_of(path), self._new_file() as (temporary, file):
            tag = _copy(stream, file)
            file.flush()
            # order: content durable, then its name, then the folders that hold the name
            os.fsync(file.fileno())
            with self._turn(key):
                _refuse_unless(path, if_tag)
                _make_folder(path.parent)
                _place(temporary, path, if_absent)
                self._sync_folders(path.parent)
        return tag

    def delete(self, key: str, *, if_tag: str | None = None) -> None:
        """Remove an object; with `if_tag` only while it has this tag, otherwise Conflict. None there is no error."""
        path = self._root / check_key(key)
        with _faults_of(path):
            # a folder that is not there must not be made to hold our lock
            if if_tag is None and not path.is_file():
                return
            with self._turn(key):
                _refuse_unless(path, if_tag)
                with suppress(FileNotFoundError):
                    path.unlink()
                    self._sync_folders(path.parent)

    def probe(self) -> Capabilities:
        """Try what this folder's file system really does, on throw-away keys."""
        return probe_store(self)

    def clean(self) -> None:
        """Remove what killed writers left behind: nobody holds its lock any more."""
        with _faults_of(self._incoming):
            for name in _names_in(self._incoming):
                with suppress(FileNotFoundError), open(self._incoming / name, "rb") as file:
                    if _try_lock(file):
                        os.unlink(self._incoming / name)

    def close(self) -> None:
        """Do nothing: nothing is kept open."""

    @contextmanager
    def _new_file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """Make a file that nobody else touches while we live; it is gone afterwards unless it was renamed."""
        _make_folder(self._incoming)
        path, file = self._locked_file()
        try:
            with file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)

    def _locked_file(self) -> tuple[Path, BinaryIO]:
        while True:
            path = self._incoming / uuid.uuid4().hex
            file = io.BufferedWriter(io.FileIO(path, "x"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return path, file
            # clean() of another process came between the two calls
            file.close()

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Be the only writer of a key; a killed one's lock goes with it."""
        number = hashlib.sha256(key.encode()).digest()[0] % _LOCKS
        _make_folder(self._locks)
        with open(self._locks / f"{number:02}", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sync_folders(self, folder: Path) -> None:
        """Make names durable, those of folders that another writer may just have made too."""
        for path in (folder, *folder.parents):
            sync_folder(path)
            if path == self._root:
                break


class _FileReader(Reader):
    """One state of an object: its file, also after another took its name."""

    def __init__(self, key: str, path: Path, fd: int, start: int) -> None:
        self._key = key
        self._path = path
        self._file = io.FileIO(fd)
        self._file.seek(start)
        self._info: Info | None = None

    @property
    def info(self) -> Info:
        """Return what is known of this state; reads it all, once, for its tag."""
        if self._info is None:
            with _faults_of(self._path):
                facts = os.fstat(self._file.fileno())
                tag = _hash_at(self._file.fileno())
            self._info = Info(self._key, facts.st_size, facts.st_mtime, tag, tag)
        return self._info

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; less only at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        with _faults_of(self._path):
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


def _open_regular(path: Path) -> int | None:
    """Open a file, or return None when nothing of the name is one."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def _hash_at(fd: int) -> str:
    """Return the SHA-256 of an open file; its position stays."""
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy a file and return its content's SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _refuse_unless(path: Path, tag: str | None) -> None:
    """Raise Conflict when the object does not have the tag; None asks for nothing."""
    if tag is None:
        return
    fd = _open_regular(path)
    if fd is None:
        raise Conflict(f"{path} is gone")
    try:
        if _hash_at(fd) != tag:
            raise Conflict(f"{path} has changed")
    finally:
        os.close(fd)


def _place(temporary: Path, path: Path, if_absent: bool) -> None:
    """Give a whole file the object's name."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not if_absent:
        os.replace(temporary, path)
        return
    try:
        # unlike a rename it fails when there is one, also one that somebody else put there without our lock
        os.link(temporary, path)
    except FileExistsError as error:
        raise Conflict(f"{path} exists") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error


def _identity(facts: os.stat_result) -> tuple[int, int]:
    """Return what tells one file from all others, however it is reached."""
    return facts.st_dev, facts.st_ino


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    """Say in our errors what the file system says in its own."""
    try:
        yield
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            raise Reject(f"{path} cannot be stored: a folder or file of that name is in the way") from error
        if error.errno == errno.ENAMETOOLONG:
            raise Reject(f"{path} cannot be stored: the name is too long") from error
        raise Unavailable(f"{path}: {error.strerror or error}", 10.0) from error
