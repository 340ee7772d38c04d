"""Compare the text of two files, to find copies of a log and logs that were replaced by a copy of themselves."""

from __future__ import annotations

from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.logs.following.openfile import OpenFile

_CHUNK = 256 * 1024


def common_end(one: OpenFile, other: OpenFile, begin: int) -> int:
    """Return the offset up to which two files hold the same bytes, from `begin` on."""
    at = begin
    while True:
        left, right = one.read_at(at, _CHUNK), other.read_at(at, _CHUNK)
        size = min(len(left), len(right))
        if left[:size] != right[:size]:
            return at + next(number for number in range(size) if left[number] != right[number])
        at += size
        if size < _CHUNK:
            return at


def end_of_lines(file: OpenFile, begin: int, end: int) -> int:
    """Return where the last whole line before `end` ends; `begin`, itself the start of a line, where there is none."""
    at = end
    while at > begin:
        start = max(at - _CHUNK, begin)
        newline = file.read_at(start, at - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        at = start
    return begin


def ends_alike(one: OpenFile, other: OpenFile, end: int) -> bool:
    """True when two files hold the same first bytes, and the same last bytes before `end`."""
    at = max(end - HEAD_BYTES, 0)
    first = min(HEAD_BYTES, end)
    return one.read_at(0, first) == other.read_at(0, first) and one.read_at(at, end - at) == other.read_at(at, end - at)
