"""The names of a stream's files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

HOUR_FOLDERS = ("[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2, "[0-9]" * 2)
"""The names of the folders of year, month, day and hour: patterns for `re` and for `glob` alike."""


def possible_paths(directory: Path, stream: str, moment_ms: int, form: str) -> Iterator[Path]:
    """Yield names that no finished file has: `STREAM/2026/11/28/12/STREAM-2026-11-28T12-34-56Z.jsonl.gz` first.

    A second file of the same second has `-1` behind its time, and so on. The name of a file that `archive` has put into
    a store and removed here is not given again while its mark is here.
    """
    moment = datetime.fromtimestamp(moment_ms / 1000, timezone.utc)
    folder = directory / stream / moment.strftime("%Y/%m/%d/%H")
    stem = f"{stream}-{moment.strftime('%Y-%m-%dT%H-%M-%SZ')}"
    for number in count():
        path = folder / f"{stem}{f'-{number}' if number else ''}.jsonl.{form}"
        if not sidecar_of(path).exists() and not mark_of(path).exists():
            yield path


def gaps_path(stream: str, instance: str = "") -> str:
    """Return the name of the file of a stream's gaps, below the directory.

    In a store each instance has one of its own, `STREAM/STREAM.INSTANCE.gaps.jsonl`.
    """
    return f"{stream}/{stream}.{f'{instance}.' if instance else ''}gaps.jsonl"


def sidecar_of(path: Path) -> Path:
    """Return the name of the sidecar of a file."""
    return path.with_name(f"{path.name}.json")


def mark_of(path: Path) -> Path:
    """Return the name of the mark that a file is in a store; it outlasts the file."""
    return path.with_name(f".{path.name}.stored")
