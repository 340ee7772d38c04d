"""Tar as a stream: headers that are the same everywhere, and a reader that trusts nothing.

The standard library's reader keeps every member it saw and reads names of any length that the archive claims. The
reader here accepts only files with safe names, within bounds, and refuses everything else.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from aggregator.feeds.bundle.compression import PIECE, BadBundle
from aggregator.feeds.reading.dates import YEAR_10000

BLOCK = 512
END = bytes(2 * BLOCK)


class Limits(NamedTuple):
    """How much an archive may contain to be read."""

    member_bytes: int = 1 << 30
    total_bytes: int = 1 << 35
    members: int = 200_000


LIMITS = Limits()
MAX_LONG_NAME = 4096
MAX_END = 1 << 20
"""The most zero bytes after the last member; tar writes up to 10 KB of them."""


def tar_header(name: str, size: int, mtime: int) -> bytes:
    """Return the header of a plain file: owner 0, group 0, mode 0644, GNU format."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return the zeros between a file of this size and the next block."""
    return bytes(-size % BLOCK)


class Readable(Protocol):
    """A stream whose `read(n)` returns n bytes, fewer only at its end."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        ...


class TarMember:
    """One file of an archive that is being read; its bytes can be read until the next file is asked for."""

    def __init__(self, stream: Readable, name: str, size: int, mtime: int) -> None:
        self.name = name
        self.size = size
        self.mtime = mtime
        self._stream = stream
        self._left = size

    def pieces(self) -> Iterator[bytes]:
        """Yield the unread bytes of the file. Raises BadBundle when the archive ends within them."""
        while self._left:
            piece = self._stream.read(min(self._left, PIECE))
            if not piece:
                raise BadBundle(f"cut inside {self.name[:200]!r}")
            self._left -= len(piece)
            yield piece


def read_tar(stream: Readable, limits: Limits = LIMITS) -> Iterator[TarMember]:
    """Yield the files of an archive, named by the last part of their names; folders are skipped.

    Raises BadBundle at anything that is neither a file nor a folder, at an unsafe name, and beyond the limits.
    """
    total = count = 0
    long_name: str | None = None
    while (info := _next_header(stream)) is not None:
        count += 1
        total += info.size
        if info.size < 0 or info.size > limits.member_bytes or total > limits.total_bytes or count > limits.members:
            raise BadBundle(f"beyond the limits at {info.name[:200]!r} ({count} members, {total} bytes so far)")
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            long_name = _read_long_name(stream, info) or long_name
            continue
        name, long_name = long_name or info.name, None
        safe_name = check_name(name)
        if info.type == tarfile.DIRTYPE and info.size == 0:
            continue
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise BadBundle(f"{name[:200]!r} is no plain file (type {info.type!r})")
        member = TarMember(stream, safe_name, info.size, min(max(int(info.mtime), 0), YEAR_10000 - 1))
        yield member
        for _ in member.pieces():
            pass
        _skip(stream, len(padding(info.size)))


def check_name(name: str) -> str:
    """Return the last part of a member's name.

    Raises BadBundle when the name is absolute, contains `..`, is hidden (a `.bashrc`) or is not printable text.
    """
    parts = [part for part in name.rstrip("/").split("/") if part != "."]
    climbs = name.startswith("/") or ".." in parts or "" in parts or "\\" in name
    if climbs or not name.isprintable() or (parts and parts[-1].startswith(".")):
        raise BadBundle(f"an unsafe name in the archive (found {name[:200]!r})")
    last = parts[-1] if parts else "."
    if len(last.encode()) > 255:
        raise BadBundle(f"a name of more than 255 bytes in the archive (found {name[:60]!r}…)")
    return last


def _next_header(stream: Readable) -> tarfile.TarInfo | None:
    """Return the next header; None at the archive's end, after reading the stream to its end to check its checksum."""
    block = stream.read(BLOCK)
    if len(block) < BLOCK:
        raise BadBundle("cut: no end of the archive")
    if not block.strip(b"\0"):
        if stream.read(MAX_END).strip(b"\0") or stream.read(1):
            raise BadBundle("something follows the end of the archive")
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise BadBundle(f"no tar: {error}") from error


def _read_long_name(stream: Readable, info: tarfile.TarInfo) -> str | None:
    """Return the long name of the following file, from a GNU header or the keyword `path` of a pax header."""
    if info.size > MAX_LONG_NAME:
        raise BadBundle(f"a name or header of {info.size} bytes in the archive")
    data = stream.read(info.size)
    _skip(stream, len(padding(info.size)))
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    name = None
    while data.strip(b"\0"):
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise BadBundle("a damaged pax header in the archive")
        keyword, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if keyword in (b"size", b"linkpath") or keyword.startswith(b"GNU.sparse"):
            raise BadBundle(f"a pax header with {keyword.decode('ascii', 'replace')} in the archive")
        if keyword == b"path":
            name = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return name


def _skip(stream: Readable, size: int) -> None:
    if len(stream.read(size)) < size:
        raise BadBundle("cut inside the archive")
