"""The gaps of streams in a store: `STREAM/STREAM.INSTANCE.gaps.jsonl`, one object for each stream and instance.

Each instance has an object of its own, because a gap of one machine is none of another that captured the same stream
meanwhile, and because two machines then never write one object. Lines are only ever added to it: what the file here
has lost, by another disk for example, stays there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from aggregator.errors import Retry
from aggregator.stores.store import Conflict, NotFound, Store
from aggregator.streams.depositing.finished import FinishedFiles
from aggregator.streams.recording.paths import gaps_path

_ROUNDS = 10


class _Brought(NamedTuple):
    """What was seen in the store of the file of a stream's gaps."""

    facts: tuple[int, int]
    """The size of the file then, and the time of its last change."""
    end: int
    """Up to where its lines are in the store."""
    last: bytes
    """The last of these lines, by which the file is known to go on behind them."""
    stored_bytes: int
    """The size of the object; it never shrinks by us."""


_NOTHING = _Brought((0, 0), 0, b"", 0)


class StoredGaps:
    """Brings the gaps of all streams of a folder into one store."""

    def __init__(self, files: FinishedFiles, store: Store, prefix: str, instance: str, *, conditional: bool) -> None:
        self._files = files
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""
        self._instance = instance
        self._conditional = conditional
        self._brought: dict[str, _Brought] = {}
        """What was seen in the store of each stream."""

    def changed(self) -> list[str]:
        """Return the streams with gaps that are not known to be in the store. Raises OSError."""
        found = []
        for stream in self._files.streams():
            with suppress(FileNotFoundError):
                facts = self._files.path(gaps_path(stream)).lstat()
                if self._brought.get(stream, _NOTHING).facts != (facts.st_size, facts.st_mtime_ns):
                    found.append(stream)
        return found

    def bring(self, stream: str) -> None:
        """Add the gaps of a stream to its object, and see them there. Raises OSError, Retry and Unavailable.

        Of a file that has only grown, what is new is read; without a new line the store is not asked.
        """
        before = self._brought.get(stream, _NOTHING)
        with self._files.open(gaps_path(stream)) as file:
            found = os.fstat(file.fileno())
            start = before.end if _goes_on(file, before) else 0
            own = _whole_lines(file, start)
        facts, end = (found.st_size, found.st_mtime_ns), start + sum(map(len, own))
        if start and not own:
            self._brought[stream] = before._replace(facts=facts)
            return
        key = self._prefix + gaps_path(stream, self._instance)
        for _ in range(_ROUNDS):
            try:
                there, tag = self._store.get(key)
            except NotFound:
                there, tag = b"", None
            if start and len(there) < before.stored_bytes:
                # somebody removed the object, or put an older one there
                del self._brought[stream]
                self.bring(stream)
                return
            known = set(there.splitlines(keepends=True))
            new = [line for line in dict.fromkeys(own) if line not in known]
            if not new:
                self._brought[stream] = _Brought(facts, end, own[-1] if own else b"", len(there))
                return
            with suppress(Conflict):
                self._put(key, there + b"".join(new), tag)
        raise Retry(f"{key}: in {_ROUNDS} rounds it never held all gaps: does somebody else write it?")

    def _put(self, key: str, text: bytes, tag: str | None) -> None:
        if not self._conditional:
            self._store.put(key, text)
        elif tag is None:
            self._store.put(key, text, if_absent=True)
        else:
            self._store.put(key, text, if_tag=tag)


def _goes_on(file: BinaryIO, before: _Brought) -> bool:
    """True when the lines that were brought before are still the beginning of a file."""
    file.seek(before.end - len(before.last))
    return file.read(len(before.last)) == before.last


def _whole_lines(file: BinaryIO, start: int) -> list[bytes]:
    """Return the lines of a file from a place on; what stands behind the last line break is being written."""
    file.seek(start)
    text = file.read()
    return text[: text.rfind(b"\n") + 1].splitlines(keepends=True)
