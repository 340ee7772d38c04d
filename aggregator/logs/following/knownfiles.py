"""The files that a section knows, whatever path leads to them now.

A position belongs to a file, not to the path that led to it. A followed file is read under one path alone. A file whose
path does not name it any more, or is not configured any more, goes on under the next path that names the file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from aggregator.files.fingerprint import HEAD_BYTES, fingerprint
from aggregator.files.names import text_of
from aggregator.logs.following.copies import common_end, ends_alike
from aggregator.logs.following.followedfile import FollowedFile
from aggregator.logs.following.openfile import OpenFile, key_of, text_in
from aggregator.logs.following.position import Position, TextAt
from aggregator.logs.following.readnotes import ReadNotes

_LONG = 1024
"""A file of at least this many bytes is a copy when a followed file holds all of them too, whatever the names are."""
_COPY = re.compile(r"~|[.\-_]?(?:bak|backup|old|orig|copy|save|\d[\d.:T_\-]*)", re.IGNORECASE)
"""The endings behind a log's name by which even a short file is recognised as a copy of the log."""

Key = tuple[int, int]
"""Device and inode."""


class KnownFiles:
    """The followed files, and the positions without a file, over all paths of a section."""

    def __init__(self, notes: ReadNotes) -> None:
        self.notes = notes
        self.again: dict[str, tuple[int, int]] = {}
        """For each file that was read before, by its path as text: the bytes that are read again, and the bytes left
        out."""
        self._claims: dict[Key, FollowedFile] = {}
        self._by_path: dict[str, list[FollowedFile]] = defaultdict(list)
        self._by_hash: dict[str, list[FollowedFile]] = defaultdict(list)
        """The followed files by the hash of their first `HEAD_BYTES`."""
        self._left: dict[str, tuple[FollowedFile, list[FollowedFile]]] = {}
        """Files that no path names now, by the name of their cursor, each with all files of the path that named it."""

    def forget(self) -> None:
        """Forget the claims, so that they are made again."""
        for each in (self._claims, self._by_path, self._by_hash):
            each.clear()

    def claim(self, each: FollowedFile, *, again: bool = False) -> None:
        """Record that a file is followed.

        Of two paths that lead to the same file the first one follows it, unless `again` replaces the earlier claim.
        """
        if again:
            self._claims[each.key] = each
        else:
            self._claims.setdefault(each.key, each)
        self._by_path[each.position.path].append(each)
        if each.position.hashed == HEAD_BYTES:
            self._by_hash[each.position.hash].append(each)

    def leave(self, each: FollowedFile, files: list[FollowedFile]) -> None:
        """Offer a file that is not found under its path to other paths; `files` are all files of its path."""
        if each.position.hashed:
            self._left.setdefault(each.position.name, (each, files))

    def begin(self, each: FollowedFile, path: Path) -> None:
        """Record a file that is begun without a position although a note, of another Redis perhaps, has it."""
        noted = self.notes.earlier(each.file, path) if each.file is not None else None
        if noted is not None:
            begun, read = each.position.offset, noted.position.offset
            self.again[text_of(str(path))] = max(read - begun, 0), max(begun - read, 0)

    def is_elsewhere(self, own: Sequence[FollowedFile], key: Key, text: TextAt) -> bool:
        """True for a file that another path follows; an inode alone may be that of a file that is gone."""
        owner = self._claims.get(key)
        if owner is None or owner in own:
            return False
        return owner.file is not None or owner.position.fits(text)

    def copied(self, file: OpenFile, name: str) -> int:
        """Return how many bytes of a new file, found as `name`, are a copy of a followed file; 0 for a log of its own.

        A file that is named like a followed file, with something behind the name, must be the same up to the end of the
        shorter of the two. Any other file must be the same throughout, and not short, because two logs may begin alike.
        """
        size, key = file.stat().st_size, key_of(file)
        head = file.read_at(0, HEAD_BYTES)
        digest = fingerprint(head) if len(head) == HEAD_BYTES else ""
        if not size or file.codec:
            return 0
        for each in self._named_like(name, short=not digest):
            if each.key != key and (shared := _shared(each, file, size)):
                return shared
        alike = self._by_hash.get(digest, ()) if size >= _LONG else ()
        return size if any(each.key != key and _shared(each, file, size) == size for each in alike) else 0

    def _named_like(self, name: str, *, short: bool) -> Iterator[FollowedFile]:
        """Yield the followed files whose name begins `name`; with `short` the rest must mark a copy, as `.bak` does."""
        for end in range(name.rfind("/") + 2, len(name)):
            if name[:end] in self._by_path and (not short or _COPY.fullmatch(name[end:])):
                yield from self._by_path[name[:end]]

    def adopt(self, file: OpenFile) -> Position | None:
        """Return the position that a file had under a path that does not name it any more; None when it had none."""
        key, text = key_of(file), cache(text_in(file))
        for name, (each, files) in list(self._left.items()):
            if each not in files or each.file is not None:
                del self._left[name]  # it was found after all
        size = file.stat().st_size
        left = [each for each, _ in self._left.values() if file.codec or each.position.offset <= size]
        # With the same inode the bytes that were read are proof enough; with another inode `HEAD_BYTES` are needed.
        found = _first_that_fits([each for each in left if each.key == key], text) or _first_that_fits(
            [each for each in left if each.position.hashed == HEAD_BYTES], text
        )
        if found is None:
            return None
        _, files = self._left.pop(found.position.name)
        files.remove(found)
        return found.position


def _shared(each: FollowedFile, file: OpenFile, size: int) -> int:
    """Return up to where a file of this size seems to be the followed file; 0 when it begins otherwise."""
    if each.position.codec:
        return 0
    if each.file is None:
        return each.position.offset if size >= each.position.offset and each.position.fits(text_in(file)) else 0
    end = min(size, each.file.stat().st_size)
    return end if ends_alike(each.file, file, end) and common_end(each.file, file, 0) >= end else 0


def _first_that_fits(files: Iterable[FollowedFile], text: TextAt) -> FollowedFile | None:
    return next((each for each in files if each.position.fits(text)), None)
