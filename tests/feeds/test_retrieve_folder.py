"""Files come only into the folder that was asked for, and over nothing that lies there."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from aggregator.errors import AggregatorError
from aggregator.feeds.query.retrieveone import Layout
from tests.feeds.archives import folder_store, published, store_hour
from tests.feeds.retrieving import STAMP, fetch, foreign_tar, tree


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


def test_a_folder_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    (tmp_path / "out").write_bytes(b"a file")

    with pytest.raises(OSError, match="Not a directory"):
        fetch(store, tmp_path / "out")
