"""A folder as a store: what is special about files."""

from __future__ import annotations

import io
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aggregator.errors import Reject, Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import NotFound, Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder, which is not there yet."""
    return tmp_path / "archive"


@pytest.fixture
def store(root: Path) -> Store:
    """A store in the folder."""
    return open_store(f"file://{root}")


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def test_objects_are_plain_files_anyone_may_read_as_the_umask_says(store: Store, root: Path) -> None:
    store.put("2026-11-22/05/mta.tar.zst", b"bundle")

    path = root / "2026-11-22" / "05" / "mta.tar.zst"

    assert path.read_bytes() == b"bundle"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_reading_and_listing_make_no_folder(store: Store, root: Path) -> None:
    assert store.head("key") is None
    assert list(store.list()) == []
    store.delete("key")
    store.clean()

    assert not root.exists()


def test_a_reader_keeps_the_state_it_opened(store: Store) -> None:
    store.put("key", b"first")

    with store.open_read("key") as reader:
        store.put("key", b"second")
        assert reader.read() == b"first"
        assert reader.info.size == 5


def test_a_tag_is_the_same_wherever_the_content_is_the_same(store: Store, tmp_path: Path) -> None:
    other = open_store(f"file://{tmp_path / 'copy'}")

    assert store.put("a", b"same") == other.put("b", b"same") == store.put("a", b"same")


def test_a_file_changed_by_hand_has_another_tag(store: Store, root: Path) -> None:
    tag = store.put("key", b"first")
    before = (root / "key").stat()
    (root / "key").write_bytes(b"FIRST")
    os.utime(root / "key", ns=(before.st_atime_ns, before.st_mtime_ns))

    info = store.head("key")

    assert info is not None
    assert info.tag != tag


def test_a_full_disk_makes_the_store_unavailable_and_leaves_nothing(store: Store, root: Path) -> None:
    store.put("key", b"small")

    with disk_full_after(100_000), pytest.raises(Unavailable, match="File too large"):
        store.put("key", b"x" * 200_000)

    assert store.get("key")[0] == b"small"
    assert list((root / ".store" / "incoming").iterdir()) == []


def test_a_missing_source_is_the_callers_affair(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put("key", tmp_path / "missing")


def test_a_source_that_fails_half_way_leaves_nothing(store: Store, root: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise RuntimeError("half way")
            return super().read(10)

    with pytest.raises(RuntimeError):
        store.put("key", Failing(b"x" * 100))

    assert store.head("key") is None
    assert list((root / ".store" / "incoming").iterdir()) == []


def test_cleaning_spares_what_living_writers_are_at(store: Store, root: Path) -> None:
    other = open_store(f"file://{root}")

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            other.clean()
            return super().read(10)

    store.put("key", Slow(b"x" * 100))

    assert store.get("key")[0] == b"x" * 100


def test_cleaning_removes_what_nobody_is_at(store: Store, root: Path) -> None:
    store.put("key", b"x")
    (root / ".store" / "incoming" / "left").write_bytes(b"half")

    store.clean()

    assert list((root / ".store" / "incoming").iterdir()) == []


@pytest.mark.parametrize("key", ["a", "a/b/c"])
@pytest.mark.parametrize("condition", [{}, {"if_absent": True}])
def test_a_key_in_the_way_of_another_is_rejected(store: Store, key: str, condition: dict[str, bool]) -> None:
    store.put("a/b", b"x")

    with pytest.raises(Reject, match="in the way"):
        store.put(key, b"y", **condition)


def test_what_is_no_plain_file_is_no_object(store: Store, root: Path) -> None:
    store.put("key", b"x")
    os.mkfifo(root / "pipe")
    (root / "empty folder").mkdir()
    (root / "dangling").symlink_to("nowhere")
    (root / os.fsdecode(b"bad\xff")).write_bytes(b"")

    assert [info.key for info in store.list()] == ["key"]
    for key in ("pipe", "empty folder", "dangling"):
        with pytest.raises(NotFound):
            store.get(key)


def test_a_store_at_the_root_of_a_disk_is_listed_by_those_who_may_not_see_its_lost_and_found(
    tmp_path: Path, root: Path, store: Store
) -> None:
    store.put("key", b"x")
    # nobody but root may look into it, and tests may run as root
    (root / "lost+found").mkdir(mode=0o700)
    (root / "lost+found" / "inode").write_bytes(b"")

    assert [info.key for info in store.list()] == ["key"]


def test_links_that_lead_back_are_not_followed_for_ever(root: Path, store: Store) -> None:
    store.put("a/one", b"x")
    store.put("b/two", b"x")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(".")
    (root / "a" / "loop").symlink_to("loop")
    (root / "b" / "other").symlink_to("../a")
    (root / "a" / "other").symlink_to("../b")

    assert sorted(info.key for info in store.list()) == ["a/one", "a/other/two", "b/other/one", "b/two"]


def test_a_store_below_a_file_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(f"file://{tmp_path}/file/store")

    assert store.head("key") is None
    with pytest.raises(Reject):
        store.put("key", b"x")
    assert visible(tmp_path) == ["file"]
