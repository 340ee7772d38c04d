"""A note on the disk of what was read, which tells what is read a second time when Redis has lost the positions.

The note is never used as a position: a section that finds no cursor begins anew. The note only lets the section report
that.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from aggregator.files.names import name_of, text_of
from aggregator.logs.following.openfile import OpenFile, key_of, text_in
from aggregator.logs.following.position import Position
from aggregator.runtime.context import Context

FOLDER = Path("data", "logs")
_EVERY_S = 1.0
_EVERY_S_A_FILE = 0.01
"""Seconds between two notes, for each file: with very many files the note is written less often."""
_IDLE_S = 60.0
"""An unchanged note is written again this often, because it also tells when the files were last looked at."""


class NotedFile(msgspec.Struct, omit_defaults=True):
    """One file that was being read."""

    path: str
    """The real path that named the file, as text."""
    position: Position
    size: int
    """The file's size at the last look; bytes beyond the position were not read."""


class ReadNote(msgspec.Struct):
    """What one section had read when the note was written."""

    state: str
    """The id of the Redis state that holds the positions."""
    section: str
    at: float
    """When the note was written, Unix seconds."""
    files: list[NotedFile]


class ReadNotes:
    """The section's own note, and what all notes said when it started."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._folder = context.root / FOLDER
        self._path = self._folder / f"tail-{quote(context.section, safe='')}.json"
        self._written = b""
        self._written_at = 0.0
        self._failed = False
        # the newest note first: the old note of a renamed section knows less
        notes = sorted(_read_all(self._folder), key=lambda note: note.at, reverse=True)
        own = next((n for n in notes if (n.state, n.section) == (context.state_id, context.section)), None)
        self._own = {noted.position.name: noted for noted in own.files} if own else {}
        self._own_at = own.at if own else 0.0
        self._earlier = [note for note in notes if self._is_over(note)]
        self._noted: dict[object, list[NotedFile]] = defaultdict(list)
        """Files that earlier sections read, by their path, and by device and inode."""
        for noted in (noted for note in self._earlier for noted in note.files):
            self._noted[noted.path].append(noted)
            self._noted[noted.position.dev, noted.position.ino].append(noted)

    def _is_over(self, note: ReadNote) -> bool:
        """False when the note's section still exists beside this one, and reads the files for itself."""
        if note.state != self._context.state_id or note.section == self._context.section:
            return True
        return not self._context.config_parser().has_section(note.section)

    def earlier(self, file: OpenFile, path: Path) -> NotedFile | None:
        """Return what an earlier section's note says of a file without a stored position; None when no note has it."""
        if not self._noted:
            return None
        likely = [*self._noted.get(text_of(os.path.realpath(path)), ()), *self._noted.get(key_of(file), ())]
        return next((noted for noted in likely if noted.position.fits(text_in(file))), None)

    def is_half_read(self, file: OpenFile, path: Path) -> bool:
        """True for a file that held more bytes than had been read when its note was written."""
        noted = self.earlier(file, path)
        return noted is not None and noted.size > noted.position.offset

    def last_look(self, covers: Callable[[str], bool]) -> float | None:
        """Return when an earlier section last looked at a file that `covers` accepts, Unix seconds; None for never."""
        looks = (note.at for note in self._earlier if any(covers(name_of(noted.path)) for noted in note.files))
        return max(looks, default=None)

    def unread(self, position: Position) -> tuple[int | None, float]:
        """Return how many bytes of a file were unread at the last note, None if not known, and that note's time."""
        noted = self._own.get(position.name)
        if noted is None or noted.position.hash != position.hash:
            return None, 0.0
        return max(noted.size - position.offset, 0), self._own_at

    def due(self, files: int, now: float) -> bool:
        """True when a note of this many files may be written again."""
        return abs(now - self._written_at) >= max(_EVERY_S, files * _EVERY_S_A_FILE)

    def write(self, files: Sequence[NotedFile], now: float) -> None:
        """Write a note of these files, whose positions are committed by now."""
        text = msgspec.json.encode(files)
        if not files or (text == self._written and abs(now - self._written_at) < _IDLE_S):
            return
        self._written, self._written_at = text, now
        note = ReadNote(self._context.state_id, self._context.section, now, list(files))
        part = self._path.with_suffix(".part")
        try:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            # not synced: a power cut loses only a message to the operator, and no line
            part.write_bytes(msgspec.json.encode(note))
            part.replace(self._path)
        except OSError as error:
            if not self._failed:
                self._context.log.warning("unnoted path=%s reason=%s: it is tried again", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False


def _read_all(folder: Path) -> Iterable[ReadNote]:
    for path in sorted(folder.glob("tail-*.json")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=ReadNote)
        except (OSError, msgspec.DecodeError):
            continue  # cut short by a power cut, or not a note of ours
