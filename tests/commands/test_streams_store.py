"""`streams export` and `streams gaps` on a store into which `archive` has put the files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from aggregator.stores import open_store
from tests.commands.conftest import Site
from tests.feeds.bundles import subway_bodies
from tests.feeds.test_archive import local_bundle
from tests.streams.recorded import NOON, TWEETS
from tests.streams.test_archive_files import Fed

SECTIONS = """
[worker_record]
stage = record
listento = events
pushto = recorded@node

[worker_archive_streams]
stage = archive
listento = recorded@node
store = kept
prefix = captured
keep = 0

[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node

[worker_archive]
stage = archive
listento = bundled@node
store = kept
prefix = feeds

[store_kept]
url = file://%(here)s/kept

[store_other]
url = file://%(here)s/other
"""


@pytest.fixture
def moved(site: Site) -> Site:
    """An instance with two files of one stream and a gap, all of them in a store by now."""
    site.configure(SECTIONS)
    fed = Fed(site.root, {"url": f"file://{site.root}/kept"})
    fed.recording.gap("tweets", NOON + 1000, NOON + 11_000, lost=5)
    for hour in range(2):
        fed.push(fed.file(*TWEETS[3 * hour : 3 * hour + 3], stream="tweets", at_ms=NOON + 3_600_000 * hour))
    fed.stage.run()
    fed.later()
    assert fed.left() == ["tweets/tweets.gaps.jsonl"]
    return site


def export(site: Site, *words: str) -> tuple[int, str, bytes]:
    to = site.root / "out.jsonl"
    ran = site.run("streams", "export", "tweets", "--format", "jsonl", "--to", str(to), "--overwrite", *words)
    return ran.code, ran.out + ran.err, to.read_bytes() if to.exists() else b""


@pytest.mark.parametrize("words", [("--store", "kept"), ("-p", "captured"), ("--store", "kept", "-p", "captured")])
def test_an_export_from_the_store_has_the_same_bytes_and_the_gaps(moved: Site, words: tuple[str, ...]) -> None:
    code, said, lines = export(moved, *words)

    assert code == 0 and lines == b"\n".join(TWEETS[:6]) + b"\n"
    assert "gaps in this time: 1" in said
    assert "disconnect" in Path(moved.root / "out.jsonl.README.md").read_text()


def test_an_export_from_the_folder_says_that_files_are_in_a_store(moved: Site) -> None:
    code, said, lines = export(moved)
    assert code != 0 and not lines and "give --store NAME" in said

    Fed(moved.root, {"url": f"file://{moved.root}/kept"}).file(TWEETS[0], stream="tweets", at_ms=NOON + 7_200_000)
    code, said, lines = export(moved)
    assert code == 0 and lines == TWEETS[0] + b"\n" and "export them with --store NAME" in said
    assert "export them with --store NAME" in (moved.root / "out.jsonl.README.md").read_text()
    code, said, lines = export(moved, "--start", "2023-11-17")
    assert "export them" not in said


def test_gaps_are_the_same_from_the_folder_and_from_the_store(moved: Site) -> None:
    [here] = moved.run("streams", "gaps", "--json").json()["streams"]
    [there] = moved.run("streams", "gaps", "tweets", "--store", "kept", "--json").json()["streams"]

    assert there["gaps"] == here["gaps"] and len(there["gaps"]) == 1 and there["lost"] == 5
    assert there["from_ms"] == here["from_ms"] == NOON
    assert there["completeness"] == pytest.approx(1 - 10 / 3600, abs=1e-4)


def test_a_line_in_the_store_that_is_no_gap_is_counted(moved: Site) -> None:
    store = open_store(f"file://{moved.root}/kept")
    key = "captured/tweets/tweets.gaps.jsonl"
    store.put(key, store.get(key)[0] + b"{\n")

    [stream] = moved.run("streams", "gaps", "--store", "kept", "--json").json()["streams"]
    assert (len(stream["gaps"]), stream["unreadable_lines"]) == (1, 1)
    code, said, _ = export(moved, "--store", "kept")
    assert code == 1 and "1 lines cannot be read" in said


def test_commands_on_feeds_look_where_bundles_are(moved: Site) -> None:
    ran = moved.run("feeds", "verify")
    assert "the store holds no bundle" in ran.out + ran.err
    ran = moved.run("streams", "gaps", "sweets", "--store", "kept")
    assert ran.code != 0 and "tweets" in ran.out + ran.err


def test_a_section_of_streams_leaves_bundles_to_the_section_of_feeds(moved: Site) -> None:
    bundle = moved.root / "data/feeds/bundles/2024-02-08/12/f-2024-02-08T120000Z.tar.zst"
    bundle.parent.mkdir(parents=True)
    bundle.with_name(f"{bundle.name}.stored").write_bytes(b"is to stay for the other section's `keep`")
    local_bundle(moved.root, subway_bodies())
    fed = Fed(moved.root, {"url": f"file://{moved.root}/kept"})
    fed.stage.context.config_parser = moved.config().parser
    fed.stage.options["listento"] = "recorded@node"
    fed.stage.stage.settings = msgspec.structs.replace(fed.stage.stage.settings, listento="recorded@node")
    fed.stage.stage.start()

    assert fed.later(90_000) == 0 and bundle.with_name(f"{bundle.name}.stored").exists()


def test_archive_in_the_foreground_is_the_section_of_feeds(moved: Site) -> None:
    ran = moved.run("archive")
    assert (ran.code, ran.err) == (0, "") and "archive: done" in ran.out
