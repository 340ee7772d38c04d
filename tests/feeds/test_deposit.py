"""A depositor believes only what it has read back, and removes only what it has united."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.errors import AggregatorError
from aggregator.feeds.bundle.bundles import save_bundle
from aggregator.feeds.bundle.upload import Depositor, hashed_key, siblings_of
from aggregator.feeds.naming.bundles import BundleName
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.store import Capabilities, Source, Store
from tests.feeds.bundles import HOUR, MemoryBody, body, bundle, contents

NAME = BundleName("nyct", HOUR)
FULL = Capabilities(True, True, ())
NO_DELETE = Capabilities(True, False, ())
NONE = Capabilities(False, False, ())
HASHED = [hashed_key(NAME, "p", digit * 64) for digit in "01"]
ONE, TWO, THREE = (body(HOUR + number, b"%d" % number) for number in (1, 2, 3))


class Lying(DirectoryStore):
    """A store on a disk that damages what is written, once it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.lies = False

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        tag = super().put(key, source, if_absent=if_absent, if_tag=if_tag)
        if self.lies:
            data = bytearray((self.root / key).read_bytes())
            data[len(data) // 2] ^= 1
            (self.root / key).write_bytes(data)
        return tag


class Busy(DirectoryStore):
    """A store in which somebody else does something right before, or after, our first write."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before: list[Callable[[], object]] = []
        self.meanwhile: list[Callable[[], object]] = []

    def put(self, key: str, source: Source, *, if_absent: bool = False, if_tag: str | None = None) -> str:
        if self.before:
            self.before.pop()()
        tag = super().put(key, source, if_absent=if_absent, if_tag=if_tag)
        if self.meanwhile:
            self.meanwhile.pop()()
        return tag


def depositor(store: Store, capabilities: Capabilities, folder: Path) -> Depositor:
    return Depositor(store, capabilities, folder / "scratch", logging.getLogger("test"))


def deposit(store: Store, capabilities: Capabilities, folder: Path, format_name: str = "zst") -> str:
    """Bring a bundle with the first of the three publications."""
    path = folder / f"mine.tar.{format_name}"
    written = save_bundle(path, [ONE], (), format_name)
    name = NAME._replace(format=format_name)
    return depositor(store, capabilities, folder).deposit(path, name, "p", written.contents_id, "default")


@pytest.mark.parametrize("capabilities", [FULL, NO_DELETE, NONE])
@pytest.mark.parametrize(
    "there", [[], [NAME.key("p")], HASHED[:1]], ids=["nothing", "a bundle", "one named by contents"]
)
def test_a_bundle_that_was_damaged_as_it_was_written_is_not_taken_for_stored(
    tmp_path: Path, capabilities: Capabilities, there: list[str]
) -> None:
    store = Lying(tmp_path / "store")
    for key in there:
        store.put(key, bundle([TWO]))
    store.lies = True

    with pytest.raises(AggregatorError):
        deposit(store, capabilities, tmp_path)

    assert {key for key in there if key in HASHED} <= {sibling.key for sibling in siblings_of(store, NAME, "p")}


@pytest.mark.parametrize("capabilities", [FULL, NO_DELETE, NONE])
def test_nothing_is_removed_for_a_union_that_was_damaged_as_it_was_written(
    tmp_path: Path, capabilities: Capabilities
) -> None:
    store = Lying(tmp_path / "store")
    for key, one in zip(HASHED, (ONE, TWO), strict=True):
        store.put(key, bundle([one]))
    store.lies = True

    with pytest.raises(AggregatorError):
        depositor(store, capabilities, tmp_path).unite(NAME, "p", "default")

    assert [list(contents(store.get(key)[0])) for key in HASHED] == [[ONE.name], [TWO.name]]


@pytest.mark.parametrize("capabilities", [FULL, NO_DELETE])
def test_what_changed_since_it_was_read_is_read_again_before_it_is_removed(
    tmp_path: Path, capabilities: Capabilities
) -> None:
    store = Busy(tmp_path / "store")
    old = NAME._replace(format="bz2").key("p")
    store.put(old, bundle([TWO], (), "bz2"))
    store.meanwhile.append(lambda: store.put(old, bundle([TWO, THREE], (), "bz2")))

    key = deposit(store, capabilities, tmp_path)

    assert [info.key for info in store.list()] == [key]
    assert list(contents(store.get(key)[0])) == [ONE.name, TWO.name, THREE.name]


def test_hashed_siblings_that_somebody_changed_since_they_were_read_are_not_removed(tmp_path: Path) -> None:
    store = Busy(tmp_path / "store")
    for key, one in zip(HASHED, (ONE, TWO), strict=True):
        store.put(key, bundle([one]))
    store.meanwhile.append(lambda: store.put(HASHED[0], bundle([ONE, THREE])))

    key = depositor(store, NONE, tmp_path).unite(NAME, "p", "default")

    assert key and [info.key for info in store.list()] == [key]
    assert list(contents(store.get(key)[0])) == [ONE.name, TWO.name, THREE.name]


@pytest.mark.parametrize("there", [[], [TWO]], ids=["nothing", "a bundle"])
def test_what_somebody_stored_between_our_reading_and_our_writing_is_not_overwritten(
    tmp_path: Path, there: list[MemoryBody]
) -> None:
    store = Busy(tmp_path / "store")
    if there:
        store.put(NAME.key("p"), bundle(there))
    store.before.append(lambda: store.put(NAME.key("p"), bundle([*there, THREE])))

    key = deposit(store, FULL, tmp_path)

    assert contents(store.get(key)[0]) == contents(bundle([ONE, *there, THREE]))


@pytest.mark.parametrize("capabilities", [FULL, NO_DELETE])
def test_of_two_that_wrote_siblings_at_once_the_second_unites_them(tmp_path: Path, capabilities: Capabilities) -> None:
    store = Busy(tmp_path / "store")
    store.meanwhile.append(lambda: store.put(NAME._replace(format="xz").key("p"), bundle([TWO], (), "xz")))

    key = deposit(store, capabilities, tmp_path)

    assert [info.key for info in store.list()] == [key]
    assert list(contents(store.get(key)[0])) == [ONE.name, TWO.name]
