"""The rotated logs in a folder, and their order."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from aggregator.files.fingerprint import HEAD_BYTES, fingerprint
from aggregator.files.names import text_of
from aggregator.files.rotatednames import bases_among, sort_key
from aggregator.logs.following.openfile import CODECS, OpenFile, end_of_text, key_of, open_file
from aggregator.logs.following.position import TextAt
from aggregator.runtime.context import Context


class Entry(NamedTuple):
    """One file of a folder."""

    path: Path
    dev: int
    ino: int
    size: int
    mtime: float

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode, which tell the file from others at this moment."""
        return self.dev, self.ino

    @property
    def compressed(self) -> bool:
        """True for a file with a compressor's suffix."""
        return self.path.suffix in CODECS


def oldest_first(entries: Iterable[Entry]) -> list[Entry]:
    """Sort rotated logs by number, the highest first, or by date; where both occur, by time of change."""
    found = list(entries)
    key = sort_key([entry.path.name for entry in found])
    return sorted(found, key=lambda entry: entry.mtime if key is None else key(entry.path.name))


class BeingRenamed(Exception):
    """Files changed their names while they were looked at: look again in a moment."""


def open_entry(entry: Entry) -> OpenFile:
    """Open the file that was listed. Raises BeingRenamed when its name belongs to another file by now."""
    try:
        file = open_file(entry.path)
    except FileNotFoundError as error:
        raise BeingRenamed from error
    if key_of(file) != entry.key:
        file.close()
        raise BeingRenamed
    return file


class Listing:
    """The files that a folder held at one moment."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.by_key = {entry.key: entry for entry in entries}
        self.by_name = {entry.path.name: entry for entry in entries}
        self.beginnings: dict[str, list[Entry]] | None = None
        """The files by the hash of their first bytes; None until somebody asks for them."""
        self.rotated: dict[str, list[Entry]] = defaultdict(list)
        """The rotated logs of each live log, by the name of the live log.

        A compressed file beside the plain file that it is made from is left out: its compressor is still at work.
        """
        for name, entry in self.by_name.items():
            if not (entry.compressed and entry.path.stem in self.by_name):
                for base in bases_among(name, self.by_name):
                    self.rotated[base].append(entry)


class Beside(NamedTuple):
    """The files beside a live log, and beside the file that it links to."""

    listings: list[Listing]
    own: list[Entry]
    """The path itself, and the file that it links to."""
    rotated: list[Entry]
    """Oldest first, each file once."""

    def find(self, key: tuple[int, int]) -> Entry | None:
        """Return the file of this device and inode, whatever its name is."""
        return next((listing.by_key[key] for listing in self.listings if key in listing.by_key), None)


class Folders:
    """The files that folders hold at one moment; every folder is read once until `forget`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._closed: set[Path] = set()
        self._listed: dict[Path, Listing | None] = {}
        self._texts: dict[tuple[int, int, int, float, int | None], tuple[int, bytes]] = {}

    def forget(self) -> None:
        """Forget the listings, so that folders are read again."""
        self._listed.clear()
        if len(self._texts) > 10_000:
            self._texts.clear()

    def beside(self, live: Path) -> Beside | None:
        """Return the files beside a log, when two listings of each folder agree.

        None means that files are being renamed right now, so that a listing may miss a file or name it twice.
        """
        target = Path(os.path.realpath(live))
        found = Beside([], [], [])
        for folder, names in _folders(live, target).items():
            if not self._may_list(folder):
                entries = [_entry(folder / name) for name in names]
                self._listed[folder] = Listing(entry for entry in entries if entry is not None)
            elif folder not in self._listed:
                before, after = _list(folder), _list(folder)
                agreed = before is not None and after is not None and _names(before) == _names(after)
                self._listed[folder] = Listing(after) if agreed and after is not None else None
            listing = self._listed[folder]
            if listing is None:
                return None
            found.listings.append(listing)
            found.own.extend(listing.by_name[name] for name in names if name in listing.by_name)
            found.rotated.extend(entry for name in (live.name, target.name) for entry in listing.rotated.get(name, ()))
        each_once = {entry.key: entry for entry in sorted(found.rotated, key=lambda entry: entry.path, reverse=True)}
        for entry in found.own:
            each_once.pop(entry.key, None)
        return found._replace(rotated=oldest_first(each_once.values()))

    def unchanged(self, live: Path) -> bool:
        """True when every name still belongs to the same file as `beside` said.

        A file system gives a free inode to the next new file at once: a file opened by name may be another file that
        has both the name and the inode by now. In that case other names in the folder have changed too.
        """
        return all(
            _names(_list(folder)) == _names(listing.by_name.values())
            for folder in _folders(live, Path(os.path.realpath(live)))
            if (listing := self._listed[folder]) is not None and folder not in self._closed
        )

    def _may_list(self, folder: Path) -> bool:
        """False for a folder that cannot be listed, so that only files of known names can be opened in it."""
        listable = os.access(folder, os.R_OK, effective_ids=True) or not os.path.isdir(folder)
        if listable:
            self._closed.discard(folder)
        elif folder not in self._closed:
            self._closed.add(folder)
            self._context.log.warning("unlistable folder=%s: rotated files in it are not found", text_of(str(folder)))
        return listable

    def text(self, entry: Entry) -> TextAt:
        """Return a function that reads a file's decompressed text.

        The function reads nothing from a file that may not be opened, and may raise BeingRenamed.
        """
        return lambda at: self._read(entry, at)[1]

    def end(self, entry: Entry) -> tuple[int, bytes]:
        """Return where the last bytes of a file's text begin, and the bytes themselves. Raises BeingRenamed."""
        return self._read(entry, None)

    def beginning(self, beside: Beside, digest: str) -> list[Entry]:
        """Return the files whose first `HEAD_BYTES` have this hash, whatever their names are. Raises BeingRenamed."""
        found = []
        for listing in beside.listings:
            if listing.beginnings is None:
                beginnings: dict[str, list[Entry]] = defaultdict(list)
                for entry in listing.by_key.values():
                    _, head = self._read(entry, 0)
                    if len(head) == HEAD_BYTES:
                        beginnings[fingerprint(head)].append(entry)
                listing.beginnings = beginnings
            found += listing.beginnings.get(digest, [])
        return found

    def _read(self, entry: Entry, at: int | None) -> tuple[int, bytes]:
        key = (*entry.key, entry.size, entry.mtime, at)
        if key not in self._texts:
            try:
                file = open_entry(entry)
            except OSError:
                return 0, b""  # not ours to read: the code that opens it to read lines reports that
            try:
                piece = end_of_text(file, HEAD_BYTES) if at is None else (at, file.read_at(at, HEAD_BYTES))
                self._texts[key] = piece
            finally:
                file.close()
        return self._texts[key]


def _list(folder: Path) -> list[Entry] | None:
    """Return the regular files in a folder, or None when a file vanished during the listing."""
    found: list[Entry] = []
    try:
        listing = os.scandir(folder)
    except FileNotFoundError:
        return found
    with listing as entries:
        for entry in entries:
            try:
                facts = entry.stat()
            except OSError:
                if entry.is_symlink():  # the link leads nowhere, and may do so for ever
                    continue
                return None
            if stat.S_ISREG(facts.st_mode):
                found.append(Entry(Path(entry.path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime))
    return found


def _entry(path: Path) -> Entry | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return Entry(path, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime)


def _names(entries: Iterable[Entry] | None) -> set[tuple[Path, int, int]] | None:
    return None if entries is None else {(entry.path, *entry.key) for entry in entries}


def _folders(live: Path, target: Path) -> dict[Path, list[str]]:
    """Return the folders of a log and of the file that it links to, by real path, each with their names there."""
    folder = Path(os.path.realpath(live.parent))
    return (
        {folder: [live.name, target.name]}
        if folder == target.parent
        else {folder: [live.name], target.parent: [target.name]}
    )
