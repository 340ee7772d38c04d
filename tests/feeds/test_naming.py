"""File names and keys say what they hold, and are read back as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.feeds.naming.bundles import (
    FORMATS,
    BundleName,
    is_manifest_name,
    manifest_name,
    parse_key,
)
from aggregator.feeds.naming.feednames import parse_extension, parse_feed_name
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication, parse_publication
from aggregator.feeds.naming.stamps import bundle_start, parse_bundle_period, read_stamp, write_stamp
from aggregator.feeds.reading.dates import YEAR_10000


def is_feed_name(text: str) -> bool:
    try:
        return parse_feed_name(text) == text
    except ValueError:
        return False


FEEDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=30).filter(is_feed_name)
TRICKY = st.sampled_from(["a", "L", "x-2024-01-01T000000Z.pb", "a.manifest.b", "Zürich S-Bahn", "a-0123abcd", "a.tar"])
TIMES = st.integers(0, YEAR_10000 - 1)
HASHES = st.sampled_from(["", "0123abcd", "0" * 64])
EXTENSIONS = st.sampled_from(["pb", "json", "pb.gz", "x_1"])


@given(feed=FEEDS | TRICKY, at=TIMES, extension=EXTENSIONS, variant=HASHES)
def test_a_publication_is_read_back_from_its_file_name(feed: str, at: int, extension: str, variant: str) -> None:
    publication = Publication(feed, at, extension, variant)
    assert parse_publication(publication.file_name) == publication


@given(feed=FEEDS | TRICKY, at=TIMES, format_name=st.sampled_from(FORMATS), prefix=st.sampled_from(["", "a", "a/b c"]))
def test_a_bundle_is_read_back_from_its_key(feed: str, at: int, format_name: str, prefix: str) -> None:
    name = BundleName(feed, at, format_name)
    assert parse_key(name.key(prefix)) == (prefix, name)


def test_names_and_keys_are_as_documented() -> None:
    publication = Publication("nyct", 1707397155, "pb")
    assert publication.file_name == "nyct-2024-02-08T125915Z.pb"
    assert publication._replace(variant="828b4386").file_name == "nyct-2024-02-08T125915Z-828b4386.pb"
    assert BundleName("nyct", 1707397200).key("archive") == "archive/2024-02-08/13/nyct-2024-02-08T130000Z.tar.zst"
    assert manifest_name("nyct", 1707397200, "host-1") == "nyct-2024-02-08T130000Z.manifest.host-1.jsonl"


@pytest.mark.parametrize(
    "name",
    [
        *("nyct.pb", "nyct-2024-02-08T125915Z", "-2024-02-08T125915Z.pb", "nyct-2024-02-30T125915Z.pb"),
        *("nyct-2024-02-08T125915Z-828b438.pb", "nyct-2024-02-08T130000Z.manifest.host.jsonl"),
    ],
)
def test_other_names_are_no_publications(name: str) -> None:
    with pytest.raises(ValueError):
        parse_publication(name)


@pytest.mark.parametrize(
    "key",
    [
        *("nyct-2024-02-08T130000Z.tar.zst", "2024-02-08/14/nyct-2024-02-08T130000Z.tar.zst"),
        *("2024-02-09/13/nyct-2024-02-08T130000Z.tar.zst", "2024-02-08/13/nyct-2024-02-08T130000Z.tar.lz4"),
    ],
)
def test_other_keys_are_no_bundles(key: str) -> None:
    with pytest.raises(ValueError):
        parse_key(key)


@pytest.mark.parametrize("name", ["1", "nyct-ace", "MTA (bus)", "Zürich", "a+b@c=d,e", "x" * 120])
def test_a_feed_may_have_any_name_that_files_can_bear(name: str) -> None:
    assert parse_feed_name(f" {name} ") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../a", "a\\b", "-rf", ".hidden", "a\nb", "a\0b", "a:b", "a*", "x" * 121, "a\u202eb", "a."],
)
def test_a_feed_name_that_files_cannot_bear_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse_feed_name(name)


def test_a_feed_name_that_reads_like_a_manifest_is_refused() -> None:
    with pytest.raises(ValueError):
        parse_feed_name(manifest_name("a", 0, "node").removesuffix(".jsonl"))


def test_two_spellings_of_one_letter_are_one_name() -> None:
    assert parse_feed_name("Zu\u0308rich") == parse_feed_name("Z\u00fcrich")


def test_an_extension_has_no_path_and_is_not_a_manifests() -> None:
    assert parse_extension(".pb") == parse_extension("pb") == "pb"
    for bad in ("", ".", "a/b", "manifest.x", "a-b", "a..b"):
        with pytest.raises(ValueError):
            parse_extension(bad)


@pytest.mark.parametrize(("text", "seconds"), [("1m", 60), ("10m", 600), ("1h", 3600), ("24h", 86400), ("90s", 90)])
def test_a_bundle_period_divides_a_day(text: str, seconds: int) -> None:
    assert parse_bundle_period(text) == seconds


@pytest.mark.parametrize("text", ["59s", "7m", "5h", "2d", "61s", "0", "100.5s"])
def test_any_other_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_bundle_period(text)


def test_periods_begin_at_full_utc_hours_also_when_a_day_has_23_of_them_elsewhere() -> None:
    change = read_stamp("2026-03-29T010000Z")  # Central Europe leaves out the hour from 02:00 on
    starts = {write_stamp(bundle_start(change + minute * 60 + 0.9, 3600)) for minute in range(-1, 61)}
    assert starts == {"2026-03-29T000000Z", "2026-03-29T010000Z", "2026-03-29T020000Z"}


def test_a_day_begins_a_new_folder() -> None:
    before, after = (BundleName("a", bundle_start(read_stamp("2026-11-01T000000Z") + s, 600)) for s in (-1, 0))
    assert (before.path, after.path) == (
        "2026-10-31/23/a-2026-10-31T235000Z.tar.zst",
        "2026-11-01/00/a-2026-11-01T000000Z.tar.zst",
    )


@pytest.fixture
def folders(tmp_path: Path) -> FeedFolders:
    return FeedFolders(tmp_path)


def test_the_files_of_an_instance_lie_below_its_folder(folders: FeedFolders, tmp_path: Path) -> None:
    publication = Publication("nyct", 1707397155, "pb")
    paths = [
        folders.download("nyct", 1707397155250, "pb"),
        folders.reject("nyct", 1707397155000, "pb"),
        folders.publication(publication, 3600),
        folders.bundle(BundleName("nyct", 1707393600)),
    ]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "downloads/nyct/nyct-2024-02-08T125915.250Z.pb",
        "rejected/nyct/nyct-2024-02-08T125915.000Z.pb",
        "publications/nyct/2024-02-08T120000Z/nyct-2024-02-08T125915Z.pb",
        "bundles/2024-02-08/12/nyct-2024-02-08T120000Z.tar.zst",
    ]


def test_manifest_names_are_told_from_all_others() -> None:
    assert is_manifest_name(manifest_name("a", 0, "node.example.org"))
    assert not is_manifest_name(Publication("a", 0, "pb").file_name)
