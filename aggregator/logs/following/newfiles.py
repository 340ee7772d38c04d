"""Rotated logs that are not known yet: which of them are read, left out, or waited for."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from aggregator.files.names import text_of
from aggregator.logs.following.listing import BeingRenamed, Entry, open_entry
from aggregator.logs.following.livepath import GAP_S
from aggregator.logs.following.openfile import OpenFile
from aggregator.runtime.context import Context

MTIME_SLACK_S = 3600.0
"""An unknown rotated log is new unless it was last changed more than this long before the newest file that was read:
older files are backups that somebody brought back."""


class NewFiles:
    """The rotated logs that are new to one path."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._left_out: set[tuple[int, int]] = set()
        self._shut_since = 0.0
        """When a rotated log that may not be read was first found, Unix seconds; 0 when there is none."""

    def without_backups(self, entries: Iterable[Entry], latest: float) -> list[Entry]:
        """Return the entries that are no backups; `latest` is when the newest file read last changed, Unix seconds."""
        # a time in the future, from a clock that was wrong once, must not shut out all later files
        after = min(latest, self._context.clock()) - MTIME_SLACK_S
        new = []
        for entry in entries:
            if entry.mtime >= after:
                new.append(entry)
            else:
                self._leave_out(entry, "it is much older than the newest file that was read, as a backup is")
        return new

    def open(self, entries: Iterable[Entry], now: float, opened: ExitStack, *, patient: bool) -> list[OpenFile]:
        """Open the files that may be read.

        Raises BeingRenamed, when `patient`, to wait for the others: the compressor that makes a file may still give it
        its owner and mode.
        """
        found = []
        for entry in entries:
            try:
                found.append(open_entry(entry))
            except PermissionError as error:
                self._shut_since = self._shut_since or now
                if patient and entry.key not in self._left_out and now - self._shut_since < GAP_S:
                    raise BeingRenamed from error
                self._leave_out(entry, f"it cannot be read: {error.strerror}")
            else:
                opened.callback(found[-1].close)
        self._shut_since = 0.0
        return found

    def _leave_out(self, entry: Entry, reason: str) -> None:
        if entry.key not in self._left_out:
            self._left_out.add(entry.key)
            self._context.log.warning("left_out path=%s reason=%s", text_of(str(entry.path)), reason)
