"""The contract of an object store: keys, tags, conditional writes.

A store holds whole objects under keys such as `2026-11-22/05/mta.tar.zst`. An object appears, changes and goes in one
step: a reader sees the old object or the new one, never a part, whichever process is killed at whatever moment. Every
state of an object has a **tag**. A write may be bound to the tag of the state that it was based on: of two writers who
read the same state, one gets `Conflict`, reads again and merges, and nothing is lost.
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
"""The most bytes that file systems allow between two slashes."""

Source: TypeAlias = Path | bytes | BinaryIO
"""The content to store: a file's path, bytes, or a seekable file that is read from its beginning."""


class Conflict(Retry):
    """The object is not in the state that the write was bound to: read it again, merge, write again."""


class Damaged(Retry):
    """The content that was read differs from the content that was written."""


class NotFound(AggregatorError):
    """There is no such object."""


class Info(NamedTuple):
    """The facts of an object, without its content."""

    key: str
    size: int
    modified: float
    """When the object was written, in Unix seconds, by the store's clock."""
    tag: str | None = None
    """Names this state of the object; None in listings of a store that would have to read the content to know it."""
    sha256: str | None = None
    """The hash of the content, in hex; None when the object's writer did not record it, and in listings."""


class Capabilities(NamedTuple):
    """What `Store.probe` found out."""

    conditional: bool
    """True when writes bound to a tag or to absence are refused whenever they must be. Without this, of two writers of
    one key one may overwrite the other: write under keys that name their content instead."""
    conditional_delete: bool
    notices: tuple[str, ...]
    """What an operator should know, one sentence each."""


class ObjectReader(io.RawIOBase):
    """One state of an object, open for reading to its end, even if the object is replaced meanwhile.

    A read returns as many bytes as were asked for, fewer only at the end. It raises Unavailable when the rest cannot be
    read. It raises Damaged in place of the last bytes when the content is not the one that was written.
    """

    @property
    def info(self) -> Info:
        """Return the facts of this state, always with its tag; some stores must read the whole content for it."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Return True: a reader can always be read."""
        return True


class Store(Protocol):
    """Keep objects under keys.

    Every method raises Unavailable while the store cannot be reached, is full or refuses us: until an operator mends
    such a fault, callers wait and do not set their messages aside. Reject means that this object or key can never be
    stored. All methods may be called from several threads and processes at once.
    """

    def get(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and tag; for small objects. Raises NotFound."""

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> ObjectReader:
        """Open an object from byte `start`; past the object's end there is nothing to read.

        Raises NotFound, and Conflict when `tag` is given and the object has another tag by now.
        """

    def head(self, key: str) -> Info | None:
        """Return the facts of an object, always with its tag; None when there is no object."""

    def list(self, prefix: str = "") -> Iterator[Info]:
        """Yield the objects whose keys begin with `prefix` (not only at a slash), in no order."""

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        """Store an object durably and return its tag.

        With `if_absent` the object is stored only when there is none, with `if_tag` only while it has this tag;
        otherwise Conflict is raised. Conflict may also be raised when nothing changed but another write was in
        progress. After Unavailable the write may have happened.
        """

    def delete(self, key: str, *, if_tag: str | None = None) -> None:
        """Remove an object; with `if_tag` only while it has this tag, otherwise raise Conflict.

        Without `if_tag` an object that is not there is no error.
        """

    def probe(self) -> Capabilities:
        """Try what this store really does, on throw-away keys; call this once before relying on conditions."""

    def clean(self) -> None:
        """Remove the data that killed writers left behind; readers never saw it as an object."""

    def close(self) -> None:
        """Close the connections."""


def check_key(key: str) -> str:
    """Return a valid key: parts between slashes, none empty, hidden or upward. Raises Reject for any other key."""
    fault = fault_of_key(key)
    if fault:
        raise Reject(f"bad key {key[:80]!r}: {fault}")
    return key


def fault_of_key(key: str) -> str:
    """Return the fault of a key; empty when the key is valid."""
    return _fault_of(key) or next(filter(None, map(_fault_of_part, key.split("/"))), "")


def check_prefix(prefix: str) -> str:
    """Return a valid prefix of keys: like a key, but it may end anywhere. Raises Reject for any other prefix."""
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
    """Open a source at its beginning; a file that the caller opened stays open afterwards."""
    if isinstance(source, Path):
        return source.open("rb")
    if isinstance(source, bytes):
        return io.BytesIO(source)
    source.seek(0)
    return nullcontext(source)
