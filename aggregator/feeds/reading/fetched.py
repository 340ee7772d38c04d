"""The result of a download, and the error for a body that is not what its feed promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aggregator.errors import AggregatorError
from aggregator.feeds.reading.dates import read_moment


class Corrupt(AggregatorError):
    """Keep this body out of the publications: it is not what its feed promises. The text says why."""


class Fetched(NamedTuple):
    """The result of one download."""

    body: bytes
    headers: Mapping[str, str]
    fetched_at: float
    """When the answer began to arrive, in Unix seconds."""
    path: Path | None = None
    """The file of the body, if the body is in a file."""


Reader = Callable[[Fetched], int | float]
"""A reader returns the time at which a fetched body was published, in Unix seconds."""


def moment_of(value: Any, where: str, read: Callable[[Any], int | float] = read_moment) -> int | float:
    """Return the Unix seconds of a value found at `where` in a body. Raises Corrupt when the value is not a moment."""
    try:
        return read(value)
    except ValueError as error:
        raise Corrupt(f"{where}: {error}") from error


def looks_like(body: bytes) -> str:
    """Return a guess at the format of an unreadable body, to be added to the reason."""
    start = body[:200].lstrip().lower()
    if body[:2] == b"\x1f\x8b":
        return " (a gzip file whose headers do not say so)"
    return " (an HTML page)" if start.startswith((b"<!doctype html", b"<html")) else ""
