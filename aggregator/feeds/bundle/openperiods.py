"""The folder of one feed and period, which collects files until they are bundled.

    PUBLICATION          put there by `filter`
    ticks.N.jsonl        the ticks that came while revision N was open: one record a line, appended, maybe twice
    members.N.txt        the names of the files that revision N was made of, one a line; they are deleted after commit

A revision is the content of one bundle; files that arrive after it was bundled make the next revision.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from aggregator.feeds.bundle.manifest import MIN_TICK_MS, Header, Manifest, Tick, make_manifest, source_name
from aggregator.feeds.messages.checks import LONGEST_PERIOD_MS, check_instance, check_node, check_row, check_tick
from aggregator.feeds.naming.publications import is_publication_name, parse_publication
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.files.durable import sync_folders

_TICKS = re.compile(r"ticks\.(\d+)\.jsonl")
_MEMBERS = re.compile(r"members\.(\d+)\.txt")


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One tick, a row of missed ticks or a publication alone, with the facts of its feed for the manifest's header."""

    node: str
    instance: str = ""
    url: str = ""
    period_ms: int = 0
    tick: Tick | None = None
    missed_from_ms: int = 0
    missed_to_ms: int = 0
    """The last missed tick; from `missed_from_ms` up to it one tick was missed every `period_ms`."""
    publication: str = ""
    """The name of the file in this folder that a tick of this or of another period brought."""
    brought_by: Tick | None = None
    """The tick that brought the publication, if it is a tick of another period."""

    def ticks(self) -> Iterator[Tick]:
        """Yield the tick, or every tick of the missed row."""
        if self.tick is not None:
            yield self.tick
        elif self.missed_to_ms:
            for planned_ms in range(self.missed_from_ms, self.missed_to_ms + 1, max(self.period_ms, 1)):
                yield Tick(planned_ms=planned_ms, outcome="missed")


class PeriodFolder:
    """The files of one feed and period."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Return the names of all files in the folder; none when the folder does not exist."""
        with suppress(FileNotFoundError):
            return os.listdir(self.folder)
        return []

    def last_listed(self) -> int:
        """Return the highest revision whose list of members is in the folder; 0 without any."""
        return max((int(match[1]) for name in self.names() if (match := _MEMBERS.fullmatch(name))), default=0)

    def has_records(self, revision: int) -> bool:
        """True when the folder has records of ticks of a revision."""
        return (self.folder / f"ticks.{revision}.jsonl").exists()

    def append(self, revision: int, records: Iterable[Record]) -> set[Path]:
        """Append records durably. A half-written record that a crash left at the end of the file does no harm.

        Returns the folders with new entries; the entries are durable once `sync_folders` was called.
        """
        path = self.folder / f"ticks.{revision}.jsonl"
        is_new = not path.exists()
        if is_new:
            self.folder.mkdir(parents=True, exist_ok=True)
        # A line break in front, so that no record continues one that a crash cut off.
        data = b"".join(b"\n" + msgspec.json.encode(record) for record in records) + b"\n"
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return {self.folder, self.folder.parent, self.folder.parent.parent} if is_new else set()

    def bundled(self, revision: int) -> tuple[list[str], list[str]]:
        """Return the names of the publications and of the files of ticks that make a revision.

        Files of ticks of earlier revisions are included: a crash kept them from being committed, or from being deleted.
        Bundling such ticks twice does no harm.
        """
        publications, ticks = [], []
        for name in sorted(self.names()):
            match = _TICKS.fullmatch(name)
            if match and int(match[1]) <= revision:
                ticks.append(name)
            elif self._has_publication(name):
                publications.append(name)
        return publications, ticks

    def in_flight(self, since: float) -> set[str]:
        """Return the publications here that no record or list names yet and that were downloaded after `since`."""
        names = self.names()
        heard = {record.publication for record in self.records(filter(_TICKS.fullmatch, names))}
        for listing in filter(_MEMBERS.fullmatch, names):
            heard.update((self.folder / listing).read_text(encoding="utf-8").splitlines())
        unheard = {name for name in names if self._has_publication(name)} - heard
        return {name for name in unheard if (self.folder / name).stat().st_mtime > since}

    def _has_publication(self, name: str) -> bool:
        return is_publication_name(name) and (self.folder / name).is_file()

    def records(self, names: Iterable[str]) -> Iterator[Record]:
        """Yield the records in files of ticks. Lines that a crash cut off are skipped, as their messages come again."""
        decoder = msgspec.json.Decoder(Record)
        for name in names:
            with (self.folder / name).open("rb") as file:
                for line in file:
                    with suppress(msgspec.DecodeError):
                        yield decoder.decode(line)

    def take_back(self, revision: int) -> None:
        """Move the records of later revisions, which a crash kept from being committed, to this revision."""
        for name in self.names():
            match = _TICKS.fullmatch(name)
            if match and int(match[1]) > revision:
                sync_folders(self.append(revision, self.records([name])))
                (self.folder / name).unlink()

    def replace_records(self, revision: int, records: list[Record]) -> None:
        """Replace all records of a revision, and of the revisions before it, by these."""
        _, ticks = self.bundled(revision)
        path = self.folder / f"ticks.{revision}.jsonl"
        if records:
            _write_durably(path, [msgspec.json.encode(record) + b"\n" for record in records])
        for name in ticks:
            if name != path.name or not records:
                (self.folder / name).unlink(missing_ok=True)

    def list_members(self, revision: int, names: Iterable[str]) -> None:
        """Write down which files make a revision, before its bundle is announced."""
        _write_durably(self.folder / f"members.{revision}.txt", [f"{name}\n".encode() for name in names])

    def clear(self, revision: int) -> None:
        """Delete the files that a revision was made of; a repetition does no harm."""
        listing = self.folder / f"members.{revision}.txt"
        with suppress(FileNotFoundError):
            for name in listing.read_text(encoding="utf-8").splitlines():
                (self.folder / name).unlink(missing_ok=True)
            for name in self.names():
                match = _MEMBERS.fullmatch(name)
                if match and int(match[1]) < revision:
                    # the list of an earlier revision that was never cleared: its files went into this revision
                    (self.folder / name).unlink(missing_ok=True)
            # order: delete the list last, so that an interrupted clearing can be continued
            listing.unlink()
        with suppress(OSError):
            self.folder.rmdir()


def sound(records: Iterable[Record], log: logging.Logger) -> Iterator[Record]:
    """Yield the records that a manifest can hold; log the others, so that no bad record stops a period's bundle."""
    for record in records:
        try:
            check_node(record.node)
            check_instance(record.instance)
            if record.period_ms and not MIN_TICK_MS <= record.period_ms <= LONGEST_PERIOD_MS:
                raise ValueError(f"no period of a feed (found {record.period_ms} ms)")
            for tick in (record.tick, record.brought_by):
                if tick is not None:
                    check_tick(tick)
            if record.tick is None and record.missed_to_ms:
                check_row(record.missed_from_ms, record.missed_to_ms, record.period_ms or MIN_TICK_MS)
        except ValueError as error:
            log.warning("record_ignored reason=%s", error)
        else:
            yield record


def make_manifests(feed: str, start: int, period_s: int, records: Iterable[Record]) -> list[Manifest]:
    """Return a manifest for each node and instance that records came from.

    The record of the latest tick gives the address and period for the manifest's header.
    """
    last: dict[tuple[str, str], tuple[int, bytes, Record]] = {}
    ticks: dict[tuple[str, str], list[Tick]] = {}
    elsewhere: dict[tuple[str, str], list[Tick]] = {}
    for record in records:
        these = list(record.ticks())
        if not these and record.brought_by is None:
            continue
        source = record.node, record.instance
        ticks.setdefault(source, []).extend(these)
        elsewhere.setdefault(source, []).extend([record.brought_by] if record.brought_by else [])
        rank = (these[-1].planned_ms if these else -1, msgspec.json.encode(record), record)
        last[source] = max(last.get(source, rank), rank, key=lambda known: known[:2])
    manifests = []
    for (node, instance), mine in sorted(ticks.items()):
        latest = last[node, instance][2]
        header = Header(
            feed=feed,
            start=write_stamp(start),
            node=source_name(node, instance),
            period_s=period_s,
            tick_ms=latest.period_ms,
            url=latest.url,
            instance=instance or msgspec.UNSET,
            elsewhere=tuple(elsewhere[node, instance]),
        )
        manifests.append(make_manifest(header, mine))
    return manifests


def published_at(record: Record) -> int | None:
    """Return the time in the name of a record's publication."""
    return parse_publication(record.publication).published_at if is_publication_name(record.publication) else None


def _write_durably(path: Path, lines: Iterable[bytes]) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folders([path.parent])
