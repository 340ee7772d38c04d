"""What every store promises, asked of each kind of store."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from pathlib import Path

import pytest

from aggregator.errors import Reject
from aggregator.stores.store import Conflict, NotFound, Store
from tests.stores.conftest import KINDS

pytestmark = pytest.mark.parametrize("kind", KINDS)

KEY = "2026-11-22/05/mta-2026-11-22T0500Z.tar.zst"


def test_what_was_put_is_got_with_the_tag_that_put_returned(store: Store) -> None:
    tag = store.put(KEY, b"bundle")

    assert store.get(KEY) == (b"bundle", tag)


@pytest.mark.parametrize("body", [b"", b"x", os.urandom(300_000)], ids=["empty", "one byte", "300 KB"])
def test_bytes_files_and_open_files_are_stored_alike(store: Store, tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(body)
    opened = io.BytesIO(body)
    opened.seek(0, io.SEEK_END)

    tags = {store.put("bytes", body), store.put("path", path), store.put("file", opened)}

    assert len(tags) == 1
    assert [store.get(key)[0] for key in ("bytes", "path", "file")] == [body] * 3


def test_an_object_that_is_not_there_is_not_found(store: Store) -> None:
    store.put("folder/object", b"x")

    assert store.head("missing") is None
    assert store.head("folder/missing") is None
    for key in ("missing", "folder/missing", "folder"):
        with pytest.raises(NotFound):
            store.get(key)


def test_head_tells_size_time_tag_and_hash(store: Store) -> None:
    tag = store.put(KEY, b"bundle")

    info = store.head(KEY)

    assert info is not None
    assert (info.key, info.size, info.tag, info.sha256) == (KEY, 6, tag, hashlib.sha256(b"bundle").hexdigest())
    assert abs(info.modified - time.time()) < 60


def test_create_only_refuses_what_exists_and_leaves_it(store: Store) -> None:
    tag = store.put(KEY, b"first", if_absent=True)

    with pytest.raises(Conflict):
        store.put(KEY, b"second", if_absent=True)

    assert store.get(KEY) == (b"first", tag)


def test_a_write_bound_to_a_tag_takes_effect_only_while_the_object_has_it(store: Store) -> None:
    first = store.put(KEY, b"first")
    second = store.put(KEY, b"second", if_tag=first)

    with pytest.raises(Conflict):
        store.put(KEY, b"stale", if_tag=first)

    assert store.get(KEY) == (b"second", second)


def test_a_write_bound_to_a_tag_does_not_bring_back_what_is_gone(store: Store) -> None:
    tag = store.put(KEY, b"first")
    store.delete(KEY)

    with pytest.raises(Conflict):
        store.put(KEY, b"second", if_tag=tag)

    assert store.head(KEY) is None


def test_a_write_without_condition_replaces(store: Store) -> None:
    store.put(KEY, b"first")

    tag = store.put(KEY, b"second")

    assert store.get(KEY) == (b"second", tag)


def test_deleting_twice_is_no_error(store: Store) -> None:
    store.put(KEY, b"x")

    store.delete(KEY)
    store.delete(KEY)

    assert store.head(KEY) is None


def test_a_deletion_bound_to_a_tag_spares_what_has_changed(store: Store) -> None:
    stale = store.put(KEY, b"first")
    current = store.put(KEY, b"second")

    with pytest.raises(Conflict):
        store.delete(KEY, if_tag=stale)
    assert store.get(KEY)[0] == b"second"

    store.delete(KEY, if_tag=current)
    assert store.head(KEY) is None
    with pytest.raises(Conflict):
        store.delete(KEY, if_tag=current)


def test_reading_can_begin_anywhere_and_ends_at_the_end(store: Store) -> None:
    store.put(KEY, b"0123456789")

    def read_from(start: int) -> bytes:
        with store.open_read(KEY, start=start) as reader:
            return reader.read()

    assert [read_from(start) for start in (0, 4, 9, 10, 11)] == [b"0123456789", b"456789", b"9", b"", b""]


def test_a_read_returns_as_much_as_was_asked_for(store: Store) -> None:
    body = os.urandom(200_000)
    store.put(KEY, body)

    with store.open_read(KEY) as reader:
        pieces = [reader.read(70_000) for _ in range(4)]

    assert [len(piece) for piece in pieces] == [70_000, 70_000, 60_000, 0]
    assert b"".join(pieces) == body


def test_an_open_reader_knows_its_state(store: Store) -> None:
    tag = store.put(KEY, b"0123456789")

    with store.open_read(KEY, start=3) as reader:
        assert reader.info == store.head(KEY)
        assert reader.info.tag == tag
        assert reader.read() == b"3456789"


def test_a_reader_bound_to_a_tag_refuses_another_state(store: Store) -> None:
    stale = store.put(KEY, b"first")
    current = store.put(KEY, b"second")

    for start in (0, 2):
        with pytest.raises(Conflict):
            store.open_read(KEY, start=start, tag=stale)
        with store.open_read(KEY, start=start, tag=current) as reader:
            assert reader.read() == b"second"[start:]


def test_a_listing_shows_what_begins_with_the_prefix(store: Store) -> None:
    keys = {"2026-11-22/05/a.zst", "2026-11-22/05/b.zst", "2026-11-22/06/a.zst", "2026-11-23/00/a.zst", "top"}
    for key in keys:
        store.put(key, key.encode())

    def listed(prefix: str) -> set[str]:
        return {info.key for info in store.list(prefix)}

    assert listed("") == keys
    assert listed("2026-11-22/") == {key for key in keys if key.startswith("2026-11-22/")}
    assert listed("2026-11-2") == keys - {"top"}
    assert listed("2026-11-22/05/a") == {"2026-11-22/05/a.zst"}
    assert listed("2026-11-24/") == set()
    assert {info.size for info in store.list("top")} == {3}


def test_a_listing_of_nothing_is_empty(store: Store) -> None:
    assert list(store.list()) == []


HOSTILE = [
    "",
    "/etc/passwd",
    "../escape",
    "a/../../escape",
    "a/./b",
    "a//b",
    "a/",
    ".hidden",
    "a/.hidden",
    ".store/incoming/x",
    "a\x00b",
    "a\nb",
    "a\\..\\b",
    "\ud800",
    "x" * 256,
    "/".join(["x" * 100] * 10),
]


@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
def test_hostile_keys_are_refused_everywhere(store: Store, key: str) -> None:
    with pytest.raises(Reject, match="bad key"):
        store.put(key, b"x")
    with pytest.raises(Reject, match="bad key"):
        store.get(key)
    with pytest.raises(Reject, match="bad key"):
        store.head(key)
    with pytest.raises(Reject, match="bad key"):
        store.delete(key)
    if key not in ("", "a/"):
        with pytest.raises(Reject, match="bad"):
            list(store.list(key))


@pytest.mark.parametrize("key", ["a b", "Zürich/x", "日本/x", "a+b&c=d?e#f%41", "100%", "x" * 255, "a..b", "a'b\"c"])
def test_unusual_names_are_kept_as_they_are(store: Store, key: str) -> None:
    store.put(key, b"x")

    assert store.get(key)[0] == b"x"
    assert [info.key for info in store.list()] == [key]


def test_threads_may_share_a_store(store: Store) -> None:
    def write(number: int) -> None:
        for turn in range(5):
            store.put(f"thread/{number}", f"{number} {turn}".encode())

    threads = [threading.Thread(target=write, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [store.get(f"thread/{number}")[0] for number in range(6)] == [f"{number} 4".encode() for number in range(6)]


def test_cleaning_leaves_objects_alone(store: Store) -> None:
    store.put(KEY, b"x")

    store.clean()

    assert [info.key for info in store.list()] == [KEY]
