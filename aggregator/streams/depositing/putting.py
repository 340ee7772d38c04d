"""Put a file and its sidecar into a store, so that nothing there is replaced and what is there was read back.

    PREFIX/STREAM/yyyy/mm/dd/hh/STREAM-yyyy-mm-ddTHH-MM-SSZ.jsonl.gz           the name that the file has here
    PREFIX/STREAM/yyyy/mm/dd/hh/STREAM-yyyy-mm-ddTHH-MM-SSZ.HASH.jsonl.gz      when another file has that name already

HASH is of the sidecar, which has the hash of the file in it: the name stands for both. So two machines that capture
streams of one name, and begin a file in the same second, keep both files. In a store without conditional writes all
files get such names, as a write cannot be bound to there being no object, and under these names none is needed.

order: the file, then its sidecar. A sidecar in the store means that its file is there.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
import time
from typing import BinaryIO

from aggregator.errors import Reject, Retry
from aggregator.stores.store import Conflict, Damaged, NotFound, Store
from aggregator.streams.depositing.finished import Finished
from aggregator.streams.reading.hashing import Hashed

ROUNDS = 10
"""How often to try again when other writers came between, before the message is retried later."""
_MAX_PAUSE_S = 0.1


class Depositor:
    """Puts finished files into one store."""

    def __init__(self, store: Store, prefix: str, *, conditional: bool) -> None:
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""
        self._conditional = conditional

    def deposit(self, found: Finished) -> str:
        """Put a file and its sidecar. Returns the file's key; both were read back from the store.

        Raises Reject when this file can never be stored, Retry and Unavailable when it is not stored yet.
        """
        plain = self._prefix + found.name
        if self._conditional and self._put_both(plain, found):
            return plain
        hashed = self._prefix + hashed_name(found)
        if self._put_both(hashed, found):
            return hashed
        raise Reject(f"{hashed}: another object has the name that stands for this content")

    def is_renamed(self, key: str, found: Finished) -> bool:
        """True when a file was put under another name than its own although the store can keep names apart."""
        return self._conditional and key != self._prefix + found.name

    def is_there(self, key: str, sha256: str, size_bytes: int) -> bool:
        """True when a file and its sidecar are still in the store, as far as can be told without reading them."""
        info = self._store.head(key)
        is_it = info is not None and info.size == size_bytes and info.sha256 in (None, sha256)
        return is_it and self._store.head(f"{key}.json") is not None

    def find(self, name: str, sha256: str) -> str | None:
        """Return the key under which a file of this name and content is in the store; None when it is not there."""
        stem, ending = _divided(self._prefix + name)
        for info in self._store.list(stem):
            if re.fullmatch(rf"(\.[0-9a-f]{{16}})?{re.escape(ending)}", info.key.removeprefix(stem)):
                found = self._store.head(info.key)
                if found is not None and found.sha256 == sha256:
                    return info.key
        return None

    def _put_both(self, key: str, found: Finished) -> bool:
        """Return whether the file and its sidecar are under a key; False when it belongs to another file."""
        sidecar_sha256 = hashlib.sha256(found.sidecar).hexdigest()
        # a sidecar that is there says whose name it is, before all of the file is sent
        there = self._hash_of(f"{key}.json", None)
        if there not in (None, sidecar_sha256):
            return False
        return self._put(key, found.file, found.sha256) and self._put(
            f"{key}.json", io.BytesIO(found.sidecar), sidecar_sha256
        )

    def _put(self, key: str, content: BinaryIO, sha256: str) -> bool:
        """Return whether a content is under a key, which was read; False when another content is there."""
        for _ in range(ROUNDS):
            there = self._hash_of(key, None)
            if there is not None:
                return there == sha256
            try:
                tag = self._store.put(key, content, if_absent=self._conditional)
                there = self._hash_of(key, tag)
            except Conflict:
                time.sleep(random.uniform(0, _MAX_PAUSE_S))
                continue
            if there != sha256:
                raise Damaged(f"{key}: what was read back is not what was written")
            return True
        raise Retry(f"{key}: in {ROUNDS} rounds others always came between")

    def _hash_of(self, key: str, tag: str | None) -> str | None:
        """Read an object. Returns its hash, None when there is none; raises Conflict when it has another tag."""
        try:
            with self._store.open_read(key, tag=tag) as reader:
                return Hashed(io.BufferedReader(reader)).sha256()
        except NotFound:
            return None


def hashed_name(found: Finished) -> str:
    """Return the name that a file gets when another file has its own."""
    stem, ending = _divided(found.name)
    # copied back from a store, a file may have a hash in its name already
    stem = re.sub(r"\.[0-9a-f]{16}$", "", stem)
    return f"{stem}.{hashlib.sha256(found.sidecar).hexdigest()[:16]}{ending}"


def _divided(name: str) -> tuple[str, str]:
    """Return a name up to its ending, and the ending, such as `.jsonl.gz`."""
    stem, form, packing = name.rsplit(".", 2)
    return stem, f".{form}.{packing}"
