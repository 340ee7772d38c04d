"""The lines of a file of gaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from aggregator.streams.messages import Gap

_LONGEST_LINE = 64 * 1024
"""A gap has some 300 bytes; its detail is cut at 300 characters before it is written."""


def gaps_in(file: BinaryIO) -> Iterator[Gap | None]:
    """Yield the gaps of a file, and None for each line that is no gap. A line that is being written has no end yet."""
    while line := file.readline(_LONGEST_LINE):
        if line.endswith(b"\n"):
            yield _gap(line)
        elif len(line) == _LONGEST_LINE:
            yield None
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                continue


def _gap(line: bytes) -> Gap | None:
    try:
        return msgspec.json.decode(line, type=Gap)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
