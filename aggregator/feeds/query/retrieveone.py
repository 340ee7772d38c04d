"""Fetch one bundle into a folder, check its hashes, and give its files their names."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence, Set
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from aggregator.feeds.bundle.bundles import Contents, check_contents, extract_bundle, read_bundle
from aggregator.feeds.bundle.compression import BadBundle
from aggregator.feeds.bundle.merge import merge_bundles
from aggregator.feeds.naming.bundles import BundleName, is_manifest_name
from aggregator.feeds.naming.publications import parse_publication
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.feeds.query.catalogue import Archived, read_key
from aggregator.feeds.query.retrieverecord import OWN, WORK, Record, RetrievedFile, facts_of, read_record
from aggregator.stores.store import Store

Layout = Literal["folders", "flat", "packed"]

_PIECE = 1 << 20

_taking_turns = threading.Lock()
"""A lock, as two bundles that are fetched at the same time may contain the same file name."""


class Retrieved(NamedTuple):
    """The result of fetching one bundle."""

    archived: Archived
    files: int
    is_new: bool
    """False when all its files were there already."""
    problems: tuple[str, ...] = ()
    """Contradictions in the bundle, or the reason why it could not be fetched."""


class Retrieval:
    """One bundle that is being fetched."""

    def __init__(self, store: Store, archived: Archived, folder: Path, layout: Layout) -> None:
        self.store = store
        self.archived = archived
        self.folder = folder.resolve()
        self.layout = layout
        self.name = f"{archived.feed}-{write_stamp(archived.start)}"
        self.record = self.folder / OWN / layout / f"{self.name}.json"
        self.work = self.folder / OWN / WORK / self.name

    def run(self) -> Retrieved:
        """Fetch the bundle unless all its files are there already, and return the result."""
        try:
            known = self._known()
            if known is not None:
                return Retrieved(self.archived, len(known.files), False, tuple(known.problems))
            record = self._fetch()
            return Retrieved(self.archived, len(record.files), True, tuple(record.problems))
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _known(self) -> Record | None:
        """Return the record of an earlier fetch if it still matches the store and the folder."""
        record = read_record(self.record)
        if record is None or set(record.objects) != {info.key for info in self.archived.objects}:
            return None
        for file in record.files:
            if facts_of(self.folder / file.path) != (file.size_bytes, file.sha256):
                return None
        # last, as it may ask the store for a tag that the listing did not contain
        is_current = all(
            info.tag == record.objects[info.key] or self._tag_of(info.key) == record.objects[info.key]
            for info in self.archived.objects
        )
        return record if is_current else None

    def _tag_of(self, key: str) -> str | None:
        info = self.store.head(key)
        return info.tag if info else None

    def _fetch(self) -> Record:
        self._make_inside(self.work)
        self._make_inside(self.record.parent)
        before = read_record(self.record)
        objects = {}
        parts = []
        for number, info in enumerate(self.archived.objects):
            parts.append(self.work / str(number))
            objects[info.key] = self._download(info.key, parts[-1])
        bundle, contents = self._whole(parts)
        kept = {file.path for file in before.files} if before else set()
        if self.layout == "packed":
            files, problems = self._put_packed(bundle), list[str]()
        else:
            files, problems = self._unpack(bundle, contents, kept)
        record = Record(objects, files, [*check_contents(contents), *problems])
        for path in kept - {file.path for file in files}:
            self._remove(self.folder / path)
        # order: the files, then the record that says they are there
        part = self.work / "record"
        part.write_bytes(msgspec.json.encode(record))
        part.replace(self.record)
        return record

    def _download(self, key: str, path: Path) -> str:
        """Copy an object to a file and return its tag; the store's reader checks the object's hash."""
        with self.store.open_read(key) as reader, path.open("wb") as file:
            size = 0
            while piece := reader.read(_PIECE):
                file.write(piece)
                size += len(piece)
            info = reader.info
        if size != info.size:
            raise BadBundle(f"{key}: {size} bytes came, {info.size} are stored")
        return info.tag or ""

    def _whole(self, parts: Sequence[Path]) -> tuple[Path, Contents]:
        """Return one bundle file with everything that a period's objects hold, and its contents."""
        if len(parts) == 1:
            contents = _read(parts[0])
            names = {member.name for member in contents.members}
            # another program's archive may have the same file name in two folders; merging makes names unique
            if self.layout == "packed" or len(names) == len(contents.members):
                return parts[0], contents
        merged = self._merge(parts)
        return merged, _read(merged)

    def _merge(self, parts: Sequence[Path]) -> Path:
        path = self.work / "merged"
        sources = [part.open("rb") for part in parts]
        try:
            with path.open("wb") as target:
                merge_bundles(target, sources, self.work)
        finally:
            for source in sources:
                source.close()
        return path

    def _put_packed(self, bundle: Path) -> list[RetrievedFile]:
        objects = self.archived.objects
        format_name = read_key(objects[0].key)[1].format if len(objects) == 1 else "zst"
        path = self.folder / BundleName(self.archived.feed, self.archived.start, format_name).path
        self._make_inside(path.parent)
        facts = facts_of(bundle)
        bundle.replace(path)
        return [RetrievedFile(str(path.relative_to(self.folder)), *facts)]

    def _unpack(self, bundle: Path, contents: Contents, kept: Set[str]) -> tuple[list[RetrievedFile], list[str]]:
        """Put a bundle's files in place. Returns them, and a line for each whose name is taken by another file."""
        target = self.folder
        if self.layout == "folders":
            target = self.folder / self.archived.feed / write_stamp(self.archived.start)
        self._make_inside(target)
        unpacked = self.work / "files"
        unpacked.mkdir()
        with bundle.open("rb") as file:
            extract_bundle(file, unpacked)
        below = target.relative_to(self.folder)
        files: list[RetrievedFile] = []
        problems: list[str] = []
        for member in contents.members:
            file_there = RetrievedFile(str(below / member.name), member.size_bytes, member.sha256)
            is_own = self.layout == "folders" or self._is_own_name(member.name) or file_there.path in kept
            if _place(unpacked / member.name, target / member.name, file_there, is_own=is_own):
                files.append(file_there)
            else:
                problems.append(f"{member.name}: something else of that name is there already; fetch it without --flat")
        return files, problems

    def _is_own_name(self, name: str) -> bool:
        """True for a name that no other bundle can have; names of other programs may be the same in every bundle."""
        try:
            return is_manifest_name(name) or parse_publication(name).feed == self.archived.feed
        except ValueError:
            return False

    def _remove(self, path: Path) -> None:
        """Delete a file that the bundle no longer has, unless a link now leads its folder out of the user's folder."""
        if path.parent.resolve().is_relative_to(self.folder):
            path.unlink(missing_ok=True)

    def _make_inside(self, path: Path) -> None:
        """Make a folder, unless a link in the way leads out of the user's folder."""
        if not path.resolve().is_relative_to(self.folder):
            raise BadBundle(f"{path} leads out of {self.folder}: remove the link")
        path.mkdir(parents=True, exist_ok=True)


def _read(path: Path) -> Contents:
    with path.open("rb") as file:
        return read_bundle(file)


def _place(unpacked: Path, path: Path, file: RetrievedFile, *, is_own: bool) -> bool:
    """Give a file its name; a name that other bundles may have only if it is free. False if other bytes have it."""
    with nullcontext() if is_own else _taking_turns:
        if not is_own and os.path.lexists(path):
            return facts_of(path) == (file.size_bytes, file.sha256)
        # this replaces a link that somebody put there, and does not follow it
        unpacked.replace(path)
        return True
