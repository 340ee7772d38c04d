"""Where evidence comes from: the store, local bundles and open hours, united."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from aggregator.feeds.bundle.bundles import save_bundle
from aggregator.feeds.bundle.manifest import Manifest, encode_manifest
from aggregator.feeds.bundle.openperiods import PeriodFolder, Record
from aggregator.feeds.bundle.revisions import revision_path
from aggregator.feeds.bundle.tarstream import END, padding, tar_header
from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, measure
from aggregator.feeds.query.evidence import Evidence, gather
from aggregator.stores.store import Store
from tests.feeds.archives import START, TICK_MS, folder_store, manifest, published, store_bundle, store_hour, tick
from tests.feeds.covering import LATER, SPAN, cover, full, full_of


def test_publications_count_in_the_hour_of_their_own_time() -> None:
    early = tick(0, "ok", sha256="a" * 64, header_ms=START * 1000 - 1000)
    twice = [tick(n, "ok", sha256="b" * 64, header_ms=START * 1000 + 5000) for n in (1, 2)]
    manifests = manifest([early, *twice, *full(range(3, 60))])

    coverage = cover(manifests, span=Span(START - HOUR_S, START + HOUR_S))

    assert {hour.start: hour.publications for hour in coverage.hours} == {START - HOUR_S: 1, START: 1}


def test_an_archive_without_a_manifest_has_publications_and_nothing_is_known_of_its_ticks(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, published(), format_name="bz2")
    store_bundle(store, [], [manifest(full_of(1), start=START + HOUR_S)], start=START + HOUR_S)

    found = gathered(store, tmp_path, Span(START, START + 2 * HOUR_S))
    coverage = measure("nyct", found["nyct"], Span(START, START + 2 * HOUR_S), LATER, tick_ms=TICK_MS, strict=True)

    old, new = coverage.hours
    assert (old.expected, old.completeness, old.publications, old.gap) == (None, None, 11, None)
    assert (new.expected, coverage.completeness, coverage.gap) == (60, 1.0, None)


def gathered(
    store: Store, root: Path, span: Span = SPAN, wanted: Callable[[str], bool] = lambda feed: True
) -> dict[str, Evidence]:
    return dict(gather(store, "", FeedFolders(root / "feeds"), span, wanted))


def test_the_store_local_bundles_and_open_hours_are_united(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    folders = FeedFolders(tmp_path / "feeds")
    store_bundle(store, [], [manifest(full(range(20)))])
    local = revision_path(folders, BundleName("nyct", START), 2)
    save_bundle(local, [], [manifest(full(range(15, 40)))])
    records = [Record(node="node", period_ms=TICK_MS, tick=tick(n)) for n in range(35, 50)]
    missed = Record(
        node="node", period_ms=TICK_MS, missed_from_ms=tick(50).planned_ms, missed_to_ms=tick(59).planned_ms
    )
    PeriodFolder(folders.period("nyct", START)).append(3, [*records, missed])

    (evidence,) = gathered(store, tmp_path).values()
    (hour,) = measure("nyct", evidence, SPAN, LATER, tick_ms=TICK_MS, strict=True).hours

    assert (hour.outcomes["same"], hour.outcomes["missed"], hour.unrecorded) == (50, 10, 0)


def test_what_is_archived_while_feeds_are_read_is_found_where_it_went(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    folders = FeedFolders(tmp_path / "feeds")
    store_hour(store, "a")
    local = revision_path(folders, BundleName("b", START), 1)
    save_bundle(local, [], [manifest(full(range(20)), "b")])
    PeriodFolder(folders.period("c", START)).append(1, [Record(node="node", period_ms=TICK_MS, tick=tick(1))])
    going = gather(store, "", folders, SPAN, lambda feed: True)
    next(going)

    for feed in ("b", "c"):
        store_bundle(store, [], [manifest(full(range(20)), feed)], feed=feed)
    local.unlink()
    PeriodFolder(folders.period("c", START)).list_members(1, ["ticks.1.jsonl"])
    PeriodFolder(folders.period("c", START)).clear(1)

    assert {feed: len(evidence.manifests[0].ticks) for feed, evidence in going} == {"b": 20, "c": 20}


def test_only_the_feeds_and_the_time_asked_for_are_read(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store_hour(store, "other")
    store_bundle(store, [], [manifest(full_of(5), start=START + 5 * HOUR_S)], start=START + 5 * HOUR_S)

    found = gathered(store, tmp_path, wanted=lambda feed: feed == "nyct")

    assert {feed: len(evidence.manifests) for feed, evidence in found.items()} == {"nyct": 1}


def test_bundles_of_a_minute_make_hours(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    for minute in range(60):
        start = START + 60 * minute
        manifests = manifest([tick(minute)], start=start, period_s=60)
        store_bundle(store, [], [manifests], start=start)

    (hour,) = measure("nyct", gathered(store, tmp_path)["nyct"], SPAN, LATER, tick_ms=TICK_MS, strict=True).hours

    assert (hour.expected, hour.completeness) == (60, 1.0)


def test_a_bundle_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_hour(store)
    store.put(key, b"\x28\xb5\x2f\xfd nonsense")

    evidence = gathered(store, tmp_path)["nyct"]

    assert evidence.problems and evidence.problems[0].startswith(f"{key}: damaged")


@pytest.mark.parametrize("others", [[], [manifest(full())]], ids=["alone", "beside its own"])
@pytest.mark.parametrize("place", ["store", "here"])
def test_a_manifest_of_another_feed_is_a_problem_and_is_not_counted(
    tmp_path: Path, others: list[Manifest], place: str
) -> None:
    store = folder_store(tmp_path)
    store_hour(store, "other")
    data = tar_of_manifests(*others, manifest(full(), "xyct", "z"))
    if place == "store":
        store.put(BundleName("nyct", START).key(""), data)
    else:
        path = revision_path(FeedFolders(tmp_path / "feeds"), BundleName("nyct", START), 1)
        path.parent.mkdir(parents=True)
        path.write_bytes(data)

    found = gathered(store, tmp_path)

    assert found["nyct"].manifests == [] and "is of another bundle" in found["nyct"].problems[0]
    assert [*found] == ["nyct", "other"] and not found["other"].problems


def tar_of_manifests(*manifests: Manifest) -> bytes:
    """Return a bundle of manifests that need not be of one feed, as ours would have to."""
    manifests = [(one.file_name, encode_manifest(one)) for one in manifests]
    tar = b"".join(tar_header(name, len(data), START) + data + padding(len(data)) for name, data in manifests)
    return zstandard.compress(tar + END)
