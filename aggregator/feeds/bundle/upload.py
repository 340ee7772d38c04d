"""Upload a bundle to a store and merge it with other objects of its feed and period, also while others write.

    PREFIX/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.tar.FORMAT             with conditional writes: a shared key
    PREFIX/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.CONTENTS.tar.FORMAT    without them: the key names the contents

All keys of one feed and period are siblings. Siblings are first merged into one object. Then the siblings whose key
names their contents, or has a lower-ranked format, are removed. Formats are ranked because two writers may merge
siblings of different formats at once: without a rank, each could remove the object that the other wrote. A shared key
of the first rank is never removed.

A key that names its contents always holds the same bytes, so writing it needs no condition. Two writers that merge at
the same time create two more siblings, and each of these holds everything that its writer removed.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aggregator.errors import Reject, Retry
from aggregator.feeds.bundle.bundles import Contents, Written, read_bundle, write_bundle
from aggregator.feeds.bundle.compression import PIECE, BadBundle, Level
from aggregator.feeds.bundle.manifest import BadManifest
from aggregator.feeds.naming.bundles import FORMATS, BundleName
from aggregator.files.fingerprint import hash_file
from aggregator.stores.store import Capabilities, Conflict, Damaged, NotFound, Store

RANKS = ("zst", "xz", "gz", "bz2")
"""Formats by rank: the sibling in the first of these formats is kept."""
MAX_PAUSE_S = 0.1
ROUNDS = 20
"""How often to try again when other writers were quicker, before the message is retried later."""
_SIBLING = re.compile(rf"(?:([0-9a-f]{{16}})\.)?tar\.({'|'.join(FORMATS)})")


class Sibling(NamedTuple):
    """One object of a feed and period."""

    key: str
    format: str
    contents: str
    """The hash of the contents that the key names; empty for the shared key."""


class Fetched(NamedTuple):
    """A sibling that was read."""

    sibling: Sibling
    tag: str
    contents: Contents


def hashed_key(name: BundleName, prefix: str, contents_id: str) -> str:
    """Return the key of a bundle that names the bundle's contents."""
    return f"{name.stem(prefix)}{contents_id[:16]}.tar.{name.format}"


def siblings_of(store: Store, name: BundleName, prefix: str) -> list[Sibling]:
    """Return all objects of a feed and period, in any format."""
    stem = name.stem(prefix)
    found = []
    for info in store.list(stem):
        match = _SIBLING.fullmatch(info.key[len(stem) :])
        if match:
            found.append(Sibling(info.key, match[2], match[1] or ""))
    return sorted(found)


class Depositor:
    """Upload bundles to one store. `scratch` is a folder with room for several unpacked bundles."""

    def __init__(self, store: Store, capabilities: Capabilities, scratch: Path, log: logging.Logger) -> None:
        self._store = store
        self._capabilities = capabilities
        self._scratch = scratch
        self._log = log
        scratch.mkdir(parents=True, exist_ok=True)

    def deposit(self, path: Path, name: BundleName, prefix: str, contents_id: str, level: Level) -> str:
        """Upload a file. Returns the key of an object that holds all its contents and was read back.

        Raises Retry when other writers were quicker every time, and Reject when a sibling in the store is not a bundle.
        """
        if self._capabilities.conditional:
            return self._repeat(lambda: self._deposit_shared(path, name, prefix, level), name)
        key = hashed_key(name, prefix, contents_id)
        sha256 = hash_file(path)
        info = self._store.head(key)
        if info is None or info.sha256 != sha256:
            self._store.put(key, path)
        self._verify(key, None, sha256)
        return key

    def unite(self, name: BundleName, prefix: str, level: Level) -> str | None:
        """Merge all siblings in the store. Returns the key of the remaining object, None when there was no sibling."""
        unite = self._unite_shared if self._capabilities.conditional else self._unite_hashed
        return self._repeat(lambda: unite(name, prefix, level), name) or None

    def _deposit_shared(self, path: Path, name: BundleName, prefix: str, level: Level) -> str | None:
        """Try once to upload. Returns the key when the only object of the period holds the file's contents."""
        siblings = siblings_of(self._store, name, prefix)
        if siblings:
            key = self._merge_shared(siblings, name, prefix, level, path)
        else:
            key = name.key(prefix)
            tag = self._store.put(key, path, if_absent=True)
            self._verify(key, tag, hash_file(path))
        return self._if_alone(key, name, prefix)

    def _unite_shared(self, name: BundleName, prefix: str, level: Level) -> str | None:
        siblings = siblings_of(self._store, name, prefix)
        if len(siblings) < 2 and not any(sibling.contents for sibling in siblings):
            return siblings[0].key if siblings else ""
        return self._if_alone(self._merge_shared(siblings, name, prefix, level), name, prefix)

    def _if_alone(self, key: str, name: BundleName, prefix: str) -> str | None:
        """Return the key of the written object if it has no siblings."""
        # order: write, then list: of two writers that create siblings at once, the second sees both
        return key if [sibling.key for sibling in siblings_of(self._store, name, prefix)] == [key] else None

    def _merge_shared(
        self, siblings: list[Sibling], name: BundleName, prefix: str, level: Level, path: Path | None = None
    ) -> str:
        """Merge siblings and a file under the shared key, and remove the other siblings."""
        shared = [sibling.format for sibling in siblings if not sibling.contents]
        target = name._replace(format=min([name.format, *shared], key=RANKS.index))
        key = target.key(prefix)
        with self._merged(siblings, path, target.format, level) as (fetched, output, written):
            there = next((one for one in fetched if one.sibling.key == key), None)
            if there is None:
                tag = self._store.put(key, output, if_absent=True)
                self._verify(key, tag, written.sha256)
            elif there.contents.contents_id != written.contents_id:
                tag = self._store.put(key, output, if_tag=there.tag)
                self._verify(key, tag, written.sha256)
            self._remove(one for one in fetched if one.sibling.key != key)
        return key

    def _unite_hashed(self, name: BundleName, prefix: str, level: Level) -> str | None:
        siblings = [sibling for sibling in siblings_of(self._store, name, prefix) if sibling.contents]
        if len(siblings) < 2:
            return siblings[0].key if siblings else ""
        format_name = min((sibling.format for sibling in siblings), key=RANKS.index)
        with self._merged(siblings, None, format_name, level) as (fetched, output, written):
            key = hashed_key(name._replace(format=format_name), prefix, written.contents_id)
            if key not in [sibling.key for sibling in siblings]:
                self._store.put(key, output)
                self._verify(key, None, written.sha256)
            self._remove(one for one in fetched if one.sibling.key != key)
        return None  # look again: another writer may have added a sibling

    @contextmanager
    def _merged(
        self, siblings: list[Sibling], path: Path | None, format_name: str, level: Level
    ) -> Iterator[tuple[list[Fetched], BinaryIO, Written]]:
        """Fetch siblings, and write the union of them and a file to a temporary file."""
        with ExitStack() as stack:
            spool, output = (stack.enter_context(tempfile.TemporaryFile(dir=self._scratch)) for _ in range(2))
            fetched = [self._fetch(sibling, spool) for sibling in siblings]
            all_contents = [one.contents for one in fetched]
            if path is not None:
                with path.open("rb") as file:
                    all_contents.append(read_bundle(file, spool))
            bodies = (body for contents in all_contents for body in contents.bodies)
            manifests = (manifest for contents in all_contents for manifest in contents.manifests)
            try:
                written = write_bundle(output, bodies, manifests, format_name, level)
            except BadManifest as error:
                raise Reject(f"{siblings[0].key} cannot be united: {error}") from error
            yield fetched, output, written

    def _fetch(self, sibling: Sibling, spool: BinaryIO) -> Fetched:
        with tempfile.TemporaryFile(dir=self._scratch) as copy:
            try:
                with self._store.open_read(sibling.key) as reader:
                    tag = reader.info.tag or ""
                    shutil.copyfileobj(reader, copy, PIECE)
            except NotFound as error:
                raise Conflict(f"{sibling.key} is gone") from error
            copy.seek(0)
            try:
                return Fetched(sibling, tag, read_bundle(copy, spool))
            except BadBundle as error:
                raise Reject(f"what is stored as {sibling.key} is no bundle that could be united: {error}") from error

    def _verify(self, key: str, tag: str | None, sha256: str) -> None:
        """Read an object back. Raises Conflict when it was replaced or removed, Damaged when its hash differs."""
        digest = hashlib.sha256()
        try:
            with self._store.open_read(key, tag=tag) as reader:
                while piece := reader.read(PIECE):
                    digest.update(piece)
        except NotFound as error:
            raise Conflict(f"{key} is gone") from error
        if digest.hexdigest() != sha256:
            raise Damaged(f"{key}: what was read back is not what was written")

    def _remove(self, united: Iterable[Fetched]) -> None:
        """Remove siblings that were merged into another one, unless they changed since they were read."""
        for one in united:
            if self._capabilities.conditional_delete:
                self._store.delete(one.sibling.key, if_tag=one.tag)
            else:
                # A writer of ours that writes this key between the two calls lists the siblings afterwards, sees the
                # merged object, and merges again.
                info = self._store.head(one.sibling.key)
                if info is None or info.tag != one.tag:
                    raise Conflict(f"{one.sibling.key} has changed")
                self._store.delete(one.sibling.key)
            self._log.info("united key=%s", one.sibling.key)

    def _repeat(self, attempt: Callable[[], str | None], name: BundleName) -> str:
        """Try until no other writer interferes. Raises Retry."""
        for _ in range(ROUNDS):
            try:
                key = attempt()
            except Conflict as error:
                self._log.debug("conflict feed=%s reason=%s", name.feed, error)
                key = None
            if key is not None:
                return key
            time.sleep(random.uniform(0, MAX_PAUSE_S))
        raise Retry(f"{name.path}: in {ROUNDS} rounds others always came between")
