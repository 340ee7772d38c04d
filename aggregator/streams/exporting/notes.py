"""Notes on any number of ids, on the disk: an export of a year has more of them than fit into memory."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from types import TracebackType

from aggregator.errors import AggregatorError

_CACHE_KB = 65536
_LONGEST = 200
"""Longer keys are noted by their hash."""
FOREVER = (1 << 63) - 1
NEVER = -1


class Notes:
    """Which keys were seen, and which are marked up to which number. Used as a context manager."""

    def __init__(self) -> None:
        # the empty name is a file in the folder for temporary files that goes by itself
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("CREATE TABLE marked (key TEXT PRIMARY KEY, up_to INTEGER) WITHOUT ROWID")
        # one transaction that is never committed: each insert as its own would cost ten times as much
        self._database.execute("BEGIN")
        self.marks = 0
        """How many marks were made."""

    def is_new(self, key: str) -> bool:
        """Note a key; return False when it was noted before."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_short(key),)).rowcount == 1

    def mark(self, key: str, up_to: int) -> None:
        """Mark a key up to a number; the highest number counts."""
        words = "INSERT INTO marked VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET up_to = max(up_to, excluded.up_to)"
        self._database.execute(words, (_short(key), max(0, min(up_to, FOREVER))))
        self.marks += 1

    def marked(self, key: str) -> int:
        """Return up to which number a key is marked; NEVER when it is not."""
        if not self.marks:
            return NEVER
        found = self._database.execute("SELECT up_to FROM marked WHERE key = ?", (_short(key),)).fetchone()
        return NEVER if found is None else int(found[0])

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            raise AggregatorError(f"cannot note ids in {tempfile.gettempdir()} (TMPDIR): {error}") from error


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST else hashlib.blake2b(key.encode()).hexdigest()
