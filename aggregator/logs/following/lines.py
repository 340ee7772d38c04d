"""Take whole lines out of a file, without ever holding more of one line in memory than its limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aggregator.files.fingerprint import HEAD_BYTES

_BYTES_A_LINE = 512
"""Bytes read for each line wanted: more than a line of an access log has on average, so that one read is enough."""
_SCAN = 256 * 1024

ReadAt = Callable[[int, int], bytes]


class Taken(NamedTuple):
    """Some lines, without their line ends, and `end`, where the next line begins."""

    lines: list[bytes]
    begin: int
    end: int
    head: bytes = b""
    """The first of the bytes that were taken."""
    last_at: int = 0
    last: bytes = b""
    """Some of the last bytes that were taken; `last_at` is where they begin."""
    cut: int = 0
    more: bool = False
    """True when another line may follow."""
    scanned: int = 0
    """The offset up to which the unfinished line was searched for its end in vain."""


def take_lines(read_at: ReadAt, offset: int, limit: int, maxline: int, scanned: int = 0) -> Taken:
    """Take up to `limit` lines from `offset`; a line without its newline is not taken yet.

    A line longer than `maxline` bytes is cut there and the rest skipped. `scanned` is the value that the last try
    returned.
    """
    wanted = max(limit * _BYTES_A_LINE, 8192)
    data = read_at(offset, wanted)
    lines = data.split(b"\n", limit)
    rest = lines.pop()
    if not lines:
        if len(data) < wanted:
            return Taken([], offset, offset, scanned=offset + len(data))
        return _take_long(read_at, offset, maxline, scanned)
    end = offset + len(data) - len(rest)
    cut = 0
    if max(map(len, lines)) > maxline:
        cut = sum(len(line) > maxline for line in lines)
        lines = [cut_line(line, maxline) for line in lines]
    if b"\r\n" in data:
        lines = [line.removesuffix(b"\r") for line in lines]
    # Bytes read beyond the lines are read again with the next lines: the page cache is cheaper than a buffer.
    taken = end - offset
    last_at = max(taken - HEAD_BYTES, 0)
    last = data[last_at:taken]
    return Taken(lines, offset, end, data[: min(HEAD_BYTES, taken)], offset + last_at, last, cut, more=bool(rest))


def _take_long(read_at: ReadAt, offset: int, maxline: int, scanned: int) -> Taken:
    """Take one line that is longer than a usual read, if its newline is there."""
    line = read_at(offset, maxline + 1)
    length = line.find(b"\n")
    if length < 0:
        newline, scanned = _find_newline(read_at, max(offset + len(line), scanned))
        if newline is None:
            return Taken([], offset, offset, scanned=scanned)
        length = newline - offset
    text = line[:length]
    text = cut_line(text, maxline) if length > maxline else text.removesuffix(b"\r")
    # the last bytes of so long a line may be far away: its first bytes identify it as well
    head = line[:HEAD_BYTES]
    return Taken([text], offset, offset + length + 1, head, offset, head, int(length > maxline), more=True)


def _find_newline(read_at: ReadAt, at: int) -> tuple[int | None, int]:
    """Return the offset of the next newline, None if there is none, and the offset up to which was searched."""
    while data := read_at(at, _SCAN):
        found = data.find(b"\n")
        if found >= 0:
            return at + found, at
        at += len(data)
    return None, at


def cut_line(line: bytes, maxline: int) -> bytes:
    """Return at most `maxline` bytes of a line, without half a UTF-8 character at the end."""
    if len(line) <= maxline:
        return line
    end = maxline
    # a byte 0b10xxxxxx continues a character: go back to the start of the character that is cut in two
    while end > max(maxline - 4, 0) and line[end] & 0xC0 == 0x80:
        end -= 1
    return line[: end if end > maxline - 4 else maxline]


def end_of_hole(read_at: ReadAt, offset: int) -> int:
    """Return where a run of NULs at `offset` ends: at other text, or at the end of the file."""
    at = offset
    while data := read_at(at, _SCAN):
        text = data.lstrip(b"\0")
        if text:
            return at + len(data) - len(text)
        at += len(data)
    return at
