"""The members of a bundle: their names, their order, and how to tell whether two bundles hold the same.

A publication is identified by its plain name (feed, timestamp, extension) and its SHA-256. When several bodies share a
plain name, one body keeps it and the others are called `…-HASH8`. The body that had the plain name before keeps it; if
nodes disagree, the body with the smallest hash. So the names depend on the set of bodies alone, and sets can be merged
in any order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from aggregator.feeds.bundle.compression import PIECE, BadBundle
from aggregator.feeds.naming.publications import parse_publication
from aggregator.files.fingerprint import hash_file

_SUFFIX = r"((?:\.[A-Za-z0-9_]+)*)"
_VARIANT = re.compile(rf"(.+)-([0-9a-f]{{8}}|[0-9a-f]{{64}}){_SUFFIX}", re.ASCII | re.DOTALL)
_PLAIN = re.compile(rf"(.+?){_SUFFIX}", re.ASCII | re.DOTALL)


class Member(NamedTuple):
    """One file of a bundle."""

    name: str
    mtime: int
    size_bytes: int
    sha256: str


class Body(Protocol):
    """A member and the source of its bytes."""

    @property
    def member(self) -> Member:
        """The member, under any of its names."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Yield the member's bytes."""
        ...


class FileBody(NamedTuple):
    """A publication in a file of its own."""

    path: Path
    member: Member

    def pieces(self) -> Iterator[bytes]:
        """Yield the file's bytes."""
        with self.path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


class SpooledBody(NamedTuple):
    """A publication within a larger file."""

    spool: BinaryIO
    offset: int
    member: Member

    def pieces(self) -> Iterator[bytes]:
        """Yield the publication's part of the file."""
        left = self.member.size_bytes
        self.spool.seek(self.offset)
        while left:
            piece = self.spool.read(min(left, PIECE))
            if not piece:
                raise BadBundle(f"{self.member.name!r} is cut in the spool")
            left -= len(piece)
            yield piece


def file_body(path: Path) -> FileBody:
    """Return a file as a publication, with its hash."""
    sha256, facts = hash_file(path), path.stat()
    return FileBody(path, Member(path.name, int(facts.st_mtime), facts.st_size, sha256))


def arrange(bodies: Iterable[Body]) -> list[tuple[Member, Body]]:
    """Return each distinct body once, under its name in the bundle, ordered by time and then name.

    Ordered by time, consecutive captures stand side by side, and their likeness makes the bundle small.
    """
    groups: dict[str, dict[str, list[Body]]] = {}
    claims: dict[str, set[str]] = {}
    for body in bodies:
        plain, is_plain = split_name(body.member.name, body.member.sha256)
        groups.setdefault(plain, {}).setdefault(body.member.sha256, []).append(body)
        if is_plain:
            claims.setdefault(plain, set()).add(body.member.sha256)
    arranged = []
    for plain, same in groups.items():
        names = _names(plain, set(same), claims.get(plain, set()))
        for sha256, copies in same.items():
            mtime = _mtime(plain, copies)
            arranged.append((copies[0].member._replace(name=names[sha256], mtime=mtime), copies[0]))
    return sorted(arranged, key=lambda pair: (pair[0].mtime, pair[0].name))


def split_name(name: str, sha256: str) -> tuple[str, bool]:
    """Return a member's plain name, and whether the member has that name now."""
    match = _VARIANT.fullmatch(name)
    if match and sha256.startswith(match[2]):
        return match[1] + match[3], False
    return name, True


def variant_name(plain: str, variant: str) -> str:
    """Return the name of a further body under the same plain name."""
    match = _PLAIN.fullmatch(plain)
    return f"{match[1]}-{variant}{match[2]}" if match else f"{plain}-{variant}"


def contents_id(members: Iterable[Member]) -> str:
    """Return one hash of a bundle's contents, independent of format, level and version of the compressor."""
    digest = hashlib.sha256()
    for member in sorted(members):
        digest.update(f"{member.name}\0{member.mtime}\0{member.size_bytes}\0{member.sha256}\n".encode())
    return digest.hexdigest()


def _names(plain: str, hashes: set[str], claims: set[str]) -> dict[str, str]:
    keeper = min(claims, default=None)
    names = {}
    for sha256 in hashes:
        # A hostile server may craft bodies whose hashes begin alike.
        alike = sum(other != keeper and other[:8] == sha256[:8] for other in hashes) > 1
        names[sha256] = plain if sha256 == keeper else variant_name(plain, sha256 if alike else sha256[:8])
    return names


def _mtime(plain: str, copies: list[Body]) -> int:
    try:
        return parse_publication(plain).published_at
    except ValueError:  # the archive of another program, with names of another form
        return max(copy.member.mtime for copy in copies)
