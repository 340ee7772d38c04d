"""What is there already is not fetched again, after a kill neither, and by one at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.errors import AggregatorError
from aggregator.feeds.query.catalogue import find_bundles
from aggregator.feeds.query.retrieve import retrieve
from aggregator.stores import open_store
from tests.feeds.archives import folder_store, manifest, published, store_bundle, store_hour, ticks_of
from tests.feeds.retrieving import STAMP, fetch, tree
from tests.processes import PROJECT
from tests.stores.servers import Proxy


def test_a_second_time_nothing_is_fetched(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    fetch(store, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}

    (result,) = fetch(store, tmp_path / "out")

    assert (result.files, result.is_new) == (12, False)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"?" * path.stat().st_size)]
)
def test_what_was_lost_or_damaged_meanwhile_is_fetched_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    fetch(store, tmp_path / "out")
    before = tree(tmp_path / "out")
    damage(next((tmp_path / "out").rglob("*.pb")))

    (result,) = fetch(store, tmp_path / "out")

    assert result.is_new
    assert tree(tmp_path / "out") == before


def test_a_later_revision_is_fetched_again(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, published()[:4], [manifest(ticks_of(published()[:4]))])
    fetch(store, tmp_path / "out")
    store_hour(store)

    (result,) = fetch(store, tmp_path / "out")

    assert (result.is_new, result.files) == (True, 12)
    assert len(tree(tmp_path / "out")) == 12


def test_nothing_temporary_is_left_not_even_by_a_killed_one(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store.put(f"2024-02-08/13/bad-{STAMP}.tar.zst", b"bad")
    leftover = tmp_path / "out" / ".retrieved" / "work" / "x" / "0"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")

    fetch(store, tmp_path / "out")

    assert {path.name for path in (tmp_path / "out" / ".retrieved").iterdir()} == {"folders", "lock"}
    assert list((tmp_path / "out").rglob("*.part")) == []


def test_two_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    going = retrieve(store, find_bundles(store, ""), tmp_path / "out", "flat")
    next(going)

    with pytest.raises(AggregatorError, match="another `feeds retrieve` is at work"):
        fetch(store, tmp_path / "out")
    going.close()
    assert fetch(store, tmp_path / "out")[0].files == 12


def test_a_retrieval_that_is_killed_again_and_again_ends_whole(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    for number in range(12):
        store_hour(store, f"feed{number}")
    url = f"file://{tmp_path}/store"
    command = [sys.executable, "-m", "aggregator", "-r", str(tmp_path), "feeds", "retrieve", "*", "--store", url]
    command += ["--to", str(tmp_path / "out")]
    for lines in (1, 4, 7, 10, 13):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
            assert process.stdout
            # the next ones are on their way then
            printed = [process.stdout.readline() for _ in range(lines)]
            process.kill()

    results = fetch(store, tmp_path / "out")

    assert printed[-1].startswith("12 bundles in")
    assert not any(result.is_new or result.problems for result in results)
    assert len(tree(tmp_path / "out")) == 12 * 12


def test_a_second_time_a_bucket_is_asked_for_its_list_only(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    store = open_store(**proxy.options(prefix))
    for feed in ("a", "b"):
        store_hour(store, feed)
    fetch(store, tmp_path / "out")
    proxy.seen.clear()

    assert [result.is_new for result in fetch(store, tmp_path / "out")] == [False, False]
    store.close()

    assert len(proxy.seen) == 1 and "list-type" in proxy.seen[0]
