"""What an object store is to the rest: keys, tags, conditional writes.

A store holds whole objects under keys such as `2026-11-22/05/mta.tar.zst`. An object appears, changes and goes in one
step: a reader sees the old or the new one, never a part, whatever is killed when. Every state of an object has a
**tag**; a write may be bound to the tag it was based on, so that of two writers who read the same state one gets
`Conflict`, reads again and merges, and nothing is lost.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias

from aggregator.errors import AggregatorError, Reject, Retry

MAX_KEY_BYTES = 900
"""S3 allows 1,024 bytes; the rest is left to the store's own prefix."""
MAX_PART_BYTES = 255
"""What file systems allow between two slashes."""

Source: TypeAlias = Path | bytes | BinaryIO
"""What is to be stored: a file's path, bytes, or a seekable file that is read from its beginning."""


class Conflict(Retry):
    """The object is not in the state the write was bound to: read it again, merge, write again."""


class Damaged(Retry):
    """What was read is not what was written."""


class NotFound(AggregatorError):
    """There is no such object."""


class Info(NamedTuple):
    """What a store knows of an object without handing it over."""

    key: str
    size: int
    modified: float
    """When it was written, in Unix seconds, by the store's clock."""
    tag: str | None = None
    """Names this state of the object; None in listings of stores that would have to read it all to know."""
    sha256: str | None = None
    """Of the content, in hex; None when the object's writer did not record it, and in listings."""


class Capabilities(NamedTuple):
    """What `Store.probe` found out."""

    conditional: bool
    """Writes bound to a tag or to absence are refused when they must be. Without it two writers of one key lose
    what one of them wrote: write under keys that name their content instead."""
    conditional_delete: bool
    notices: tuple[str, ...]
    """What an operator should know, one sentence each."""


class ObjectReader(io.RawIOBase):
    """An object open for reading: one state of it, to its end, whoever replaces it meanwhile.

    A read returns as many bytes as were asked for, fewer only at the end. Raises Unavailable when the rest cannot
    be had, and Damaged instead of handing over the last bytes of an object that is not what was written.
    """

    @property
    def info(self) -> Info:
        """Return what is known of this state, its tag always; costs a pass over the content where it must."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Return True: it is what a reader is for."""
        return True


class Store(Protocol):
    """Keep objects under keys.

    Every method raises Unavailable while the store cannot be reached, is full or refuses us: what only an operator
    can mend makes callers wait, not set their messages aside. Reject means that this object or key can never be
    stored. All methods may be called from several threads and processes at once.
    """

    def get(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and tag; for small ones. Raises NotFound."""

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> ObjectReader:
        """Open an object from byte `start`; past its end it is empty.

        Raises NotFound, and Conflict when `tag` is given and the object has another by now.
        """

    def head(self, key: str) -> Info | None:
        """Return what is known of an object, its tag always; None when there is none."""

    def list(self, prefix: str = "") -> Iterator[Info]:
        """Yield the objects whose keys begin with `prefix` (not only at a slash), in no order."""

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        """Store an object and return its tag; it is durable then.

        With `if_absent` only when there is none, with `if_tag` only while it has this tag; otherwise Conflict. May
        also raise Conflict when nothing changed but another write was in progress. After Unavailable the write may
        have happened.
        """

    def delete(self, key: str, *, if_tag: str | None = None) -> None:
        """Remove an object; with `if_tag` only while it has this tag, otherwise Conflict. None there is no error."""

    def probe(self) -> Capabilities:
        """Try what this store really does, on throw-away keys; call it once before relying on conditions."""

    def clean(self) -> None:
        """Remove what killed writers left behind; nothing of it was ever to be seen as an object."""

    def close(self) -> None:
        """Let connections go."""


def check_key(key: str) -> str:
    """Return a key if it is one: parts between slashes, none empty, none hidden or upward. Raises Reject."""
    fault = fault_of_key(key)
    if fault:
        raise Reject(f"bad key {key[:80]!r}: {fault}")
    return key


def fault_of_key(key: str) -> str:
    """Return what is wrong with a key; empty when it is one."""
    return _fault_of(key) or next(filter(None, map(_fault_of_part, key.split("/"))), "")


def check_prefix(prefix: str) -> str:
    """Return what keys may begin with: like a key, but it may end anywhere. Raises Reject."""
    folder, _, name = prefix.rpartition("/")
    if prefix and name:
        return check_key(prefix)
    if folder:
        check_key(folder)
    elif prefix:
        raise Reject(f"bad prefix {prefix[:80]!r}: it begins with a slash")
    return prefix


def _fault_of(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "not valid Unicode"
    if size > MAX_KEY_BYTES:
        return f"longer than {MAX_KEY_BYTES} bytes"
    # a backslash climbs out of the target folder on systems that take it for a slash
    if not key.isprintable() or "\\" in key:
        return "control characters and backslashes are not allowed"
    return ""


def _fault_of_part(part: str) -> str:
    if not part:
        return "an empty part (a slash at an end, or two together)"
    if part.startswith("."):
        return "a part may not begin with a dot"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part is longer than {MAX_PART_BYTES} bytes"
    return ""


def open_source(source: Source) -> AbstractContextManager[BinaryIO]:
    """Open what is to be stored at its beginning; what the caller opened stays open."""
    if isinstance(source, Path):
        return source.open("rb")
    if isinstance(source, bytes):
        return io.BytesIO(source)
    source.seek(0)
    return nullcontext(source)
