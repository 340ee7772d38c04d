"""What was archived comes back byte for byte."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.stores import open_store
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.store import Info, ObjectReader
from tests.feeds.archives import (
    CAPTURES,
    START,
    folder_store,
    manifest,
    published,
    store_bundle,
    store_hour,
    tick,
    ticks_of,
)
from tests.feeds.bundles import MemoryBody
from tests.feeds.retrieving import STAMP, fetch, tree
from tests.stores.servers import S3Server


def bytes_of(bodies: Sequence[MemoryBody]) -> dict[str, bytes]:
    return {body.name: body.data for body in bodies}


def test_publications_and_manifests_come_into_a_folder_for_each_bundle(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)

    (result,) = fetch(store, tmp_path / "out")

    found = tree(tmp_path / "out")
    manifests = found.pop(f"nyct/{STAMP}/nyct-{STAMP}.manifest.node.jsonl")
    assert found == {f"nyct/{STAMP}/{name}": data for name, data in bytes_of(published()).items()}
    assert manifests.count(b"\n") == 12
    assert (result.files, result.is_new, result.problems) == (12, True, ())


def test_publications_carry_their_time(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)

    fetch(store, tmp_path / "out")

    (path,) = (tmp_path / "out").rglob("*130115Z.pb")
    assert path.stat().st_mtime == START + 75


def test_flat_puts_all_feeds_into_one_folder(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store_hour(store, "other")

    fetch(store, tmp_path / "out", "flat")

    found = {name for name in tree(tmp_path / "out") if "manifest" not in name}
    assert found == {*bytes_of(published()), *bytes_of(published("other"))}


def test_packed_keeps_the_bundle_as_it_is(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_hour(store)

    fetch(store, tmp_path / "out", "packed")

    assert tree(tmp_path / "out") == {key: store.get(key)[0]}


def test_several_objects_of_a_period_become_their_union(tmp_path: Path) -> None:
    """One of the old program, one of ours, and one whose key names its contents; two bodies have one timestamp."""
    store = folder_store(tmp_path)
    ours = published()[:6]
    rival = MemoryBody(ours[0].name, CAPTURES[7][1], ours[0].mtime)
    store_bundle(store, ours, [manifest(ticks_of(ours))])
    store_bundle(store, published()[5:9], format_name="bz2")
    store_bundle(store, [rival, *published()[9:]], mark=".0123456789abcdef")

    (result,) = fetch(store, tmp_path / "out", "flat")
    fetch(store, tmp_path / "packed", "packed")

    found = {name: data for name, data in tree(tmp_path / "out").items() if "manifest" not in name}
    assert sorted(found.values()) == sorted([*(data for _, data in CAPTURES), rival.data])
    assert result.files == 13
    (packed,) = tree(tmp_path / "packed").values()
    assert sorted(member.name for member in read_bundle(BytesIO(packed)).publications) == sorted(found)


def test_an_archive_of_the_old_program_is_read(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w:bz2") as tar:
        for at, data in CAPTURES:
            member = tarfile.TarInfo(f"./nyct-{at}.pb")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    store.put(f"2024-02-08/13/nyct-{STAMP}.tar.bz2", target.getvalue())

    (result,) = fetch(store, tmp_path / "out", "flat")

    assert tree(tmp_path / "out") == {f"nyct-{at}.pb": data for at, data in CAPTURES}
    assert result.problems == ()


def test_a_publication_that_a_manifest_knows_and_the_bundle_lacks_is_a_problem_and_the_rest_comes(
    tmp_path: Path,
) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, published()[1:], [manifest(ticks_of(published()))])

    (result,) = fetch(store, tmp_path / "out")
    (again,) = fetch(store, tmp_path / "out")

    assert result.problems == again.problems
    assert "no member has the hash" in result.problems[0]
    assert (result.files, again.is_new) == (11, False)


def test_a_damaged_bundle_leaves_nothing_and_the_others_come(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_hour(store)
    data = bytearray(store.get(key)[0])
    data[len(data) // 2] ^= 255
    store.put(key, bytes(data))
    store_hour(store, "other")

    bad, good = fetch(store, tmp_path / "out")

    assert (bad.archived.feed, bad.files) == ("nyct", 0)
    assert bad.problems
    assert good.files == 12
    assert {name.split("/")[0] for name in tree(tmp_path / "out")} == {"other"}


class Short(DirectoryStore):
    """A store that gives out less of an object than it says there is."""

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> ObjectReader:
        return ShortReader(super().open_read(key, start=start, tag=tag))


class ShortReader(ObjectReader):
    def __init__(self, whole: ObjectReader) -> None:
        self._whole = whole
        self._left = whole.info.size - 20

    @property
    def info(self) -> Info:
        return self._whole.info

    def read(self, size: int = -1) -> bytes:
        piece = self._whole.read(min(size, self._left)) or b""
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        self._whole.close()
        super().close()


def test_an_object_that_does_not_come_whole_is_a_problem(tmp_path: Path) -> None:
    key = store_hour(folder_store(tmp_path))

    (result,) = fetch(Short(tmp_path / "store"), tmp_path / "out", "packed")

    assert result.files == 0
    assert result.problems[0].startswith(f"{key}: ") and "are stored" in result.problems[0]


def test_many_bundles_come_from_s3_at_once(tmp_path: Path, moto: S3Server, prefix: str) -> None:
    store = open_store(**moto.options(prefix))
    for number in range(20):
        store_bundle(store, [], [manifest([tick(1)], f"feed{number}")], feed=f"feed{number}")
    store_hour(store)

    results = fetch(store, tmp_path / "out", "flat")
    again = fetch(store, tmp_path / "out", "flat")
    store.close()

    assert len(results) == 21 and all(result.is_new and not result.problems for result in results)
    assert not any(result.is_new for result in again)
    hashes = {hashlib.sha256(data).hexdigest() for data in tree(tmp_path / "out").values()}
    assert hashes >= {body.member.sha256 for body in published()}
