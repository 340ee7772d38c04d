"""Fetch bundles from a store into a folder: whole, compared with their hashes, and not again when they are there.

    DIR/NAME/yyyy-mm-ddThhmmssZ/PUBLICATION              folders: a folder for each bundle
    DIR/PUBLICATION                                      flat: all in one
    DIR/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.tar.EXT    packed: the bundles themselves

`DIR/.retrieved` remembers what came from where. Nothing appears outside it before it was found to be whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from aggregator.errors import AggregatorError
from aggregator.feeds.bundle import Contents, check_contents, extract_bundle, read_bundle
from aggregator.feeds.catalogue import READERS, Archived, read_current, read_key
from aggregator.feeds.compression import BadBundle
from aggregator.feeds.layout import BundleName, write_stamp
from aggregator.feeds.merge import merge_bundles
from aggregator.stores.store import Store

Layout = Literal["folders", "flat", "packed"]

_PIECE = 1 << 20
_OWN = ".retrieved"
_WORK = "work"


class Retrieved(NamedTuple):
    """What became of one bundle."""

    archived: Archived
    files: int
    is_new: bool
    """False when all of it was there already."""
    problems: tuple[str, ...] = ()
    """What does not fit together in it, or why there is nothing of it."""


class _File(msgspec.Struct, frozen=True):
    path: str
    """Below DIR."""
    size_bytes: int
    sha256: str


class _Record(msgspec.Struct, frozen=True):
    """What one bundle brought: it need not be fetched again while all of this still holds."""

    objects: dict[str, str]
    """For each key the tag of the object."""
    files: list[_File]
    problems: list[str]


def retrieve(store: Store, bundles: Sequence[Archived], folder: Path, layout: Layout) -> Iterator[Retrieved]:
    """Fetch bundles, several at a time, and yield what became of each as it is done.

    A bundle that cannot be had or is damaged is a problem of its own; a full disk ends it all (OSError). Raises
    AggregatorError while another process retrieves into the folder.
    """
    with _own(folder):
        # what a killed one left
        shutil.rmtree(folder / _OWN / _WORK, ignore_errors=True)
        readers = ThreadPoolExecutor(READERS)
        try:
            tasks = [readers.submit(_retrieve, store, bundle, folder, layout) for bundle in bundles]
            for task in as_completed(tasks):
                yield task.result()
        finally:
            readers.shutdown(cancel_futures=True)
            shutil.rmtree(folder / _OWN / _WORK, ignore_errors=True)


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Be the only process that retrieves into a folder; a killed one's lock goes with it."""
    if (folder / _OWN).is_symlink():
        raise AggregatorError(f"{folder / _OWN} leads out of {folder}: remove the link")
    (folder / _OWN).mkdir(parents=True, exist_ok=True)
    with (folder / _OWN / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AggregatorError(f"another `feeds retrieve` is at work in {folder}") from error
        yield


def _retrieve(store: Store, bundle: Archived, folder: Path, layout: Layout) -> Retrieved:
    try:
        return read_current(store, bundle, lambda current: _Fetch(store, current, folder, layout).run())
    except AggregatorError as error:
        return Retrieved(bundle, 0, False, (str(error),))


class _Fetch:
    """One bundle on its way."""

    def __init__(self, store: Store, archived: Archived, folder: Path, layout: Layout) -> None:
        self.store = store
        self.archived = archived
        self.folder = folder.resolve()
        self.layout = layout
        self.name = f"{archived.feed}-{write_stamp(archived.start)}"
        self.record = self.folder / _OWN / layout / f"{self.name}.json"
        self.work = self.folder / _OWN / _WORK / self.name

    def run(self) -> Retrieved:
        try:
            known = self._known()
            if known is not None:
                return Retrieved(self.archived, len(known.files), False, tuple(known.problems))
            record = self._fetch()
            return Retrieved(self.archived, len(record.files), True, tuple(record.problems))
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _known(self) -> _Record | None:
        """Return the record of a fetch before when it is still true of the store and of the folder."""
        record = self._read_record()
        if record is None or set(record.objects) != {info.key for info in self.archived.objects}:
            return None
        for file in record.files:
            if _facts_of(self.folder / file.path) != (file.size_bytes, file.sha256):
                return None
        # last, as it asks the store
        infos = [self.store.head(key) for key in record.objects]
        return record if all(info and info.tag == record.objects[info.key] for info in infos) else None

    def _read_record(self) -> _Record | None:
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=_Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _fetch(self) -> _Record:
        self._make_inside(self.work)
        self._make_inside(self.record.parent)
        before = self._read_record()
        objects = {}
        parts = []
        for number, info in enumerate(self.archived.objects):
            parts.append(self.work / str(number))
            objects[info.key] = self._download(info.key, parts[-1])
        bundle = parts[0] if len(parts) == 1 else self._merge(parts)
        with bundle.open("rb") as file:
            contents = read_bundle(file)
        files = self._put_packed(bundle) if self.layout == "packed" else self._unpack(bundle, contents)
        record = _Record(objects, files, check_contents(contents))
        for gone in {file.path for file in before.files} - {file.path for file in files} if before else ():
            (self.folder / gone).unlink(missing_ok=True)
        # order: the files, then the record that says they are there
        part = self.work / "record"
        part.write_bytes(msgspec.json.encode(record))
        part.replace(self.record)
        return record

    def _download(self, key: str, path: Path) -> str:
        """Copy an object to a file and return its tag; the reader compares what comes with what was written."""
        with self.store.open_read(key) as reader, path.open("wb") as file:
            size = 0
            while piece := reader.read(_PIECE):
                file.write(piece)
                size += len(piece)
            info = reader.info
        if size != info.size:
            raise BadBundle(f"{key}: {size} bytes came, {info.size} are stored")
        return info.tag or ""

    def _merge(self, parts: Sequence[Path]) -> Path:
        """Return the union of a period's objects."""
        path = self.work / "merged"
        sources = [part.open("rb") for part in parts]
        try:
            with path.open("wb") as target:
                merge_bundles(target, sources, self.work)
        finally:
            for source in sources:
                source.close()
        return path

    def _put_packed(self, bundle: Path) -> list[_File]:
        objects = self.archived.objects
        format_name = read_key(objects[0].key)[1].format if len(objects) == 1 else "zst"
        path = self.folder / BundleName(self.archived.feed, self.archived.start, format_name).path
        self._make_inside(path.parent)
        facts = _facts_of(bundle)
        bundle.replace(path)
        return [_File(str(path.relative_to(self.folder)), *facts)]

    def _unpack(self, bundle: Path, contents: Contents) -> list[_File]:
        target = self.folder
        if self.layout == "folders":
            target = self.folder / self.archived.feed / write_stamp(self.archived.start)
        self._make_inside(target)
        unpacked = self.work / "files"
        unpacked.mkdir()
        with bundle.open("rb") as file:
            for path in extract_bundle(file, unpacked):
                # over a link somebody laid there, not through it
                path.replace(target / path.name)
        below = target.relative_to(self.folder)
        return [_File(str(below / member.name), member.size_bytes, member.sha256) for member in contents.members]

    def _make_inside(self, path: Path) -> None:
        """Make a folder, unless a link in the way leads out of the user's folder."""
        if not path.resolve().is_relative_to(self.folder):
            raise BadBundle(f"{path} leads out of {self.folder}: remove the link")
        path.mkdir(parents=True, exist_ok=True)


def _facts_of(path: Path) -> tuple[int, str]:
    """Return the size and SHA-256 of a file; of none that fits anything when there is no file."""
    if path.is_symlink() or not path.is_file():
        return -1, ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return path.stat().st_size, digest.hexdigest()
