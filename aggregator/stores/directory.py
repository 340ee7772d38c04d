"""A plain folder as an object store: one file for each object, safe between processes and against kills.

A write goes to a file of its own under `.store/incoming`; the file takes the object's name when it is complete and on
the disk. Writers of one key take turns under a `flock`. The tag is the content's SHA-256, so that it survives copies
and changes exactly when the content does. Readers need no lock.

The file system must have `flock` and hard links, as local file systems and NFS do.
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
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from aggregator.files.durable import sync_folder
from aggregator.stores.objectfile import (
    ABSENT,
    CHUNK,
    ObjectFile,
    copy_hashed,
    faults_of_system,
    identity_of,
    make_folder,
    names_in,
    open_regular,
    put_in_place,
    refuse_unless,
    try_lock,
)
from aggregator.stores.probe import probe_store
from aggregator.stores.settings import StoreSettings
from aggregator.stores.store import (
    Capabilities,
    Conflict,
    Info,
    NotFound,
    ObjectReader,
    Source,
    check_key,
    check_prefix,
    fault_of_key,
    open_source,
)

_LOCKS = 64
_INTERNAL = ".store"
_OF_THE_DISK = "lost+found"
"""A folder that a file system has at its root, and that only root can read."""


class DirectoryStore:
    """Keep objects as files under a folder, which is made with the first object."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INTERNAL / "incoming"
        self._locks = root / _INTERNAL / "locks"

    def get(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and tag; for small objects. Raises NotFound."""
        with self.open_read(key) as reader:
            body = b"".join(iter(lambda: reader.read(CHUNK) or b"", b""))
        return body, hashlib.sha256(body).hexdigest()

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> ObjectReader:
        """Open an object from byte `start`; past the object's end there is nothing to read.

        Raises NotFound, and Conflict when `tag` is given and the object has another tag by now.
        """
        path = self._root / check_key(key)
        with faults_of_system(path):
            fd = open_regular(path)
        if fd is None:
            raise NotFound(f"no object {path}")
        reader = ObjectFile(key, path, fd, start)
        if tag is not None and reader.info.tag != tag:
            reader.close()
            raise Conflict(f"{path} has changed")
        return reader

    def head(self, key: str) -> Info | None:
        """Return the facts of an object, always with its tag; None when there is no object. Reads the whole object."""
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
        with faults_of_system(self._root):
            above = tuple(identity_of(os.stat(path)) for path in paths if path.exists())
        yield from self._list(folder, name, above)

    def _list(self, folder: str, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Info]:
        """Yield the objects in a folder; `above` are the folders it is in, to which no link back is followed."""
        path = self._root / folder
        with faults_of_system(path):
            for entry_name in names_in(path):
                key = f"{folder}/{entry_name}" if folder else entry_name
                # hidden names are the store's own, or are no keys
                if not entry_name.startswith(name) or fault_of_key(key) or key == _OF_THE_DISK:
                    continue
                try:
                    facts = os.stat(path / entry_name)
                except OSError as error:
                    if error.errno not in (*ABSENT, errno.ELOOP):
                        raise
                    continue
                if stat.S_ISDIR(facts.st_mode) and identity_of(facts) not in above:
                    yield from self._list(key, "", (*above, identity_of(facts)))
                elif stat.S_ISREG(facts.st_mode):
                    yield Info(key, facts.st_size, facts.st_mtime)

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        """Store an object durably and return its tag.

        With `if_absent` the object is stored only when there is none, with `if_tag` only while it has this tag;
        otherwise Conflict is raised.
        """
        path = self._root / check_key(key)
        with open_source(source) as stream, faults_of_system(path), self._new_file() as (temporary, file):
            tag = copy_hashed(stream, file)
            file.flush()
            # order: content durable, then its name, then the folders that hold the name
            os.fsync(file.fileno())
            with self._turn(key):
                refuse_unless(path, if_tag)
                make_folder(path.parent)
                put_in_place(temporary, path, if_absent)
                self._sync_folders(path.parent)
        return tag

    def delete(self, key: str, *, if_tag: str | None = None) -> None:
        """Remove an object; with `if_tag` only while it has this tag, otherwise raise Conflict.

        Without `if_tag` an object that is not there is no error.
        """
        path = self._root / check_key(key)
        with faults_of_system(path):
            # a store's folder that is not there must not be made only to hold our lock
            if if_tag is None and not path.is_file():
                return
            with self._turn(key):
                refuse_unless(path, if_tag)
                with suppress(FileNotFoundError):
                    path.unlink()
                    self._sync_folders(path.parent)

    def probe(self) -> Capabilities:
        """Try what this folder's file system really does, on throw-away keys."""
        return probe_store(self)

    def clean(self) -> None:
        """Remove the files that killed writers left behind: nobody holds the lock of such a file any more."""
        with faults_of_system(self._incoming):
            for name in names_in(self._incoming):
                with suppress(FileNotFoundError), open(self._incoming / name, "rb") as file:
                    if try_lock(file):
                        os.unlink(self._incoming / name)

    def close(self) -> None:
        """Do nothing: nothing is kept open."""

    @contextmanager
    def _new_file(self) -> Iterator[tuple[Path, BinaryIO]]:
        """Make a file that no other process touches; it is removed at the end of the block unless it was renamed."""
        make_folder(self._incoming)
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
            # clean() of another process removed the file between the two calls
            file.close()

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Be the only writer of a key; the lock of a killed writer ends with its process."""
        number = hashlib.sha256(key.encode()).digest()[0] % _LOCKS
        make_folder(self._locks)
        with open(self._locks / f"{number:02}", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sync_folders(self, folder: Path) -> None:
        """Make names durable, also the names of folders that another writer may have made just before."""
        for path in (folder, *folder.parents):
            sync_folder(path)
            if path == self._root:
                break


def parse_folder(url: str) -> Path:
    """Return the folder that a URL `file:///path` names. Raises ValueError for any other URL."""
    _, host, path, query, fragment = urlsplit(url.strip())
    if host not in ("", "localhost") or not path.strip("/") or query or fragment:
        raise ValueError
    return Path(unquote(path))


class DirectoryKind:
    """The `StoreKind` of folders."""

    noun = "a folder"
    settings = StoreSettings
    ignores = ("multipart", "timeout")
    """Sections of folders were always allowed to have these two options, and nobody was told that they have no
    effect."""

    def check_url(self, url: str) -> None:
        """Raise ValueError for a URL that names no folder."""
        parse_folder(url)

    def faults_of(self, settings: StoreSettings) -> tuple[tuple[str, str], ...]:
        """Return nothing: a folder has no option besides its URL."""
        return ()

    def open(self, settings: StoreSettings) -> DirectoryStore:
        """Return the store."""
        return DirectoryStore(parse_folder(settings.url))


KIND = DirectoryKind()
