"""Rotated logs: their names, their order, and what a folder holds of them.

A rotated log has the name of the live one with a number or a date behind it, or before its suffix, and perhaps the
suffix of a compressor: ``access.log.1``, ``access.log-20261122.gz``, ``access-2026-11-22.log``, ``access.log.old``.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from aggregator.logs.openfile import CODECS, OpenFile, end_of_text, key_of, open_file
from aggregator.logs.position import HEAD_BYTES, TextAt, fingerprint, text_of
from aggregator.runtime.stage import Context

_COMPRESSED = "(?:" + "|".join(re.escape(suffix) for suffix in CODECS) + ")?"
# Behind a dot any number up to 999 counts, behind a dash only what looks like a date: `error-404.log` is a log of its
# own.
_NUMBER = r"\.(?P<number>\d{1,3}|old)"
_DATE = r"(?:\d{4}[\dT:_\-]{2,}|\d{4}\.\d\d\.\d\d)"
_BEHIND = re.compile(rf"(?P<base>.+?)(?:{_NUMBER}|[.\-_](?P<date>{_DATE})){_COMPRESSED}")
# Some count the files of a day behind the date, or the milliseconds: `app.2026-11-28.0.log`
_BEFORE_SUFFIX = re.compile(
    rf"(?P<stem>.+?)(?:{_NUMBER}|[.\-_](?P<date>{_DATE}(?:\.\d+)?))"
    rf"(?P<suffix>\.(?!gz|bz2|xz|zst)[A-Za-z]\w*){_COMPRESSED}"
)
_SVLOGD = re.compile(rf"@(?P<date>[0-9a-f]{{24}})\.[su]{_COMPRESSED}")
"""What svlogd and multilog make of `current`."""
_PLAIN_NUMBERS = 10
"""From here on a number before the suffix counts only where the lower ones are there too: `access.443.log` is no
rotated `access.log`."""


class Entry(NamedTuple):
    """One file of a folder."""

    path: Path
    dev: int
    ino: int
    size: int
    mtime: float

    @property
    def key(self) -> tuple[int, int]:
        """What tells the file from others at this moment."""
        return self.dev, self.ino

    @property
    def compressed(self) -> bool:
        """True for what has a compressor's suffix."""
        return self.path.suffix in CODECS


def base_behind(name: str) -> str | None:
    """Return the name of the live log when the mark stands behind it: `access.log` for `access.log.1`."""
    match = _BEHIND.fullmatch(name)
    return match["base"] if match else None


def bases(name: str) -> list[str]:
    """Return the names of live logs that a file of this name may be a rotated one of."""
    behind, before = base_behind(name), _BEFORE_SUFFIX.fullmatch(name)
    found = [behind] if behind else []
    dated = _BEHIND.fullmatch(behind) if behind else None
    if dated and dated["date"]:  # `access.log.20261122.1`
        found.append(dated["base"])
    if _SVLOGD.fullmatch(name):
        found.append("current")
    return found + ([before["stem"] + before["suffix"]] if before else [])


def bases_among(name: str, names: Container[str]) -> list[str]:
    """Return what `bases` does, without a log whose lower numbers are not among the names of the folder."""
    found, before = bases(name), _BEFORE_SUFFIX.fullmatch(name)
    if before and (before["number"] or "").isdigit():
        lower = (f"{before['stem']}.{n}{before['suffix']}" for n in range(_PLAIN_NUMBERS - 1, int(before["number"])))
        if not all(any(each + packed in names for packed in ("", *CODECS)) for each in lower):
            found.pop()
    return found


def is_dated(name: str) -> bool:
    """True for a file whose name has a date in it, as those have that are removed one day."""
    return bool(_mark(os.path.basename(name))[1])


def oldest_first(entries: Iterable[Entry]) -> list[Entry]:
    """Sort rotated logs by number, the highest first, or by date; where both occur, by time of change."""
    marked = [(_mark(entry.path.name), entry) for entry in entries]
    if all(number.isdigit() for (number, _), _ in marked):
        marked.sort(key=lambda pair: -int(pair[0][0]))
    elif all(date for (_, date), _ in marked):
        marked.sort(key=lambda pair: _parts_of(pair[0][1]))
    else:
        marked.sort(key=lambda pair: pair[1].mtime)
    return [entry for _, entry in marked]


def _mark(name: str) -> tuple[str, str]:
    if svlogd := _SVLOGD.fullmatch(name):
        return "", svlogd["date"]
    match = _BEHIND.fullmatch(name) or _BEFORE_SUFFIX.fullmatch(name)
    return (match["number"] or "", match["date"] or "") if match else ("", "")


def _parts_of(date: str) -> list[tuple[int, str]]:
    """Return what sorts dates of one form by time: their numbers, or the hexadecimal digits of a TAI64 label."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"[0-9a-f]+", date)]


class BeingRenamed(Exception):
    """Files changed their names while they were looked at: look again in a moment."""


def open_entry(entry: Entry) -> OpenFile:
    """Open the file that was listed. Raises BeingRenamed when its name belongs to another by now."""
    try:
        file = open_file(entry.path)
    except FileNotFoundError as error:
        raise BeingRenamed from error
    if key_of(file) != entry.key:
        file.close()
        raise BeingRenamed
    return file


class Listing:
    """What a folder held at one moment."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.by_key = {entry.key: entry for entry in entries}
        self.by_name = {entry.path.name: entry for entry in entries}
        self.beginnings: dict[str, list[Entry]] | None = None
        """The files by the hash of their first bytes, once somebody asked."""
        self.rotated: dict[str, list[Entry]] = defaultdict(list)
        """The rotated logs of each live one.

        A compressed file beside the plain one it comes from is left out: its compressor is still at it.
        """
        for name, entry in self.by_name.items():
            if not (entry.compressed and entry.path.stem in self.by_name):
                for base in bases_among(name, self.by_name):
                    self.rotated[base].append(entry)


class Beside(NamedTuple):
    """What stands beside a live log, and beside what it links to."""

    listings: list[Listing]
    own: list[Entry]
    """The path itself, and what it links to."""
    rotated: list[Entry]
    """Oldest first, each file once."""

    def find(self, key: tuple[int, int]) -> Entry | None:
        """Return the file of this device and inode, whatever its name is."""
        return next((listing.by_key[key] for listing in self.listings if key in listing.by_key), None)


class Folders:
    """What folders hold at one moment; every folder is read once until `forget`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._closed: set[Path] = set()
        self._listed: dict[Path, Listing | None] = {}
        self._texts: dict[tuple[int, int, int, float, int | None], tuple[int, bytes]] = {}

    def forget(self) -> None:
        """Have folders read again."""
        self._listed.clear()
        if len(self._texts) > 10_000:
            self._texts.clear()

    def beside(self, live: Path) -> Beside | None:
        """Return the files beside a log, as two looks agree on.

        None when files are being renamed right now: a file may be missed or met twice then.
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

        Inodes are handed out again at once: a file opened by name may be another that has both name and inode by now,
        but then its neighbours have moved.
        """
        return all(
            _names(_list(folder)) == _names(listing.by_name.values())
            for folder in _folders(live, Path(os.path.realpath(live)))
            if (listing := self._listed[folder]) is not None and folder not in self._closed
        )

    def _may_list(self, folder: Path) -> bool:
        """False for a folder in which only files of known names can be opened."""
        listable = os.access(folder, os.R_OK, effective_ids=True) or not os.path.isdir(folder)
        if listable:
            self._closed.discard(folder)
        elif folder not in self._closed:
            self._closed.add(folder)
            self._context.log.warning("unlistable folder=%s: rotated files in it are not found", text_of(str(folder)))
        return listable

    def text(self, entry: Entry) -> TextAt:
        """Return what reads a file's text, decompressed; of one it may not open nothing. It may raise BeingRenamed."""
        return lambda at: self._read(entry, at)[1]

    def end(self, entry: Entry) -> tuple[int, bytes]:
        """Return where the last bytes of a file's text begin, and these. Raises BeingRenamed."""
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
                return 0, b""  # not ours to read: whoever opens it to read lines says so
            try:
                piece = end_of_text(file, HEAD_BYTES) if at is None else (at, file.read_at(at, HEAD_BYTES))
                self._texts[key] = piece
            finally:
                file.close()
        return self._texts[key]


def _list(folder: Path) -> list[Entry] | None:
    """Return what a folder holds, or None when a file vanished on the way."""
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
                if entry.is_symlink():  # it leads nowhere, and may do so for ever
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
    """Return the folders that a log and what it links to stand in, each by its real path, with their names there."""
    folder = Path(os.path.realpath(live.parent))
    return (
        {folder: [live.name, target.name]}
        if folder == target.parent
        else {folder: [live.name], target.parent: [target.name]}
    )
