"""Local bundles that are in the store: each is kept for a while as `NAME.stored`, and then deleted.

A Redis that lost its last second or two may have lost the record that a bundle was stored. Then the bundle's message
comes again, and finds the file under this name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aggregator.feeds.naming.folders import FeedFolders
from aggregator.files.fingerprint import hash_file
from aggregator.runtime.context import Context

MARK = ".stored"
_LOOK_EVERY_S = 60.0


class StoredFiles:
    """The files that are deleted `keep_s` after they were stored."""

    def __init__(self, folders: FeedFolders, keep_s: float, context: Context) -> None:
        self._context = context
        self._folders = folders
        self._keep_s = keep_s
        self._since: dict[Path, float] = {}
        """When each file was stored, in Unix seconds."""
        self._looked_at = float("-inf")

    def add(self, path: Path, now: float) -> None:
        """Mark a bundle as stored. Raises OSError; a repetition does no harm."""
        stored = _marked(path)
        # order: the time since when the bundle is stored, then the mark: after a kill in between, a marked file with
        # its old time would be deleted at once
        for place in (path, stored):  # marked already, if Redis has lost the step in which that was done
            with suppress(FileNotFoundError):
                os.utime(place, (now, now))
        with suppress(FileNotFoundError):
            path.replace(stored)
        self._since[stored] = now

    def has(self, path: Path, sha256: str) -> bool:
        """True for a bundle that was stored and is still here. Raises OSError."""
        with suppress(FileNotFoundError):
            return hash_file(_marked(path)) == sha256
        return False

    def remove(self, now: float) -> None:
        """Delete files that were stored long enough ago; once a minute, look for those of earlier processes too.

        A file that cannot be removed holds up no other: it is reported, and tried again in a minute.
        """
        if abs(now - self._looked_at) >= _LOOK_EVERY_S:
            self._looked_at = now
            self._since |= dict(self._left())
        for stored in [stored for stored, since in self._since.items() if abs(now - since) >= self._keep_s]:
            del self._since[stored]
            try:
                stored.unlink(missing_ok=True)
            except OSError as error:
                report_left(self._context, stored, error)
            else:
                self._context.withdraw("not_removed", str(stored))
                remove_empty(stored)

    def _left(self) -> Iterator[tuple[Path, float]]:
        for stored in self._folders.bundles.glob(f"*/*/*{MARK}"):
            with suppress(FileNotFoundError):
                yield stored, stored.lstat().st_mtime


def report_left(context: Context, path: Path, error: OSError) -> None:
    """Have `health` show a file or folder that is not needed any more and cannot be removed."""
    context.report(
        "not_removed",
        f"{path} is not needed any more, and cannot be removed: {error.strerror or error}",
        "look who owns it and its folder, and remove it",
        about=str(path),
    )


def remove_empty(path: Path) -> None:
    """Remove the folders of a bundle's hour and day, once they are empty."""
    with suppress(OSError):
        path.parent.rmdir()
        path.parent.parent.rmdir()


def _marked(path: Path) -> Path:
    return path.with_name(f"{path.name}{MARK}")
