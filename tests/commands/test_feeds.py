"""`feeds list|retrieve|coverage|verify|export`, and feeds in `status` and `health`, as an operator types them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from aggregator.feeds.filtering.state import FeedState, encode_state
from aggregator.feeds.messages.ticks import DueTick
from aggregator.stores.store import Store
from tests.commands.conftest import PROJECT, Site
from tests.feeds.archives import folder_store, manifest, published, store_bundle, store_hour, tick, ticks_of
from tests.feeds.captures import capture

FEEDS = """
[feed_nyct]
url = https://example.org/nyct.pb?key=secret
extension = pb
period = 1m
timestamp = gtfs-realtime
stale_after = 10m

[feed_bikes]
url = https://example.org/bikes.json
extension = json
period = 1m
timestamp = gbfs

[store_archive]
url = file://%(here)s/store

[worker_download]
stage = download
pushto = fetched@node

[worker_filter]
stage = filter
listento = fetched@node
pushto = published@node

[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node

[worker_archive]
stage = archive
listento = bundled@node
store = archive
prefix = feeds
"""
SPAN = ("--start", "2024-02-08T13", "--end", "2024-02-08T14")


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def archive(site: Site) -> Iterator[Store]:
    """The store of an instance that archives feeds, with an hour of one of them."""
    site.configure(FEEDS)
    store = folder_store(site.root)
    store_hour(store, prefix="feeds")
    yield store
    store.close()


def remember(site: Site, feed: str, state: FeedState) -> None:
    """Write what the filter remembers of a feed."""
    site.desk.client.hset(site.desk.keys.cursors("node:worker_filter"), f"feed:{feed}", encode_state(state))


# --- retrieve ---


def test_retrieve_fetches_a_feed_and_says_what_came(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "retrieve", "nyct", *SPAN, "--to", str(site.root / "out"))

    assert (ran.code, ran.err) == (0, "")
    assert ran.lines == [
        "nyct 2024-02-08T130000Z: 12 files",
        f"1 bundle in {site.root}/out: 1 fetched, 0 were there",
    ]
    assert len(list((site.root / "out" / "nyct" / "2024-02-08T130000Z").iterdir())) == 12


def test_retrieve_again_fetches_nothing(site: Site, archive: Store) -> None:
    site.run("feeds", "retrieve", "nyct", "--to", str(site.root / "out"), "--flat")

    ran = site.run("feeds", "retrieve", "nyct", "--to", str(site.root / "out"), "--flat", "--json")

    (bundle,) = ran.json()["bundles"]
    assert (bundle["is_new"], bundle["files"], bundle["problems"]) == (False, 12, [])


def test_retrieve_of_a_damaged_bundle_exits_with_1(site: Site, archive: Store) -> None:
    key = store_hour(archive, "bad", prefix="feeds")
    archive.put(key, archive.get(key)[0][:999])

    ran = site.run("--quiet", "feeds", "retrieve", "*", "--to", str(site.root / "out"), "--packed")

    assert ran.code == 1
    assert ran.lines[0] == "bad 2024-02-08T130000Z: nothing"
    assert len(ran.lines) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nyc",), "nothing of 'nyc' is there; did you mean nyct?; in this time the store holds: nyct"),
        (("nyct", "--start", "2025-01-01"), "nothing of 'nyct' is there; in this time the store holds: nothing"),
        (("nyct", "--store", "archiv"), "no section [store_archiv]; did you mean archive?; there are: archive"),
        (("nyct", "--start", "2024-02-09", "--end", "2024-02-08"), "--end must be later than --start"),
    ],
)
def test_what_cannot_be_found_is_said(site: Site, archive: Store, words: tuple[str, ...], message: str) -> None:
    ran = site.run("feeds", "retrieve", *words, "--to", str(site.root / "out"))

    assert (ran.code, ran.err) == (1, f"aggregator: {message}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--start", "yesterday"), "needs a time such as 2026-11-01T05 (found 'yesterday')"),
        (("--start", "2026-02-30"), "needs a time such as 2026-11-01T05 (found '2026-02-30')"),
        (("-p", "a//b"), "needs names with single slashes between them (found 'a//b')"),
        (("--packed", "--flat"), "not allowed with argument"),
        (("--to", ""), "needs a path (found '')"),
    ],
)
def test_bad_usage_is_refused(
    site: Site, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        site.run("feeds", "retrieve", "nyct", "--to", "out", *words)

    assert message in capsys.readouterr().err


def test_an_archive_is_read_by_its_url_where_there_is_no_instance(site: Site, archive: Store) -> None:
    (site.root / "loglines.cfg").unlink()
    url = f"file://{site.root}/store"

    ran = site.run("feeds", "retrieve", "nyct", "--store", url, "-p", "feeds", "--to", str(site.root / "out"))

    assert ran.code == 0


def test_of_several_stores_that_of_the_archive_section_is_meant(site: Site, archive: Store) -> None:
    site.configure(FEEDS + "[store_other]\nurl = file:///nowhere\n")
    assert site.run("feeds", "verify").code == 0

    site.configure("[store_one]\nurl = file:///a\n[store_two]\nurl = file:///b\n")
    ran = site.run("feeds", "verify")

    words = "which store? give --store NAME or --store URL; sections [store_NAME] there are: one, two"
    assert (ran.code, ran.err) == (1, f"aggregator: {words}\n")


@pytest.mark.parametrize(
    "start",
    ["2024-02-08T13", "2024-02-08 13:00", "2024-02-08T13:00:00Z", "2024-02-08T13:00:00+00:00", "2024-02-08 08:00-0500"],
)
def test_times_are_read_as_people_and_programs_write_them(site: Site, archive: Store, start: str) -> None:
    ran = site.run("feeds", "coverage", "nyct", "--start", start, "--end", "2024-02-08T13:01", "--json")

    (hour,) = ran.json()["feeds"][0]["hours"]
    assert (hour["hour"], hour["expected"]) == ("2024-02-08T130000Z", 1)


@pytest.mark.parametrize(
    ("name", "typed"), [("line[1]", "line[1]"), ("caf\u00e9", "cafe\u0301")], ids=["brackets", "decomposed"]
)
def test_every_feed_is_found_by_its_own_name(site: Site, archive: Store, name: str, typed: str) -> None:
    (site.root / "more.csv").write_text(f"{name},https://example.org/,txt,1m,none\n", encoding="utf-8")
    text = (site.root / "loglines.cfg").read_text().replace("node = node", "node = node\nfeeds_file = more.csv")
    (site.root / "loglines.cfg").write_text(text)
    store_hour(archive, prefix="feeds", feed=name)
    out = site.root / "out"

    assert site.run("feeds", "list", typed).lines[1].startswith(f"{name} ")
    assert site.run("feeds", "coverage", typed, *SPAN).lines[1].startswith(f"{name} ")
    assert site.run("feeds", "verify", typed).lines[-1].startswith("1 bundle with ")
    assert site.run("feeds", "retrieve", typed, "--to", str(out)).lines[-1].endswith(": 1 fetched, 0 were there")
    assert site.run("feeds", "retrieve", typed, "--to", str(out)).lines[-1].endswith(": 0 fetched, 1 were there")


# --- coverage ---


def test_coverage_is_a_table_of_hours_with_gaps_and_causes(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "coverage", "nyct", *SPAN)

    head, row = ran.lines
    assert head.split()[:3] == ["FEED", "HOUR", "EXPECTED"]
    assert " ".join(row.split()) == "nyct 2024-02-08 13:00 60 11 49 11 18.33 % 49 min: not running"


def test_a_configured_feed_without_any_data_is_a_row_too(site: Site, archive: Store) -> None:
    feeds = site.run("feeds", "coverage", *SPAN, "--json").json()["feeds"]

    assert [(feed["feed"], feed["completeness"]) for feed in feeds] == [("bikes", 0.0), ("nyct", 11 / 60)]
    (hour,) = feeds[0]["hours"]
    assert (hour["expected"], hour["unrecorded"], hour["longest_gap"]["cause"]) == (60, 60, "not running")


def test_a_feed_without_any_record_is_one_row_however_many_hours(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "coverage", "--start", "2024-02-08T10", "--end", "2024-02-08T14")

    rows = [line for line in ran.lines if line.startswith("bikes")]
    assert [" ".join(row.split()) for row in rows] == ["bikes no record 0 % 4 h: not running"]


def test_coverage_below_the_minimum_exits_with_1(site: Site, archive: Store) -> None:
    enough = site.run("feeds", "coverage", "nyct", *SPAN, "--min", "18")
    too_little = site.run("feeds", "coverage", "nyct", *SPAN, "--min", "18.5%")

    assert (enough.code, too_little.code) == (0, 1)
    assert too_little.lines[-1] == "nyct: less than 18.5 % complete"


def test_coverage_of_nothing_is_not_taken_for_complete(site: Site, archive: Store) -> None:
    unknown = site.run("feeds", "coverage", "nyct", "nyxt", *SPAN, "--min", "1")

    assert (unknown.code, unknown.err) == (
        1, "aggregator: nothing is known of 'nyxt' in this time; did you mean nyct?\n"
    )  # fmt: skip
    (site.root / "loglines.cfg").unlink()
    nowhere = site.run("feeds", "coverage", *SPAN, "--store", f"file://{site.root}/nowhere", "--min", "1")
    assert (nowhere.code, nowhere.err) == (1, "aggregator: nothing is known of any feed in this time\n")


def test_coverage_of_a_url_shows_a_collector_that_died_before_the_end_asked_for(site: Site, archive: Store) -> None:
    (site.root / "loglines.cfg").unlink()
    place = ("--store", f"file://{site.root}/store", "-p", "feeds")
    span = ("--start", "2024-02-08T13", "--end", "2024-02-08T20")

    (feed,) = site.run("feeds", "coverage", *span, *place, "--json").json()["feeds"]

    assert feed["completeness"] == 11 / 420


def test_coverage_writes_a_page(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "coverage", *SPAN, "--html", str(site.root / "pages" / "coverage.html"))

    page = (site.root / "pages" / "coverage.html").read_text()
    assert ran.code == 0
    assert "Coverage of feeds, 2024-02-08 13:00 to 2024-02-08 14:00" in page
    assert [path.name for path in (site.root / "pages").iterdir()] == ["coverage.html"]


def test_a_page_or_table_never_takes_the_place_of_a_pipe_or_a_folder(site: Site, archive: Store) -> None:
    pipe, folder = site.root / "pipe", site.root / "folder"
    os.mkfifo(pipe)
    folder.mkdir()

    page = site.run("feeds", "coverage", *SPAN, "--html", str(pipe))
    beside = site.run("feeds", "coverage", *SPAN, "--html", str(folder))
    table = site.run("feeds", "export", "nyct", "--format", "csv", "--to", str(pipe))

    assert (page.code, page.err) == (
        1, f"aggregator: {pipe} cannot be written: a device or a pipe; a file is needed\n"
    )  # fmt: skip
    assert (beside.code, beside.err) == (1, f"aggregator: {folder} cannot be written: Is a directory\n")
    assert (table.code, table.err) == (1, f"aggregator: {pipe}: a device or a pipe; a file is needed\n")
    assert pipe.is_fifo()


def test_a_page_or_table_goes_where_a_link_leads(site: Site, archive: Store) -> None:
    link, page = site.root / "link", site.root / "page"
    link.symlink_to(page)

    site.run("feeds", "coverage", *SPAN, "--html", str(link))
    is_page = "<html" in page.read_text()
    site.run("feeds", "export", "nyct", "--format", "csv", "--to", str(link))

    assert (link.is_symlink(), is_page, page.read_text()[:5]) == (True, True, "feed,")


def test_coverage_of_a_damaged_bundle_exits_with_1(site: Site, archive: Store) -> None:
    (info,) = archive.list("feeds/")
    archive.put(info.key, b"\x1f\x8b nonsense")

    ran = site.run("feeds", "coverage", "nyct", *SPAN)

    assert ran.code == 1
    assert any(line.startswith(f"nyct: {info.key}: damaged") for line in ran.lines)


def test_by_default_coverage_is_of_the_last_day(site: Site, archive: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # so that no hour ends in between
    start = int(now) // 3600 * 3600 - 7200
    ticks = [tick(number, start=start) for number in range(60)]
    store_bundle(archive, [], [manifest(ticks, "bikes", start=start)], feed="bikes", start=start, prefix="feeds")

    feeds = {feed["feed"]: feed for feed in site.run("feeds", "coverage", "--json").json()["feeds"]}

    assert 23 <= len(feeds["nyct"]["hours"]) <= 24
    assert 2 <= len(feeds["bikes"]["hours"]) <= 3
    assert feeds["bikes"]["hours"][0]["completeness"] == 1.0


# --- verify ---


def test_verify_says_that_all_is_well(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "verify")

    assert (ran.code, ran.lines) == (0, ["1 bundle with 11 publications: all is well"])


def test_verify_reads_a_feed_as_it_is_configured_and_exits_with_1(site: Site, archive: Store) -> None:
    body = published("bikes")[0]._replace(
        name="bikes-2024-02-08T130000Z.json", data=capture("gbfs/station_status.json")
    )
    papers = manifest(ticks_of([body]), "bikes")
    key = store_bundle(archive, [body], [papers], feed="bikes", prefix="feeds")

    ran = site.run("feeds", "verify")

    assert ran.code == 1
    assert ran.lines == [
        f"{key}: {body.name} says it is of 2025-07-02T062103Z",
        "2 bundles with 12 publications: 1 with findings",
    ]


def test_verify_of_nothing_is_not_taken_for_whole(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "verify", "--store", f"file://{site.root}/nowhere")
    later = site.run("feeds", "verify", "--start", "2025-01-01")

    assert (ran.code, later.code) == (1, 1)
    assert ran.err.startswith("aggregator: the store holds no bundle")


def test_verify_in_json(site: Site, archive: Store) -> None:
    facts = site.run("feeds", "verify", "nyct", *SPAN, "--json").json()

    assert facts["ok"] is True
    assert facts["bundles"][0]["publications"] == 11


# --- export ---


@pytest.mark.parametrize("format_name", ["csv", "jsonl", "parquet"])
def test_export_writes_a_file(site: Site, archive: Store, format_name: str) -> None:
    path = site.root / f"out.{format_name}"

    ran = site.run("feeds", "export", *SPAN, "--format", format_name, "--to", str(path))

    assert (ran.code, ran.lines) == (0, [f"3,460 rows of 11 publications in {path}"])
    assert path.stat().st_size > 1000


def test_export_into_a_folder(site: Site, archive: Store) -> None:
    site.run("feeds", "export", "nyct", "--format", "csv", "--to", f"{site.root}/tables/")

    assert [path.name for path in (site.root / "tables").iterdir()] == ["nyct-2024-02-08.csv"]


def test_feeds_that_are_something_else_are_left_out_or_refused(site: Site, archive: Store) -> None:
    body = published("bikes")[0]._replace(
        name="bikes-2024-02-08T130000Z.json", data=capture("gbfs/station_status.json")
    )
    store_bundle(archive, [body], feed="bikes", prefix="feeds")
    path = site.root / "out.csv"

    every = site.run("feeds", "export", "--format", "csv", "--to", str(path))
    bikes = site.run("feeds", "export", "bikes", "--format", "csv", "--to", str(path))

    assert every.code == 0
    words = "no GTFS-realtime among the feeds (found bikes); `feeds retrieve` fetches them as they are"
    assert (bikes.code, bikes.err) == (1, f"aggregator: {words}\n")


def test_what_an_export_leaves_out_is_said(site: Site, archive: Store) -> None:
    bodies = [published("odd")[0]._replace(data=b"<html>"), published("odd")[1]]
    store_bundle(archive, bodies, [manifest(ticks_of(bodies), "odd")], feed="odd", prefix="feeds")

    ran = site.run("feeds", "export", "odd", "--format", "csv", "--to", str(site.root / "out.csv"))

    assert ran.code == 1
    assert ran.lines[0].startswith("left out: odd-2024-02-08T130015Z.pb: no GTFS-realtime message")
    assert ran.lines[1].endswith("; 1 could not be read")


# --- list, status, health ---


def test_list_shows_every_configured_feed(site: Site, archive: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # so that today stays today
    state = FeedState(
        outcome="ok",
        planned_ms=now_ms() - 5000,
        answered_ms=now_ms() - 5000,
        changed_ms=now_ms() - 65_000,
        day=now_ms() // 86_400_000,
        day_bytes=2_500_000,
        last_day_bytes=9_000_000,
    )
    remember(site, "nyct", state)
    due = DueTick(feed="nyct", planned_ms=now_ms() + 3 * 3_600_000 + 1_800_000)
    site.desk.client.zadd(site.desk.keys.delayed("ticks@node"), {msgspec.json.encode(due): due.planned_ms / 1000})

    for process, hour in ((0, 12), (1, 13)):
        archived = {f"archived:{process}:nyct": f"2024-02-08T{hour}0000Z"}
        site.desk.client.hset(site.desk.keys.cursors("node:worker_archive"), mapping=archived)

    ran = site.run("feeds", "list")

    head, bikes, nyct = ran.lines
    assert head.split() == [
        "FEED",
        "EVERY",
        "LAST",
        "SUCCESS",
        "CONTENT",
        "TODAY",
        "YESTERDAY",
        "ARCHIVED",
        "UNTIL",
        "NEXT",
    ]
    assert bikes.split() == ["bikes", "1", "min", "-", "-", "-", "-", "-", "-", "-"]
    assert nyct.split()[:4] == ["nyct", "1", "min", "ok"]
    assert "2.5 MB     9.0 MB  2024-02-08 14:00" in nyct
    assert "  3 h " in nyct


def test_list_in_json_hides_secrets(site: Site, archive: Store) -> None:
    ran = site.run("feeds", "list", "nyct", "--json")

    (feed,) = ran.json()["feeds"]
    assert (feed["feed"], feed["last_outcome"], feed["complaint"]) == ("nyct", None, None)
    assert "secret" not in ran.out


def test_list_says_why_a_feed_waits(site: Site, archive: Store) -> None:
    remember(site, "nyct", FeedState(outcome="failed", error="HTTP 503", planned_ms=now_ms(), answered_ms=now_ms()))
    due = DueTick(feed="nyct", planned_ms=now_ms(), wait_until_ms=now_ms() + 9_000_000, why="3 failures in a row")
    site.desk.push("ticks@node", msgspec.json.encode(due), b'{"not": "a tick"}')

    ran = site.run("feeds", "list", "nyct")

    assert ran.lines[1].endswith("waits: 3 failures in a row")
    assert "  2 h " in ran.lines[1]


@pytest.mark.parametrize("words", [("nycr",), ("bikes", "nycr")])
def test_list_of_an_unknown_feed(site: Site, archive: Store, words: tuple[str, ...]) -> None:
    ran = site.run("feeds", "list", *words)

    assert (ran.code, ran.err) == (1, "aggregator: no feed 'nycr'; did you mean nyct?\n")


def test_list_without_feeds(site: Site) -> None:
    assert site.run("feeds", "list").lines == ["no feeds; a section [feed_NAME] makes one"]


def stale() -> FeedState:
    long_ago = now_ms() - 7_200_000
    return FeedState(outcome="failed", error="HTTP 500", planned_ms=now_ms(), answered_ms=long_ago, changed_ms=long_ago)


def frozen() -> FeedState:
    return FeedState(outcome="same", planned_ms=now_ms(), answered_ms=now_ms(), changed_ms=now_ms() - 7_200_000)


@pytest.mark.parametrize(
    ("state", "words", "level"),
    [
        (stale, "stale: no good answer for 2 h; HTTP 500", "error"),
        (frozen, "frozen: answers, with the same contents for 2 h", "warning"),
    ],
)
def test_a_feed_that_brings_nothing_shows_everywhere(
    site: Site, archive: Store, state: Callable[[], FeedState], words: str, level: str
) -> None:
    remember(site, "nyct", state())

    listed = site.run("feeds", "list", "nyct")
    status = site.run("status")
    findings = site.run("health", "--json").json()["findings"]
    (finding,) = [finding for finding in findings if finding["about"] == "feed_nyct"]

    assert words in listed.out
    assert f"  nyct: {words}" in status.lines
    assert f"2 feeds, 1 {words.partition(':')[0]}; `run/aggregator feeds list` shows each" in status.lines
    assert (finding["code"], finding["level"], finding["text"]) == (f"feed_{words.partition(':')[0]}", level, words)
    assert finding["since"] == pytest.approx(time.time() - 7200, abs=600)


def test_a_feed_that_never_answered_is_stale_after_its_time(site: Site, archive: Store) -> None:
    client, cursors = site.desk.client, site.desk.keys.cursors("node:worker_download")
    client.hset(cursors, "feed:nyct", str(now_ms() - 1000))
    fresh = site.run("feeds", "list", "nyct", "--json").json()["feeds"][0]["complaint"]
    client.hset(cursors, "feed:nyct", str(now_ms() - 3_600_000))

    ran = site.run("feeds", "list", "nyct")

    assert fresh is None
    assert ran.lines[1].endswith("stale: never a good answer")


@pytest.mark.parametrize(("age_s", "found"), [(400, ["feed_failing"]), (100, [])])
def test_a_feed_that_fails_from_its_first_tick_is_no_good_health(
    site: Site, archive: Store, age_s: int, found: list[str]
) -> None:
    site.desk.client.hset(site.desk.keys.cursors("node:worker_download"), "feed:nyct", str(now_ms() - age_s * 1000))
    remember(site, "nyct", FeedState(outcome="failed", error="HTTP 404", planned_ms=now_ms()))

    findings = site.run("health", "--json").json()["findings"]

    assert [finding["code"] for finding in findings if finding["about"] == "feed_nyct"] == found


def test_feeds_of_the_feeds_file_show_beside_those_of_sections(site: Site, archive: Store) -> None:
    (site.root / "feeds.csv").write_text("good,https://example.org/a,pb,1m,none\n")
    site.configure(FEEDS)
    text = (site.root / "loglines.cfg").read_text().replace("node = node", "node = node\nfeeds_file = feeds.csv")
    (site.root / "loglines.cfg").write_text(text)

    feeds = site.run("status", "--json").json()["feeds"]

    assert [feed["feed"] for feed in feeds] == ["bikes", "good", "nyct"]


def test_nothing_in_the_archive_is_touched(site: Site, archive: Store) -> None:
    before = {info.key: archive.get(info.key) for info in archive.list()}

    for words in (
        ("retrieve", "nyct", "--to", str(site.root / "out")),
        ("coverage", *SPAN),
        ("verify",),
        ("export", "--format", "jsonl", "--to", str(site.root / "out.jsonl")),
    ):
        site.run("feeds", *words)

    assert {info.key: archive.get(info.key) for info in archive.list()} == before
    assert json.loads((site.root / "out.jsonl").read_text().splitlines()[0])["feed"] == "nyct"
    assert not Path(site.root / "data" / "feeds").exists()


def test_a_terminal_shows_a_bar_below_the_lines(site: Site, archive: Store) -> None:
    store_hour(archive, "other", prefix="feeds")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "aggregator", "-r", str(site.root), "feeds", "retrieve", "*"]

    done = subprocess.run(
        [*command, "--to", str(site.root / "out")],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        cwd=PROJECT,
        check=True,
    )
    os.close(theirs)
    read = b""
    # one reading may bring a part; EIO comes behind the last
    with suppress(OSError):
        while part := os.read(ours, 100_000):
            read += part
    os.close(ours)
    shown = read.decode()

    assert "\r[........................]   0%  0 of 2 bundles, 0.0 of 0.1 MB" in shown
    assert "\r[########################] 100%  2 of 2 bundles, 0.1 of 0.1 MB" in shown
    assert shown.endswith("\r\x1b[K")
    assert sorted(done.stdout.splitlines()[:2]) == [
        "nyct 2024-02-08T130000Z: 12 files",
        "other 2024-02-08T130000Z: 12 files",
    ]
