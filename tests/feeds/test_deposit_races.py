"""Several depositors on one feed and period at once: whoever wins, nothing is lost and one object is left."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import Retry
from aggregator.feeds.bundle.bundles import read_bundle, save_bundle
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.bundle.upload import Depositor, hashed_key, siblings_of
from aggregator.feeds.naming.bundles import FORMATS, BundleName
from aggregator.feeds.query.catalogue import open_bundle
from aggregator.stores import open_store
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.store import Capabilities, Store
from tests.feeds.bundles import HOUR, body, bundle, manifest

NAME = BundleName("nyct", HOUR)
FULL = Capabilities(True, True, ())
NO_DELETE = Capabilities(True, False, ())
NONE = Capabilities(False, False, ())


def depositor(store: Store, capabilities: Capabilities, folder: Path) -> Depositor:
    return Depositor(store, capabilities, folder / "scratch", logging.getLogger("test"))


def brought(folder: Path, number: int, format_name: str) -> tuple[Path, str]:
    """Save what one writer brings: something of its own, and something that all have."""
    path = folder / f"{number}.tar.{format_name}"
    ticks = [Tick(planned_ms=(HOUR + number) * 1000, outcome="failed")]
    bodies = [body(HOUR + number, b"own %d" % number), body(HOUR + 999, b"common")]
    return path, save_bundle(path, bodies, [manifest(f"node{number}", ticks)], format_name).contents_id


def stored_times(store: Store) -> set[int]:
    times = set()
    for sibling in siblings_of(store, NAME, "p"):
        with open_bundle(store, sibling.key) as file:
            times |= {member.mtime - HOUR for member in read_bundle(file).publications}
    return times


def race(writers: list[Callable[[], object]]) -> None:
    """Run all of them at the same moment, again and again until each has come through."""
    start = threading.Barrier(len(writers))

    def run(write: Callable[[], object]) -> None:
        start.wait()
        while True:
            try:
                write()
                return
            except Retry:
                continue

    with ThreadPoolExecutor(len(writers)) as pool:
        for future in [pool.submit(run, write) for write in writers]:
            future.result()


@pytest.mark.parametrize("capabilities", [FULL, NO_DELETE], ids=["conditional deletes", "without"])
@pytest.mark.parametrize(("kind", "rounds"), [("directory", 12), ("moto", 3)])
def test_writers_of_all_formats_leave_one_object_with_everything(
    tmp_path: Path, options: dict[str, Any], kind: str, rounds: int, capabilities: Capabilities
) -> None:
    for round_ in range(rounds):
        folder = tmp_path / str(round_)
        store = open_store(**{**options, "url": f"{options['url']}/{round_}"})
        writers = []
        for number, format_name in enumerate(random.sample([*FORMATS, "zst"], 5)):
            path, contents_id = brought(folder, number, format_name)
            name = NAME._replace(format=format_name)
            mine = depositor(store, capabilities, folder)
            writers.append(lambda d=mine, p=path, n=name, c=contents_id: d.deposit(p, n, "p", c, "default"))
        race(writers)

        assert stored_times(store) == {0, 1, 2, 3, 4, 999}
        assert [sibling.format for sibling in siblings_of(store, NAME, "p")] == ["zst"]


def test_without_conditions_nothing_is_lost_while_all_deposit_and_unite(tmp_path: Path) -> None:
    for round_ in range(12):
        folder = tmp_path / str(round_)
        store = DirectoryStore(folder / "store")
        writers: list[Callable[[], object]] = []
        for number, format_name in enumerate(["zst", "bz2", "zst", "xz"]):
            path, contents_id = brought(folder, number, format_name)
            name = NAME._replace(format=format_name)
            mine = depositor(store, NONE, folder)

            def work(d: Depositor = mine, p: Path = path, n: BundleName = name, c: str = contents_id) -> None:
                d.deposit(p, n, "p", c, "default")
                d.unite(n, "p", "default")

            writers.append(work)
        race(writers)
        depositor(store, NONE, folder).unite(NAME, "p", "default")

        assert stored_times(store) == {0, 1, 2, 3, 999}
        assert len(siblings_of(store, NAME, "p")) == 1


def test_one_that_keeps_conditions_and_one_that_cannot_share_a_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for number, capabilities in enumerate([NONE, FULL, NONE, FULL, NONE]):
        path, contents_id = brought(tmp_path, number, "zst")
        depositor(store, capabilities, tmp_path).deposit(path, NAME, "p", contents_id, "default")
    assert stored_times(store) == {0, 1, 2, 3, 4, 999}

    depositor(store, FULL, tmp_path).unite(NAME, "p", "default")
    [sibling] = siblings_of(store, NAME, "p")
    assert sibling.key == NAME.key("p") and stored_times(store) == {0, 1, 2, 3, 4, 999}


def test_uniting_what_is_not_there_or_alone_changes_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for capabilities in (FULL, NONE):
        assert depositor(store, capabilities, tmp_path).unite(NAME, "p", "default") is None

    key = hashed_key(NAME, "p", "0" * 64)
    store.put(key, bundle([body(HOUR, b"one")]))
    assert depositor(store, NONE, tmp_path).unite(NAME, "p", "default") == key


def test_what_only_looks_like_a_sibling_is_left_alone(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    others = [NAME.key("p") + ".sha256", NAME.key("p").replace("nyct-", "nyct-2-"), NAME.key("p")[:-4] + ".note"]
    for key in others:
        store.put(key, b"not ours")
    path, contents_id = brought(tmp_path, 1, "zst")
    depositor(store, FULL, tmp_path).deposit(path, NAME, "p", contents_id, "default")

    assert [sibling.key for sibling in siblings_of(store, NAME, "p")] == [NAME.key("p")]
    assert all(store.get(key)[0] == b"not ours" for key in others)
