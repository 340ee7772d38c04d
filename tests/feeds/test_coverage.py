"""Coverage accounts for every planned tick, and says why there are gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import zstandard

from aggregator.feeds.bundle.bundles import save_bundle
from aggregator.feeds.bundle.manifest import Manifest, Outcome, Tick, encode_manifest
from aggregator.feeds.bundle.openperiods import PeriodFolder, Record
from aggregator.feeds.bundle.revisions import revision_path
from aggregator.feeds.bundle.tarstream import END, padding, tar_header
from aggregator.feeds.naming.layout import BundleName, FeedFolders
from aggregator.feeds.query.catalogue import Span
from aggregator.feeds.query.coverage import HOUR_S, Coverage, Gap, Hour, measure
from aggregator.feeds.query.evidence import Evidence, gather
from aggregator.feeds.query.heatmap import describe, percent, render
from aggregator.stores.store import Store
from tests.feeds.archives import (
    START,
    TICK_MS,
    folder_store,
    manifest,
    published,
    store_bundle,
    store_hour,
    tick,
    ticks_of,
)

SPAN = Span(START, START + HOUR_S)
LATER = START + 86_400.0


def cover(
    *manifests: Manifest, span: Span = SPAN, now: float = LATER, tick_ms: int = TICK_MS, strict: bool = True
) -> Coverage:
    """Measure what manifests say of a feed that is configured with a tick a minute."""
    return measure("nyct", Evidence(list(manifests), {}, []), span, now, tick_ms=tick_ms, strict=strict)


def full(numbers: Iterable[int] = range(60)) -> list[Tick]:
    return [tick(number) for number in numbers]


def balanced(hour: Hour) -> bool:
    return hour.expected == sum(hour.outcomes.values()) + hour.unrecorded


# --- counting ---


def test_an_hour_of_which_all_is_known_is_complete() -> None:
    (hour,) = cover(manifest(full())).hours

    assert (hour.expected, hour.unrecorded, hour.completeness, hour.gap) == (60, 0, 1.0, None)


def test_every_outcome_is_counted_and_three_of_them_cover() -> None:
    outcomes = ["ok", "same", "not_modified", "invalid", "failed", "late", "missed"]

    (hour,) = cover(manifest([tick(n, outcomes[n % 7]) for n in range(42)])).hours  # type: ignore[arg-type]

    assert set(hour.outcomes.values()) == {6}
    assert (hour.expected, hour.unrecorded) == (60, 18)
    assert hour.completeness == 18 / 60
    assert balanced(hour)


@pytest.mark.parametrize("kept", [range(10, 60), range(50), [*range(20), *range(30, 60)], [5], [0, 59]])
def test_ticks_without_a_record_are_expected_all_the_same(kept: Iterable[int]) -> None:
    (hour,) = cover(manifest(full(kept))).hours

    assert (hour.expected, hour.unrecorded) == (60, 60 - len([*kept]))
    assert balanced(hour)


def test_a_period_that_does_not_divide_the_hour_is_counted_exactly() -> None:
    ticks = [Tick(planned_ms=START * 1000 - 5000 + 14_000 * n, outcome="same") for n in range(600)]
    by_hour = [[t for t in ticks if at * 1000 <= t.planned_ms < (at + HOUR_S) * 1000] for at in (START, START + HOUR_S)]
    manifests = [manifest(some, start=START + HOUR_S * n, tick_ms=14_000) for n, some in enumerate(by_hour)]

    whole = cover(*manifests, span=Span(START, START + 2 * HOUR_S), tick_ms=14_000)
    sparse = [manifest(some[3::9], start=START + HOUR_S * n, tick_ms=14_000) for n, some in enumerate(by_hour)]
    holes = cover(*sparse, span=Span(START, START + 2 * HOUR_S), tick_ms=14_000)

    assert [hour.expected for hour in whole.hours] == [len(some) for some in by_hour] == [257, 257]
    assert [hour.expected for hour in holes.hours] == [257, 257]


def test_a_missing_hour_is_not_running() -> None:
    coverage = cover(
        manifest(full()), manifest(full_of(2), start=START + 2 * HOUR_S), span=Span(START, START + 3 * HOUR_S)
    )

    assert [hour.unrecorded for hour in coverage.hours] == [0, 60, 0]
    gap = coverage.hours[1].gap
    assert gap and (gap.seconds, gap.cause) == (3600, "not running")
    assert coverage.completeness == 2 / 3


def full_of(hour: int) -> list[Tick]:
    return [tick(number, start=START + hour * HOUR_S) for number in range(60)]


def test_a_configured_feed_of_which_nothing_is_known_is_not_running() -> None:
    coverage = cover()

    (hour,) = coverage.hours
    assert (hour.expected, hour.unrecorded, coverage.completeness) == (60, 60, 0.0)


def test_a_feed_that_is_no_longer_configured_is_not_expected_after_its_last_tick() -> None:
    coverage = cover(manifest(full(range(30))), span=Span(START, START + 5 * HOUR_S), tick_ms=0)

    assert [(hour.start, hour.expected) for hour in coverage.hours] == [(START, 30)]


def test_a_feed_that_is_not_configured_is_expected_to_the_end_when_that_was_asked_for() -> None:
    span = Span(START, START + 5 * HOUR_S)

    coverage = measure("nyct", Evidence([manifest(full(range(30)))], {}, []), span, LATER, strict=True, to_end=True)

    assert [hour.expected for hour in coverage.hours] == [60] * 5
    assert coverage.completeness == 30 / 300


def test_before_its_first_record_a_feed_is_expected_only_when_the_start_was_asked_for() -> None:
    manifests = manifest(full(range(30, 60)))

    assert cover(manifests, strict=False).completeness == 1.0
    assert cover(manifests, strict=True).completeness == 0.5


def test_part_of_an_hour_can_be_asked_for() -> None:
    (hour,) = cover(manifest(full()), span=Span(START + 600, START + 1200)).hours

    assert (hour.start, hour.expected) == (START, 10)


def test_ticks_still_to_come_and_under_way_are_not_expected() -> None:
    now = START + 20 + 29 * 60 + 50

    (hour,) = cover(manifest(full(range(28))), now=now).hours

    assert (hour.expected, hour.unrecorded) == (28, 0)


def test_a_collector_that_has_stopped_shows_after_a_while() -> None:
    (hour,) = cover(manifest(full(range(20))), now=START + 40 * 60).hours

    assert (hour.expected, hour.unrecorded) == (40, 20)


# --- several nodes ---


def test_the_best_outcome_of_any_node_counts_for_each_tick() -> None:
    one = manifest([tick(n, "ok" if n < 30 else "failed") for n in range(60)], node="one")
    two = manifest([tick(n, "same") for n in range(25, 60)], node="two")

    (hour,) = cover(one, two).hours

    assert (hour.outcomes["ok"], hour.outcomes["same"], hour.outcomes["failed"]) == (30, 30, 0)
    assert hour.completeness == 1.0


def test_a_first_tick_beside_the_plan_does_not_keep_nodes_apart() -> None:
    early = Tick(planned_ms=START * 1000 + 3000, outcome="same")
    one = manifest([early, *full(range(40))], node="one")
    two = manifest(full(range(40, 60)), node="two")

    (hour,) = cover(one, two).hours

    assert (hour.expected, hour.completeness) == (61, 1.0)


def test_of_nodes_that_plan_differently_the_more_complete_one_counts() -> None:
    slow = manifest([tick(2 * n) for n in range(25)], node="slow", tick_ms=2 * TICK_MS)
    quick = manifest(full(range(50)), node="quick")

    (hour,) = cover(slow, quick).hours

    assert (hour.expected, hour.outcomes["same"]) == (60, 50)


def half_minutes(hour: int, outcome: Outcome = "same") -> list[Tick]:
    """Return the ticks of an hour of a node that plans one every 30 s, 7 s after each half of a minute began."""
    start_ms = (START + hour * HOUR_S) * 1000 + 7000
    return [Tick(planned_ms=start_ms + n * 30_000, outcome=outcome) for n in range(120)]


def test_of_nodes_that_plan_differently_the_more_complete_one_counts_in_each_hour() -> None:
    """One machine takes over from another, with a new period."""
    before = manifest(full(), node="a")
    after = manifest(half_minutes(1), node="b", start=START + HOUR_S, tick_ms=30_000)

    coverage = cover(before, after, span=Span(START, START + 2 * HOUR_S), tick_ms=30_000)

    assert [(hour.expected, hour.completeness) for hour in coverage.hours] == [(60, 1.0), (120, 1.0)]
    assert coverage.gap is None


def test_of_nodes_that_plan_differently_one_that_recorded_failures_counts_before_one_that_did_not_run() -> None:
    before = manifest(full(), node="a")
    after = manifest(half_minutes(1, "failed"), node="b", start=START + HOUR_S, tick_ms=30_000)

    coverage = cover(before, after, span=Span(START, START + 2 * HOUR_S), tick_ms=30_000)

    assert [hour.outcomes["failed"] for hour in coverage.hours] == [0, 120]


def test_a_changed_period_is_counted_with_both() -> None:
    before = manifest(full(range(60)))
    after = manifest(
        [Tick(planned_ms=(START + HOUR_S) * 1000 + 20_000 + n * 30_000, outcome="same") for n in range(120)],
        start=START + HOUR_S,
        tick_ms=30_000,
    )

    coverage = cover(before, after, span=Span(START, START + 2 * HOUR_S), tick_ms=30_000)

    assert [hour.expected for hour in coverage.hours] == [60, 120]
    assert coverage.gap is None


# --- gaps ---


def test_the_longest_gap_has_its_cause() -> None:
    ticks = [
        tick(n, "failed", error="HTTP 503") if 10 <= n < 14 else tick(n, "invalid", error="cut") if n == 30 else tick(n)
        for n in range(60)
    ]

    (hour,) = cover(manifest(ticks)).hours

    assert hour.gap == Gap(START * 1000 + 620_000, START * 1000 + 860_000, "failed: HTTP 503")


def test_a_gap_of_several_causes_names_the_most_frequent() -> None:
    ticks = [
        tick(n, "failed", error="timeout" if n % 3 else "HTTP 502") if 10 <= n < 19 else tick(n) for n in range(60)
    ]

    (hour,) = cover(manifest(ticks)).hours

    assert hour.gap and hour.gap.cause == "failed: timeout (6 of 9)"


def test_a_gap_over_the_hour_is_one_for_the_feed() -> None:
    first = manifest(full(range(50)))
    second = manifest([tick(n, start=START + HOUR_S) for n in range(20, 60)], start=START + HOUR_S)

    coverage = cover(first, second, span=Span(START, START + 2 * HOUR_S))

    assert [hour.gap.seconds for hour in coverage.hours if hour.gap] == [600, 1200]
    assert coverage.gap and coverage.gap.seconds == 1800


# --- publications ---


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


# --- where evidence comes from ---


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


# --- the heat map ---


class Page(HTMLParser):
    """Check that every tag is closed, and collect what a page asks others for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[tuple[str, str | None]] = []
        self.cells: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [(tag, value) for name, value in attrs if name in ("src", "href")]
        if tag == "td":
            self.cells.append(dict(attrs).get("class") or "")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_heat_map_is_whole_asks_nobody_and_tells_every_hour() -> None:
    ticks = [tick(n, "failed", error="<script>alert(1)</script>") if n < 6 else tick(n) for n in range(60)]
    coverage = cover(manifest(ticks), span=Span(START, START + 3 * HOUR_S))._replace(
        feed="a<b>&c", problems=["key: damaged"]
    )

    text = "".join(render([coverage], "Coverage & more", LATER))

    page = Page(text)
    assert (page.open, page.asked) == ([], [])
    assert page.cells == ["good", "none", "none right"]
    assert '<ul class="legend">' in text and "\nul{" not in text
    assert "<script" not in text and "url(" not in text and "@import" not in text
    assert {"a<b>&c", "a<b>&c: key: damaged", "Coverage & more"} <= {*page.texts}
    assert any("longest gap 360 s from 13:00:20: failed: <script>" in words for words in page.texts)
    assert "prefers-color-scheme:dark" in text


def test_a_heat_map_of_nothing_is_a_page() -> None:
    assert Page("".join(render([], "Coverage", LATER))).open == []


def test_hours_without_data_between_others_keep_their_place() -> None:
    first = Coverage("a", [cover(manifest(full())).hours[0]], None, [])
    last = Coverage("b", [first.hours[0]._replace(start=START + 3 * HOUR_S)], None, [])

    page = Page("".join(render([first, last], "Coverage", LATER)))

    assert page.cells == ["full", "", "", "", "", "", "", "full right"]


def test_an_hour_is_described_with_its_counts() -> None:
    manifests = manifest([*ticks_of(published()), *full(range(11, 50))])

    words = describe(cover(manifests).hours[0])

    assert words.splitlines() == [
        "2024-02-08 13:00 UTC",
        "83.33 % of 60 planned downloads",
        "11 ok, 39 same, 10 unrecorded",
        "11 publications",
        "longest gap 600 s from 13:50:20: not running",
    ]


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99996, "99.9 %"), (0.996, "99.6 %"), (0.5, "50 %"), (0.0, "0 %")]
)
def test_a_hundred_percent_is_all_and_nothing_less(share: float, text: str) -> None:
    assert percent(share) == text
