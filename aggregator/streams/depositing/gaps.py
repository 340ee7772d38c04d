"""The gaps of streams in a store: `STREAM/STREAM.INSTANCE.gaps.jsonl`, one object for each stream and instance.

Each instance has an object of its own, because a gap of one machine is none of another that captured the same stream
meanwhile, and because two machines then never write one object. Lines are only ever added to it: what the file here
has lost, by another disk for example, stays there.
"""

from __future__ import annotations

import os
from contextlib import suppress

from aggregator.errors import Retry
from aggregator.stores.store import Conflict, NotFound, Store
from aggregator.streams.depositing.finished import FinishedFiles
from aggregator.streams.recording.paths import gaps_path

_ROUNDS = 10
_Facts = tuple[int, int]
"""Size and time of a file's last change."""


class StoredGaps:
    """Brings the gaps of all streams of a folder into one store."""

    def __init__(self, files: FinishedFiles, store: Store, prefix: str, instance: str, *, conditional: bool) -> None:
        self._files = files
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""
        self._instance = instance
        self._conditional = conditional
        self._brought: dict[str, _Facts] = {}
        """What the file of each stream was like when all of it was seen in the store."""

    def changed(self) -> list[str]:
        """Return the streams with gaps that are not known to be in the store. Raises OSError."""
        found = []
        for stream in self._files.streams():
            with suppress(FileNotFoundError):
                facts = self._files.path(gaps_path(stream)).lstat()
                if self._brought.get(stream) != (facts.st_size, facts.st_mtime_ns):
                    found.append(stream)
        return found

    def bring(self, stream: str) -> None:
        """Add the gaps of a stream to its object, and see them there. Raises OSError, Retry and Unavailable."""
        with self._files.open(gaps_path(stream)) as file:
            facts = os.fstat(file.fileno())
            # what stands behind the last line break is being written
            lines = file.read().rpartition(b"\n")[0].splitlines(keepends=True)
        own = [line.removesuffix(b"\n") + b"\n" for line in lines]
        key = self._prefix + gaps_path(stream, self._instance)
        for _ in range(_ROUNDS):
            try:
                there, tag = self._store.get(key)
            except NotFound:
                there, tag = b"", None
            known = set(there.splitlines(keepends=True))
            new = [line for line in dict.fromkeys(own) if line not in known]
            if not new:
                self._brought[stream] = (facts.st_size, facts.st_mtime_ns)
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
