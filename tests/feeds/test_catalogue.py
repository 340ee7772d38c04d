"""What is in a store is found, whatever its key looks like, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.errors import Unavailable
from aggregator.feeds.bundle.compression import BadBundle
from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.query.catalogue import (
    Span,
    find_bundles,
    manifests_beside,
    read_current,
    read_key,
    read_manifests,
)
from aggregator.stores import open_store
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.store import Info, NotFound, ObjectReader
from tests.feeds.archives import START, folder_store, manifest, published, store_bundle, store_hour, tick
from tests.stores.servers import S3Server


@pytest.mark.parametrize(
    ("key", "prefix", "name"),
    [
        ("2026-11-22/05/mta-2026-11-22T050000Z.tar.zst", "", BundleName("mta", 1795323600, "zst")),
        ("a/b/2026-11-22/05/mta-2026-11-22T050000Z.tar.bz2", "a/b", BundleName("mta", 1795323600, "bz2")),
        ("2026-11-22/05/mta-2026-11-22T050000Z.0123456789abcdef.tar.zst", "", BundleName("mta", 1795323600, "zst")),
        ("2026-11-22/05/mta-2026-11-22T050000Z.r12.tar.zst", "", BundleName("mta", 1795323600, "zst")),
    ],
)
def test_a_key_names_its_bundle(key: str, prefix: str, name: BundleName) -> None:
    assert read_key(key) == (prefix, name)


@pytest.mark.parametrize(
    "key",
    [
        "2026-11-22/05/mta-2026-11-22T050000Z.tar",
        "2026-11-22/06/mta-2026-11-22T050000Z.tar.zst",
        "2026-11-22/05/-mta-2026-11-22T050000Z.tar.zst",
        "2026-11-22/05/mta-2026-11-22T050000Z.hash.tar.zst",
        "readme.txt",
    ],
)
def test_other_keys_name_none(key: str) -> None:
    with pytest.raises(ValueError, match=r"^$|no bundle"):
        read_key(key)


def test_bundles_come_by_feed_and_time_and_other_objects_are_passed_over(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    for feed, start in (("b", START), ("a", START + 3600), ("a", START)):
        store_bundle(store, [], [manifest([], feed, start=start)], feed=feed, start=start)
    store.put("2024-02-08/13/notes.txt", b"not a bundle")

    found = find_bundles(store, "")

    assert [(bundle.feed, bundle.start) for bundle in found] == [("a", START), ("a", START + 3600), ("b", START)]


def test_only_the_prefix_asked_for_is_looked_at(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store, prefix="mine")
    store_hour(store, prefix="mine/other")

    assert [bundle.objects[0].key[:12] for bundle in find_bundles(store, "mine")] == ["mine/2024-02"]
    assert find_bundles(store, "") == []


def test_several_objects_of_one_period_are_one_bundle(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    keys = [
        store_bundle(store, published()[:3], format_name="bz2"),
        store_bundle(store, published()[3:], [manifest([tick(1)])]),
        store_bundle(store, published()[5:], mark=".0123456789abcdef"),
    ]

    (bundle,) = find_bundles(store, "")

    assert sorted(info.key for info in bundle.objects) == sorted(keys)
    assert bundle.size_bytes == sum(info.size for info in store.list())


def test_a_span_takes_what_begins_in_it(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    for hour in range(-2, 14):
        store_bundle(store, [], [manifest([], start=START + hour * 3600)], start=START + hour * 3600)

    found = find_bundles(store, "", Span(START, START + 12 * 3600))

    # over midnight
    assert [(bundle.start - START) // 3600 for bundle in found] == list(range(12))


def test_a_span_takes_a_bundle_that_began_before_and_reaches_into_it(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    midnight = START // 86400 * 86400
    store_bundle(store, [], [manifest([], "day", start=midnight, period_s=86400)], feed="day", start=midnight)
    store_bundle(store, [], [manifest([], "hour")], feed="hour")

    found = find_bundles(store, "", Span(START + 3600, START + 7200))

    assert [bundle.feed for bundle in found] == ["day"]


def test_a_span_takes_bundles_of_all_lengths_that_reach_into_it(tmp_path: Path) -> None:
    """One machine makes bundles of an hour, another of ten minutes."""
    store = folder_store(tmp_path)
    for minute in range(0, 60, 10):
        start, period_s = START + 60 * minute, 600 if minute else 3600
        store_bundle(store, [], [manifest([], start=start, period_s=period_s)], start=start)

    for minute, found in ((29, [0, 20, 30]), (30, [0, 30]), (55, [0, 50])):
        bundles = find_bundles(store, "", Span(START + minute * 60, START + 2400 + (minute > 40) * 1200))
        assert [(bundle.start - START) // 60 for bundle in bundles if bundle.start != START + 2400] == found


@pytest.mark.parametrize("rest", [0, 50])
def test_a_damaged_bundle_before_a_span_ends_nothing_and_is_kept_if_it_may_reach_into_it(
    tmp_path: Path, rest: int
) -> None:
    store = folder_store(tmp_path)
    store_hour(store, "other")
    key = store_hour(store)
    store.put(key, store.get(key)[0][:rest])

    def found(start: int) -> list[str]:
        return [bundle.feed for bundle in find_bundles(store, "", Span(start, START + 7200))]

    assert found(START + 60) == ["nyct", "other"]
    store_bundle(store, [], [manifest([], start=START + 1800, period_s=1800)], start=START + 1800)
    assert found(START + 2400) == ["nyct", "other"]


class Away(DirectoryStore):
    """A store that goes away after it was listed."""

    def open_read(self, key: str, *, start: int = 0, tag: str | None = None) -> ObjectReader:
        raise Unavailable(f"{key}: away")


def test_a_store_that_goes_away_is_not_taken_for_one_of_damaged_bundles(tmp_path: Path) -> None:
    store = Away(tmp_path / "store")
    store_hour(store)
    (bundle,) = find_bundles(store, "")

    with pytest.raises(Unavailable):
        find_bundles(store, "", Span(START + 60, START + 3600))
    with pytest.raises(Unavailable):
        manifests_beside(store, bundle, START)


def test_a_bundle_before_a_span_that_is_archived_after_the_listing_is_kept(tmp_path: Path) -> None:
    store = Vanishing(tmp_path / "store")
    store_hour(store)

    (bundle,) = find_bundles(store, "", Span(START + 60, START + 3600))

    assert bundle.start == START


class Vanishing(DirectoryStore):
    """A store of which every object goes right after it was listed."""

    def list(self, prefix: str = "") -> Iterator[Info]:
        listed = [*super().list(prefix)]
        for info in listed:
            self.delete(info.key)
        yield from listed


def test_a_span_of_years_is_one_listing(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)

    assert len(find_bundles(store, "", Span(0, START + 86400))) == 1
    assert find_bundles(store, "", Span(0, START)) == []


def test_manifests_are_read_from_all_objects_of_a_period(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, published()[:1], [manifest([tick(1)], node="b")])
    store_bundle(
        store, published()[1:], [manifest([tick(2)], node="b"), manifest([tick(3)], node="a")], mark=".01234567"
    )
    store_bundle(store, published(), format_name="bz2")
    (bundle,) = find_bundles(store, "")

    read = read_manifests(store, bundle)

    assert [(one.header.node, len(one.ticks)) for one in read] == [("a", 1), ("b", 2)]


def test_a_damaged_object_is_said(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_hour(store)
    store.put(key, store.get(key)[0][:50])
    (bundle,) = find_bundles(store, "")

    with pytest.raises(BadBundle):
        read_manifests(store, bundle)


def test_a_period_that_was_united_after_the_listing_is_read_as_it_is_now(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    old = store_bundle(store, [], [manifest([tick(1)])], mark=".01234567")
    (bundle,) = find_bundles(store, "")
    store_bundle(store, [], [manifest([tick(1), tick(2)])])
    store.delete(old)

    (read,) = read_current(store, bundle, lambda current: read_manifests(store, current))

    assert len(read.ticks) == 2


def test_a_period_that_has_gone_is_not_found(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_hour(store)
    (bundle,) = find_bundles(store, "")
    store.delete(key)

    with pytest.raises(NotFound):
        read_current(store, bundle, lambda current: read_manifests(store, current))


def test_an_s3_bucket_is_looked_through_alike(moto: S3Server, prefix: str) -> None:
    store = open_store(**moto.options(prefix))
    store_hour(store, prefix="p")

    (bundle,) = find_bundles(store, "p", Span(START, START + 60))
    (read,) = read_manifests(store, bundle)
    store.close()

    assert (bundle.feed, len(read.ticks)) == ("nyct", 11)
