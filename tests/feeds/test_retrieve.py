"""What was archived comes back byte for byte, once, and only into the folder it was asked into."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from aggregator.errors import AggregatorError
from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.feeds.query.catalogue import find_bundles
from aggregator.feeds.query.retrieve import Layout, Retrieved, retrieve
from aggregator.stores import open_store
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.store import Info, ObjectReader, Store
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
from tests.stores.servers import Proxy, S3Server

PROJECT = Path(__file__).parents[2]
STAMP = "2024-02-08T130000Z"


def fetch(store: Store, folder: Path, layout: Layout = "folders") -> list[Retrieved]:
    """Retrieve everything a store has."""
    return sorted(retrieve(store, find_bundles(store, ""), folder, layout))


def tree(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, our own notes left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".retrieved" not in path.parts
    }


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


def evil_tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member, BytesIO(b""))
    return target.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        evil_tar("../escaped.pb"),
        evil_tar("/tmp/escaped.pb"),
        evil_tar("link.pb", tarfile.SYMTYPE),
        evil_tar("link.pb", tarfile.LNKTYPE),
    ],
)
def test_a_hostile_bundle_writes_nothing_anywhere(tmp_path: Path, data: bytes) -> None:
    store = folder_store(tmp_path)
    store.put(f"2024-02-08/13/nyct-{STAMP}.tar.gz", data)

    (result,) = fetch(store, tmp_path / "a" / "out", "flat")

    assert result.files == 0 and len(result.problems) == 1
    assert tree(tmp_path / "a") == {}


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "nyct").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".retrieved").symlink_to(tmp_path / "elsewhere")

    (result,) = fetch(store, tmp_path / "out")
    with pytest.raises(AggregatorError, match="leads out of"):
        fetch(store, tmp_path / "other")

    assert "leads out of" in result.problems[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / published()[0].name).symlink_to(victim)

    fetch(store, tmp_path / "out", "flat")

    assert victim.read_bytes() == b"precious"
    assert tree(tmp_path / "out")[published()[0].name] == published()[0].data


def foreign_tar(*members: tuple[str, bytes]) -> bytes:
    """Return an archive of another program's."""
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), START
            tar.addfile(member, BytesIO(data))
    return target.getvalue()


@pytest.mark.parametrize("layout", ["folders", "flat"])
@pytest.mark.parametrize("second", [b"one", b"two"])
def test_a_name_that_stands_twice_in_an_archive_of_another_program_is_two_files_or_one(
    tmp_path: Path, layout: Layout, second: bytes
) -> None:
    store = folder_store(tmp_path)
    store.put(f"2024-02-08/13/nyct-{STAMP}.tar.gz", foreign_tar(("a/x.pb", b"one"), ("b/x.pb", second)))

    (result,) = fetch(store, tmp_path / "out", layout)
    (again,) = fetch(store, tmp_path / "out", layout)

    assert sorted(tree(tmp_path / "out").values()) == sorted({b"one", second})
    assert (result.problems, result.is_new, again.is_new) == ((), True, False)


def test_a_name_of_255_bytes_is_a_file(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    name = "\N{EURO SIGN}" * 84 + ".pb"
    store.put(f"2024-02-08/13/nyct-{STAMP}.tar.gz", foreign_tar((name, b"one")))

    fetch(store, tmp_path / "out", "flat")

    assert tree(tmp_path / "out") == {name: b"one"}


def test_a_folder_in_the_way_of_one_bundle_is_its_problem_and_the_others_come(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store.put(f"2024-02-08/13/bad-{STAMP}.tar.gz", foreign_tar(("there", b"one")))
    store_hour(store)
    (tmp_path / "out" / "there").mkdir(parents=True)

    bad, good = fetch(store, tmp_path / "out", "flat")

    assert bad.files == 0 and "something else of that name" in bad.problems[0]
    assert (good.files, good.problems) == (12, ())


def test_a_file_where_a_folder_should_be_is_the_problem_of_that_bundle(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store_hour(store, "other")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "nyct").write_bytes(b"a file")

    bad, good = fetch(store, tmp_path / "out")

    assert (bad.files, good.files) == (0, 12)
    assert bad.problems[0].startswith(str(tmp_path / "out" / "nyct"))


def test_flat_never_writes_over_what_another_bundle_brought(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    for hour in (13, 14):
        data = foreign_tar(("latest.pb", b"%d" % hour), (f"{hour}.pb", b"own"), ("same.pb", b"same"))
        store.put(f"2024-02-08/{hour}/nyct-2024-02-08T{hour}0000Z.tar.gz", data)

    results = fetch(store, tmp_path / "out", "flat")
    before = tree(tmp_path / "out")
    again = fetch(store, tmp_path / "out", "flat")

    assert sorted(before) == ["13.pb", "14.pb", "latest.pb", "same.pb"]
    (said,) = [problem for result in results for problem in result.problems]
    assert said.startswith("latest.pb: something else of that name")
    assert tree(tmp_path / "out") == before
    assert [result.problems for result in again] == [result.problems for result in results]
    assert not any(result.is_new for result in again)


def test_a_record_that_leads_out_of_the_folder_removes_nothing(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    victims = [tmp_path / "victim", tmp_path / "elsewhere" / "victim"]
    victims[1].parent.mkdir()
    for victim in victims:
        victim.write_bytes(b"precious")
    records = tmp_path / "out" / ".retrieved" / "flat"
    records.mkdir(parents=True)
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")

    for path in ("../victim", str(victims[0]), "link/victim"):
        files = [{"path": path, "size_bytes": 1, "sha256": ""}]
        record = {"objects": {}, "files": files, "problems": []}
        (records / f"nyct-{STAMP}.json").write_text(json.dumps(record))
        (result,) = fetch(store, tmp_path / "out", "flat")
        assert (result.files, result.problems) == (12, ())

    assert [victim.read_bytes() for victim in victims] == [b"precious"] * 2


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    (tmp_path / "out" / ".retrieved").mkdir(parents=True)
    (tmp_path / "out" / ".retrieved" / "lock").symlink_to(tmp_path / "made")

    with pytest.raises(AggregatorError, match="is a link"):
        fetch(store, tmp_path / "out")

    assert not (tmp_path / "made").exists()


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


def test_a_folder_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    (tmp_path / "out").write_bytes(b"a file")

    with pytest.raises(OSError, match="Not a directory"):
        fetch(store, tmp_path / "out")


def test_a_second_time_a_bucket_is_asked_for_its_list_only(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    store = open_store(**proxy.options(prefix))
    for feed in ("a", "b"):
        store_hour(store, feed)
    fetch(store, tmp_path / "out")
    proxy.seen.clear()

    assert [result.is_new for result in fetch(store, tmp_path / "out")] == [False, False]
    store.close()

    assert len(proxy.seen) == 1 and "list-type" in proxy.seen[0]


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
