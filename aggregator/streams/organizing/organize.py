"""Take an old data folder over, file by file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from aggregator.errors import AggregatorError
from aggregator.files.opening import open_own
from aggregator.streams.organizing.oldfiles import OldFile
from aggregator.streams.organizing.takeover import Left, Taken, folder_of, take_over


class Outcome(NamedTuple):
    """What became of an entry of the old folder."""

    old: OldFile
    folder: Path | None = None
    """The folder that the file went to, or would go to; None when it stays."""
    taken: Taken | None = None
    """None when nothing was done."""
    reason: str = ""
    """Why the file stays."""
    is_failure: bool = False
    """True when it stays although it was to be taken over."""


def organize(found: Sequence[OldFile], directory: Path, *, dry_run: bool) -> Iterator[Outcome]:
    """Take files over into the folders of streams, and yield what became of each.

    Raises AggregatorError when another run is at work there.
    """
    if dry_run:
        for old in found:
            yield Outcome(old, reason=old.reason) if old.reason else Outcome(old, folder_of(old, directory))
        return
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        for old in found:
            yield Outcome(old, reason=old.reason) if old.reason else _one(old, directory)


def _one(old: OldFile, directory: Path) -> Outcome:
    try:
        taken = take_over(old, directory)
    except Left as left:
        return Outcome(old, reason=str(left), is_failure=True)
    except OSError as error:
        # the files behind it are tried too: what is wrong may be about this one
        return Outcome(old, reason=error.strerror or str(error), is_failure=True)
    return Outcome(old, taken.target.parent, taken)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep two runs apart: both would write to the same temporary names."""
    lock = open_own(directory / ".organize.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise AggregatorError(f"another `streams organize` is at work in {directory}") from error
    finally:
        os.close(lock)
