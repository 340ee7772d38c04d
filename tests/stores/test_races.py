"""Writers that race and are killed: no acknowledged write is lost, no half object is ever seen."""

from __future__ import annotations

import itertools
import json
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.processes import lines_of
from tests.servers import wait_until
from tests.stores.servers import SeaweedFS
from tests.stores.writing import writer

WRITERS = 8


def members(store: Store, key: str) -> list[str]:
    found: list[str] = json.loads(store.get(key)[0])
    return found


@pytest.mark.parametrize(("kind", "count"), [("directory", 40), ("seaweedfs", 12)])
def test_no_update_is_lost_when_eight_processes_change_one_object(
    store: Store, options: dict[str, Any], count: int
) -> None:
    with ExitStack() as stack:
        racing = [
            stack.enter_context(writer("collect", options, "set", f"writer{number}", count))
            for number in range(WRITERS)
        ]
        assert [process.wait(150) for process in racing] == [0] * WRITERS

    assert sorted(members(store, "set")) == sorted(f"writer{w}-{n}" for w in range(WRITERS) for n in range(count))


@pytest.mark.parametrize("kind", ["directory", "seaweedfs"])
def test_no_acknowledged_update_is_lost_when_writers_are_killed(store: Store, options: dict[str, Any]) -> None:
    acknowledged = []
    with writer("collect", options, "set", "survivor", 100_000) as survivor:
        for number in range(5):
            with writer("collect", options, "set", f"victim{number}", 100_000) as victim:
                for _ in range(random.randint(1, 6)):
                    acknowledged.append(lines_of(victim).readline().strip())
                victim.kill()
                acknowledged += [line.strip() for line in lines_of(victim)]
            acknowledged += [lines_of(survivor).readline().strip() for _ in range(2)]
        survivor.kill()
        acknowledged += [line.strip() for line in lines_of(survivor)]

    stored = members(store, "set")

    assert len(acknowledged) > 10
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


@pytest.mark.parametrize("kind", ["directory", "seaweedfs"])
def test_no_half_object_is_seen_when_writers_are_killed(store: Store, options: dict[str, Any]) -> None:
    size = 9_000_000
    seen = set()
    for _ in range(4):
        with writer("replace", options | {"multipart": 5_000_000}, "large", size) as process:
            for _ in range(random.randint(1, 3)):
                lines_of(process).readline()
            body = store.get("large")[0]
            process.kill()
        for whole in (body, store.get("large")[0]):
            assert len(whole) == size
            assert whole == whole[:1] * size
            seen.add(whole[:1])

    assert [info.key for info in store.list()] == ["large"]
    assert [info.size for info in store.list()] == [size]


def test_what_killed_writers_of_a_folder_left_is_removed(tmp_path: Path) -> None:
    options = {"url": f"file://{tmp_path / 'store'}"}
    store = open_store(**options)
    incoming = tmp_path / "store" / ".store" / "incoming"

    for _ in itertools.takewhile(lambda _: not incoming.is_dir() or not any(incoming.iterdir()), range(50)):
        with writer("replace", options, "large", 30_000_000) as process:
            lines_of(process).readline()
            wait_until(lambda: any(incoming.iterdir()), 60, "the writer is in the middle of an object")
            process.kill()
    assert any(incoming.iterdir())

    store.clean()

    assert not any(incoming.iterdir())
    assert [info.key for info in store.list()] == ["large"]


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    acknowledged = []
    with SeaweedFS(tmp_path / "own") as server:
        options = server.options("kills")
        with writer("collect", options, "set", "writer", 100_000) as process:
            for _ in range(3):
                acknowledged += [lines_of(process).readline().strip() for _ in range(20)]
                server.kill()
                server.start()
            acknowledged += [lines_of(process).readline().strip() for _ in range(20)]
            process.kill()
        stored = members(open_store(**options), "set")

    assert acknowledged == [f"writer-{number}" for number in range(80)]
    assert stored[:80] == acknowledged
    assert len(stored) == len(set(stored))
