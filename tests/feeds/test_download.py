"""The stage `download`: every tick with one outcome, and every feed with one next tick."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.config.tables import Table
from aggregator.errors import Reject, Unavailable
from aggregator.feeds.fetching.timing import FeedTiming
from aggregator.feeds.messages.ticks import DueTick
from aggregator.runtime.contract import Send
from aggregator.runtime.message import Message
from tests.feeds.captures import subway_captures
from tests.feeds.downloading import NOW, RUNNING, Downloading, make
from tests.feeds.webserver import Answer, WebServer, body, status

CAPTURE = subway_captures()[0][1]


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        server.answers["/feed"] = body(CAPTURE, ETag='"1"', Content_Type="application/x-protobuf", Set_Cookie="id=7")
        yield server


@pytest.fixture
def line(server: WebServer, tmp_path: Path) -> Downloading:
    return Downloading(tmp_path, make("ace", f"{server.url}/feed"))


@pytest.fixture(autouse=True)
def stop_all() -> Iterator[None]:
    """Leave no connection open."""
    yield
    while RUNNING:
        RUNNING.pop().stage.stop()


def test_a_body_lands_on_the_disk_and_all_about_it_is_told(server: WebServer, line: Downloading) -> None:
    [tick] = line.seed()

    told, _ = line.handle_at_its_time(tick)

    assert told.tick.outcome == "ok"
    assert (told.tick.planned_ms, told.tick.status, told.tick.size_bytes) == (tick.planned_ms, 200, len(CAPTURE))
    assert told.tick.sha256 == hashlib.sha256(CAPTURE).hexdigest()
    assert told.tick.started_ms == told.tick.ended_ms == tick.planned_ms
    assert told.headers == {
        "content-length": str(len(CAPTURE)), "content-type": "application/x-protobuf", "etag": '"1"'
    }  # fmt: skip
    assert (told.feed, told.extension, told.period_ms, told.timestamp) == ("ace", "pb", 10_000, "none")
    assert (line.root / told.file).read_bytes() == CAPTURE
    assert Path(told.file).parent == Path("data/feeds/downloads/ace")
    assert not list(line.root.rglob("*.part"))


@pytest.mark.parametrize("extension", ["pb", "pb.gz"])
def test_a_gzip_file_is_kept_as_it_is_where_the_extension_says_so(
    server: WebServer, tmp_path: Path, extension: str
) -> None:
    packed = gzip.compress(CAPTURE)
    server.answers["/packed"] = body(packed)
    line = Downloading(tmp_path, make("ace", f"{server.url}/packed", extension=extension))
    [tick] = line.seed()

    told, _ = line.handle_at_its_time(tick)

    data = (line.root / told.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == told.tick.sha256
    assert data == (CAPTURE if extension == "pb" else packed)


def test_each_tick_brings_the_next_and_no_delay_shifts_the_grid(line: Downloading) -> None:
    [tick] = line.seed()
    planned = []

    for _ in range(5):
        line.now = tick.planned_ms / 1000 + 3.2
        _, tick = line.handle_at_its_time(tick)
        planned.append(tick.planned_ms)

    assert [later - earlier for earlier, later in pairwise(planned)] == [10_000] * 4


def test_validators_travel_with_the_tick_and_are_asked_with(server: WebServer, line: Downloading) -> None:
    _, second = line.handle_at_its_time(line.seed()[0])
    server.answers["/feed"] = status("304 Not Modified")

    told, third = line.handle_at_its_time(second)

    assert server.last("/feed").headers["if-none-match"] == '"1"'
    assert (told.tick.outcome, told.tick.status, told.file) == ("not_modified", 304, "")
    assert third.validators == second.validators


@pytest.mark.parametrize(
    "change",
    [{"url": "{}/moved"}, {"timestamp": "http"}, {"extension": "bin"}, {"headers": {"x-api-key": "new"}}],
    ids=str,
)
def test_validators_of_another_source_are_not_asked_with(
    server: WebServer, line: Downloading, change: dict[str, Any]
) -> None:
    server.answers["/moved"] = server.answers["/feed"]
    _, second = line.handle_at_its_time(line.seed()[0])
    if "url" in change:
        change = {"url": change["url"].format(server.url)}
    changed = msgspec.structs.replace(line.table.entries["ace"], **change)
    line.stage.feeds.table = Table({"ace": changed}, (), ())

    told, third = line.handle_at_its_time(second)

    assert told.tick.outcome == "ok"
    assert "if-none-match" not in server.asked[-1].headers
    assert third.validators and third.validators != second.validators


def test_a_body_without_an_end_of_its_own_is_not_what_is_asked_about_the_next_time(
    server: WebServer, line: Downloading
) -> None:
    def until_closed(data: bytes, header: str = "") -> Answer:
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nETag: 1\r\n{header}\r\n".encode()
        return lambda talk: (talk.send(head + data), talk.cut())

    kept = {}
    for what, answer in {
        "perhaps cut": until_closed(CAPTURE),
        "packed": until_closed(gzip.compress(CAPTURE), "Content-Encoding: gzip\r\n"),
        "in chunks": until_closed(b"1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
        "of a length": until_closed(b"x", "Content-Length: 1\r\n"),
    }.items():
        server.answers["/feed"] = answer
        line.now += 10
        told, following, _ = line.handle(DueTick(feed="ace", planned_ms=int(line.now * 1000), chain=1))
        assert told[0].tick and told[0].tick.outcome == "ok"
        assert following
        kept[what] = following.validators is not None

    assert kept == {"perhaps cut": False, "packed": True, "in chunks": True, "of a length": True}


@pytest.mark.parametrize(
    ("etag", "is_kept"), [("e" * 1000, True), ("e" * 1001, False), ("a\tb", False), ("\xa0", False), ("\xe9", True)]
)
def test_validators_that_are_long_or_cannot_be_printed_are_not_kept(
    server: WebServer, line: Downloading, etag: str, is_kept: bool
) -> None:
    server.answers["/feed"] = body(CAPTURE, ETag=f"{etag}")

    _, second = line.handle_at_its_time(line.seed()[0])

    assert (second.validators is not None) is is_kept


def test_an_empty_body_is_not_what_is_asked_about_the_next_time(server: WebServer, line: Downloading) -> None:
    server.answers["/feed"] = body(b"", ETag='"empty"')

    told, second = line.handle_at_its_time(line.seed()[0])

    assert (told.tick.outcome, told.tick.size_bytes) == ("ok", 0)
    assert second.validators is None


def test_secrets_in_an_address_are_told_to_the_server_alone(server: WebServer, tmp_path: Path) -> None:
    server.answers |= {
        "/f?api_key=s3cret&id=1": status("302 Found", Location="/g?token=s3cret"),
        "/g?token=s3cret": body(b"x"),
    }
    line = Downloading(tmp_path, make("ace", f"{server.url.replace('//', '//me:s3cret@')}/f?api_key=s3cret&id=1"))

    told, following = line.handle_at_its_time(line.seed()[0])

    assert told.url == f"{server.url.replace('//', '//***@')}/f?api_key=***&id=1"
    assert told.final_url == f"{server.url}/g?token=***" or "s3cret" not in told.final_url
    assert "s3cret" not in repr((told, following))


# What goes wrong


def test_a_failure_is_an_outcome_and_the_next_tick_comes_as_planned(server: WebServer, line: Downloading) -> None:
    [tick] = line.seed()
    server.answers["/feed"] = status("500 Internal Server Error")

    told, following = line.handle_at_its_time(tick)

    assert (told.tick.outcome, told.tick.status) == ("failed", 500)
    assert told.tick.error == "HTTP 500 Internal Server Error"
    assert following.planned_ms == FeedTiming("ace", 10_000).next_after(tick.planned_ms)
    assert following.failures == 1


def test_a_feed_that_keeps_failing_is_tried_less_and_less_but_never_given_up(server: WebServer, tmp_path: Path) -> None:
    line = Downloading(tmp_path, make("ace", f"{server.url}/gone"), backoff="5m")
    [tick] = line.seed()
    tries, ticks = [], 0
    while line.now < NOW + 3600:
        before = server.count("/gone")
        told, tick = line.handle_at_its_time(tick)
        assert told.tick.outcome == "failed"
        ticks += 1
        if server.count("/gone") > before:
            tries.append(line.now)
        else:
            assert told.tick.error.startswith("not tried: ")
            assert "HTTP 404 Not Found" in told.tick.error

    gaps = [round(later - earlier) for earlier, later in pairwise(tries)]
    assert gaps[:2] == [10, 10]
    assert gaps == sorted(gaps)
    assert set(gaps[7:]) == {300}
    assert ticks in (360, 361)


def test_a_feed_that_answers_again_is_as_good_as_new(server: WebServer, line: Downloading) -> None:
    good = server.answers["/feed"]
    server.answers["/feed"] = status("500 Oops")
    [tick] = line.seed()
    while not tick.wait_until_ms:
        _, tick = line.handle_at_its_time(tick)
    server.answers["/feed"] = good
    while tick.failures:
        told, tick = line.handle_at_its_time(tick)

    assert told.tick.outcome == "ok"
    assert (tick.wait_until_ms, tick.why) == (0, "")


def test_a_server_that_asks_to_be_left_alone_is(server: WebServer, line: Downloading) -> None:
    server.answers["/feed"] = status("429 Too Many Requests", Retry_After="45")
    [tick] = line.seed()
    outcomes = []
    for _ in range(6):
        told, tick = line.handle_at_its_time(tick)
        outcomes.append((told.tick.status, told.tick.error))

    assert server.count("/feed") == 2
    assert outcomes[0] == (429, "HTTP 429 Too Many Requests")
    assert {error for status, error in outcomes[1:5] if status is None} == {
        "not tried: the server asked for 45 s of rest: HTTP 429 Too Many Requests"
    }
    assert outcomes[5][0] == 429


@pytest.mark.parametrize("retry_after", ["0", "1"])
def test_a_short_rest_that_is_asked_for_does_not_replace_the_long_one_of_a_feed_that_keeps_failing(
    server: WebServer, line: Downloading, retry_after: str
) -> None:
    server.answers["/feed"] = status("503 Service Unavailable", Retry_After=retry_after)
    [tick] = line.seed()

    for _ in range(60):
        _, tick = line.handle_at_its_time(tick)

    assert server.count("/feed") == 7


def test_no_server_can_have_itself_left_alone_for_ever(server: WebServer, line: Downloading) -> None:
    server.answers["/feed"] = status("503 Service Unavailable", Retry_After="999999999")

    _, following = line.handle_at_its_time(line.seed()[0])

    assert following.wait_until_ms <= (line.now + 86_400) * 1000


@pytest.mark.parametrize("change", [{"url": "{}/moved"}, {"headers": {"x-api-key": "new"}}], ids=str)
def test_a_feed_that_gets_another_source_does_not_pay_for_the_old_one(
    server: WebServer, line: Downloading, change: dict[str, Any]
) -> None:
    server.answers |= {"/moved": body(CAPTURE), "/feed": status("429 Too Many Requests", Retry_After="86400")}
    _, tick = line.handle_at_its_time(line.seed()[0])
    server.answers["/feed"] = body(CAPTURE)
    if "url" in change:
        change = {"url": change["url"].format(server.url)}
    changed = msgspec.structs.replace(line.table.entries["ace"], **change)
    line.stage.feeds.table = Table({"ace": changed}, (), ())

    told, following = line.handle_at_its_time(tick)

    assert told.tick.outcome == "ok"
    assert (following.failures, following.why, following.failing) == (0, "", "")


def test_half_a_body_leaves_nothing_on_the_disk(server: WebServer, line: Downloading) -> None:
    server.answers["/feed"] = lambda talk: (
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(70_000)), talk.cut()
    )  # fmt: skip

    told, _ = line.handle_at_its_time(line.seed()[0])

    assert (told.tick.outcome, told.tick.status, told.tick.error) == (
        "failed",
        200,
        "cut short: 30000 bytes are missing",
    )
    assert [path for path in line.root.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_no_fault_of_the_feed(server: WebServer, line: Downloading) -> None:
    [tick] = line.seed()
    path = line.stage.folders.download("ace", tick.planned_ms, "pb")
    path.parent.mkdir(parents=True)
    path.parent.joinpath(f"{path.stem}.{os.getpid()}.part").symlink_to("/dev/full")

    with pytest.raises(Unavailable, match=r"cannot write .*: No space left on device"):
        line.handle(tick)


def test_a_file_where_the_folder_of_a_feed_belongs_is_a_failed_tick_of_that_feed(
    server: WebServer, line: Downloading
) -> None:
    [tick] = line.seed()
    line.stage.folders.downloads.mkdir(parents=True)
    (line.stage.folders.downloads / "ace").write_text("in the way")

    told, following, _ = line.handle(tick)

    assert told[0].tick is not None and told[0].tick.outcome == "failed" and "cannot write" in told[0].tick.error
    assert following is not None


def test_a_body_that_is_no_tick_is_set_aside(line: Downloading) -> None:
    with pytest.raises(Reject, match="no DueTick"):
        list(line.stage.handle(Message(b'{"feed":7}', b'{"feed":7}')))


# Too late


def test_a_tick_that_is_a_little_late_is_still_downloaded(line: Downloading) -> None:
    [tick] = line.seed()
    line.now = tick.planned_ms / 1000 + 9.9

    told, _, _ = line.handle(tick)

    assert told[0].tick and told[0].tick.outcome == "ok"


def test_a_tick_whose_period_is_over_is_late_and_those_after_it_are_missed(
    server: WebServer, line: Downloading
) -> None:
    [first] = line.seed()
    _, tick = line.handle_at_its_time(first)
    line.now = tick.planned_ms / 1000 + 73.5

    told, following, _ = line.handle(tick)

    late, row = told
    assert late.tick and (late.tick.planned_ms, late.tick.outcome) == (tick.planned_ms, "late")
    assert late.tick.error == "73.5 s late"
    assert (row.missed_from_ms, row.missed_to_ms) == (tick.planned_ms + 10_000, tick.planned_ms + 60_000)
    assert following and following.planned_ms == tick.planned_ms + 70_000
    assert following.validators == tick.validators
    assert server.count("/feed") == 1


def test_a_tick_that_is_one_period_late_has_missed_none(line: Downloading) -> None:
    _, tick = line.handle_at_its_time(line.seed()[0])
    line.now = tick.planned_ms / 1000 + 12

    told, following, _ = line.handle(tick)

    assert [row.tick.outcome for row in told if row.tick] == ["late"]
    assert following and following.planned_ms == tick.planned_ms + 10_000


@pytest.mark.parametrize("period_s", [1, 3600, 86_400])
def test_ten_years_off_are_told_in_few_messages(tmp_path: Path, period_s: int) -> None:
    line = Downloading(tmp_path, make("ace", "http://127.0.0.1:1/", period=f"{period_s}s"))
    [tick] = line.seed()
    line.now += 10 * 365 * 86_400

    told, following, _ = line.handle(tick)

    assert len(told) < 400
    rows = [(row.missed_from_ms or 0, row.missed_to_ms or 0) for row in told[1:]]
    period_ms = period_s * 1000
    assert all(later[0] == earlier[1] + period_ms for earlier, later in pairwise(rows))
    assert all(last - first <= 31 * 86_400_000 for first, last in rows)
    assert following and following.planned_ms == rows[-1][1] + period_ms
    assert line.now * 1000 - following.planned_ms < period_ms


# Chains


def test_each_feed_gets_one_first_tick_soon_and_not_all_at_once(tmp_path: Path) -> None:
    feeds = [make(f"feed{n}", "http://127.0.0.1:1/", period="1h") for n in range(200)]
    line = Downloading(tmp_path, *feeds)

    ticks = line.seed()

    assert {tick.feed for tick in ticks} == {feed.name for feed in feeds}
    planned = sorted(tick.planned_ms for tick in ticks)
    assert planned[0] >= NOW * 1000 and planned[-1] <= NOW * 1000 + 10_000
    assert max(later - earlier for earlier, later in pairwise(planned)) < 1000
    assert line.seed() == []


def test_a_feed_that_is_new_in_the_configuration_gets_a_tick_of_its_own(tmp_path: Path) -> None:
    before = Downloading(tmp_path, make("old", "http://127.0.0.1:1/"))
    before.seed()
    after = Downloading(
        tmp_path, make("old", "http://127.0.0.1:1/"), make("new", "http://127.0.0.1:1/"), cursors=before.cursors
    )

    assert [tick.feed for tick in after.seed()] == ["new"]


def test_a_feed_whose_period_gets_shorter_does_not_wait_for_the_tick_of_the_longer_one(
    server: WebServer, tmp_path: Path
) -> None:
    before = Downloading(tmp_path, make("ace", f"{server.url}/feed", period="7d"))
    _, waiting = before.handle_at_its_time(before.seed()[0])
    after = Downloading(tmp_path, make("ace", f"{server.url}/feed", period="10s"), cursors=before.cursors)
    after.now = before.now + 60

    [tick] = after.seed()

    assert tick.planned_ms < (after.now + 10) * 1000
    assert after.handle(waiting)[2] == "tick_superseded"
    assert after.handle_at_its_time(tick)[0].tick.outcome == "ok"
    assert after.seed() == []


def test_a_feed_whose_period_gets_longer_goes_on_with_its_tick(tmp_path: Path) -> None:
    before = Downloading(tmp_path, make("ace", "http://127.0.0.1:1/", period="10s"))
    before.seed()
    longer = Downloading(tmp_path, make("ace", "http://127.0.0.1:1/", period="7d"), cursors=before.cursors)
    assert longer.seed() == []

    again = Downloading(tmp_path, make("ace", "http://127.0.0.1:1/", period="10s"), cursors=longer.cursors)

    assert [tick.feed for tick in again.seed()] == ["ace"]


def test_a_chain_whose_period_was_not_noted_goes_on(tmp_path: Path) -> None:
    begun_ms = int(NOW * 1000) - 1_000_000
    line = Downloading(tmp_path, make("ace", "http://127.0.0.1:1/"), cursors={"feed:ace": str(begun_ms)})

    assert line.seed() == []
    assert line.cursors["feed:ace"] == f"{begun_ms} 10000"


def test_a_feed_whose_tick_was_lost_begins_anew_and_tells_what_it_missed(server: WebServer, tmp_path: Path) -> None:
    feeds = [make(name, f"{server.url}/feed", period="10m") for name in ("ace", "lost")]
    before = Downloading(tmp_path, *feeds)
    ace, lost = before.seed()
    _, lost = before.handle_at_its_time(lost)
    while ace.planned_ms < lost.planned_ms + 4 * 3_600_000:
        _, ace = before.handle_at_its_time(ace)
    after = Downloading(tmp_path, *feeds, cursors=before.cursors)
    after.now = before.now + 1

    [tick] = after.seed()

    assert (tick.feed, tick.planned_ms) == ("lost", lost.planned_ms)
    told, following, _ = after.handle(tick)
    assert told[0].tick and told[0].tick.outcome == "late"
    assert told[1].missed_from_ms == lost.planned_ms + 600_000
    assert following and following.planned_ms == (told[1].missed_to_ms or 0) + 600_000
    assert after.seed() == []


def test_a_machine_that_was_off_has_lost_no_tick(server: WebServer, tmp_path: Path) -> None:
    before = Downloading(tmp_path, make("ace", f"{server.url}/feed"))
    before.handle_at_its_time(before.seed()[0])
    after = Downloading(tmp_path, make("ace", f"{server.url}/feed"), cursors=before.cursors)
    after.now = NOW + 86_400

    assert after.seed() == []


def test_a_sign_of_life_is_noted_twice_an_hour(server: WebServer, tmp_path: Path) -> None:
    line = Downloading(tmp_path, make("ace", f"{server.url}/feed", period="1m"))
    [tick] = line.seed()
    noted = set()
    while line.now < NOW + 7200:
        _, tick = line.handle_at_its_time(tick)
        noted.add(line.cursors["seen:ace"])

    assert len(noted) == 5


def test_a_feed_that_left_the_configuration_ends_and_is_forgotten(line: Downloading) -> None:
    line.seed()

    told, following, dropped = line.handle(DueTick(feed="gone", planned_ms=int(NOW * 1000), chain=1))

    assert (told, following, dropped) == ([], None, "feed_removed")
    assert (line.cursors["feed:gone"], line.cursors["seen:gone"]) == ("", "")


def test_a_tick_of_a_feed_that_only_the_file_knows_is_taken(
    server: WebServer, line: Downloading, tmp_path: Path
) -> None:
    changed = tmp_path / "loglines.cfg"
    line.stage.feeds.table = line.table._replace(files=((changed, (1, 2, 3)),))
    line.table = Table({"new": make("new", f"{server.url}/feed")}, (), ())

    told, following, dropped = line.handle(DueTick(feed="new", planned_ms=int(NOW * 1000), chain=1))

    assert (told[0].tick and told[0].tick.outcome, dropped) == ("ok", "")
    assert following and following.feed == "new"


def test_a_feed_whose_configuration_has_a_fault_goes_on_and_says_so(line: Downloading) -> None:
    line.stage.feeds.table = Table({}, ("loglines.cfg:7 [feed_ace] url: bad URL",), ())

    told, following, dropped = line.handle(DueTick(feed="ace", planned_ms=int(NOW * 1000), chain=1))

    assert told[0].tick and told[0].tick.outcome == "failed"
    assert told[0].tick.error == "its configuration cannot be read: loglines.cfg:7 [feed_ace] url: bad URL"
    assert following and following.planned_ms > NOW * 1000
    assert (dropped, line.cursors) == ("", {"clock": str(int(NOW * 1000)), "seen:ace": str(int(NOW * 1000))})


def test_of_two_chains_of_a_feed_the_younger_goes_on(line: Downloading) -> None:
    [tick] = line.seed()

    assert line.handle(DueTick(feed="ace", planned_ms=tick.planned_ms, chain=tick.chain - 1))[2] == "tick_superseded"
    line.now += 10
    _, following, dropped = line.handle(DueTick(feed="ace", planned_ms=int(line.now * 1000), chain=tick.chain + 1))
    assert following and not dropped
    assert line.handle(tick)[2] == "tick_superseded"


def test_a_feed_that_begins_anew_cancels_its_timer_and_no_older_tick_replaces_the_new_one(
    server: WebServer, tmp_path: Path
) -> None:
    before = Downloading(tmp_path, make("ace", f"{server.url}/feed"))
    [old] = before.seed()
    after = Downloading(tmp_path, make("ace", f"{server.url}/feed"), cursors=before.cursors)
    after.now = NOW - 3600

    cancelled, begun = [outcome for outcome in after.stage.seed() if isinstance(outcome, Send)]
    raw = msgspec.json.encode(old)
    following = [outcome for outcome in before.stage.handle(Message(raw, raw)) if outcome.queue == "ticks@node"]

    assert (cancelled.key, cancelled.body) == (f"ace/{old.chain}", None)
    assert begun.key.startswith("ace/") and begun.body
    assert [send.key for send in following] == [cancelled.key] != [begun.key]


def test_after_the_clock_was_set_back_every_feed_starts_anew(server: WebServer, tmp_path: Path) -> None:
    before = Downloading(tmp_path, make("ace", f"{server.url}/feed"))
    _, waiting = before.handle_at_its_time(before.seed()[0])
    after = Downloading(tmp_path, make("ace", f"{server.url}/feed"), cursors=before.cursors)
    after.now = NOW - 3600

    [tick] = after.seed()

    assert tick.planned_ms < (after.now + 10) * 1000
    assert after.handle_at_its_time(tick)[0].tick.outcome == "ok"
    after.now = NOW + 10
    assert after.handle(waiting)[2] == "tick_superseded"


# Killed workers


def test_a_tick_that_a_killed_worker_held_takes_its_turn_beside_the_others(
    server: WebServer, line: Downloading
) -> None:
    [tick] = line.seed()

    told, following, _ = line.handle(tick, deliveries=1)

    assert told == []
    assert server.asked == []
    assert following and (following.planned_ms, following.kills) == (tick.planned_ms, 1)
    told_then, after = line.handle_at_its_time(following)
    assert told_then.tick.outcome == "ok"
    assert after.kills == 0


def test_what_the_killed_worker_left_on_the_disk_goes(line: Downloading) -> None:
    [tick] = line.seed()
    path = line.stage.folders.download("ace", tick.planned_ms, "pb")
    path.parent.mkdir(parents=True)
    for name in (f"{path.stem}.4711.part", f"{path.stem}-01234567.pb"):
        path.with_name(name).write_bytes(b"half")
    other = path.with_name("ace-2020-01-01T000000.000Z-89abcdef.pb")
    other.write_bytes(b"another tick's")

    told, _ = line.handle_at_its_time(line.handle(tick, deliveries=1)[1])  # type: ignore[arg-type]

    assert set(path.parent.iterdir()) == {other, line.root / told.file}


def test_a_body_that_the_killed_worker_completed_is_told_of_however_late(server: WebServer, line: Downloading) -> None:
    [tick] = line.seed()
    line.now = tick.planned_ms / 1000
    told, _, _ = line.handle(tick)
    line.now += 60

    again, following, _ = line.handle(msgspec.structs.replace(tick, kills=1), deliveries=1)

    assert [(one.file, one.tick and one.tick.sha256, one.found) for one in again] == [
        (told[0].file, hashlib.sha256(CAPTURE).hexdigest(), True)
    ]
    assert (line.root / told[0].file).read_bytes() == CAPTURE
    assert len(server.asked) == 1
    assert following and following.planned_ms == FeedTiming("ace", 10_000).next_after(tick.planned_ms)
    assert (following.validators, following.kills) == (None, 0)


def test_it_goes_too_when_the_tick_is_too_late_to_be_taken_again(line: Downloading) -> None:
    [tick] = line.seed()
    path = line.stage.folders.download("ace", tick.planned_ms, "pb")
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.stem}.4711.part").write_bytes(b"half")
    line.now = tick.planned_ms / 1000 + 60

    line.handle(tick, deliveries=1)

    assert list(path.parent.iterdir()) == []


def test_a_tick_that_kills_every_worker_is_given_up_and_the_feed_goes_on(server: WebServer, line: Downloading) -> None:
    [tick] = line.seed()
    for _ in range(3):
        _, following, _ = line.handle(tick, deliveries=1)
        assert following
        tick = following

    told, following = line.handle_at_its_time(tick)

    assert (told.tick.outcome, told.tick.error) == ("failed", "its worker vanished 3 times")
    assert server.asked == []
    assert (following.planned_ms, following.kills) == (FeedTiming("ace", 10_000).next_after(tick.planned_ms), 0)


def test_a_download_beside_the_planned_ones_is_followed_by_none(server: WebServer, line: Downloading) -> None:
    line.seed()
    for answer, outcome in ((server.answers["/feed"], "ok"), (status("500 Oops"), "failed")):
        server.answers["/feed"] = answer

        told, following, dropped = line.handle(DueTick(feed="ace", planned_ms=int(line.now * 1000), once=True))

        assert told[0].tick and told[0].tick.outcome == outcome
        assert (following, dropped) == (None, "")


def test_a_download_beside_the_planned_ones_is_never_late(server: WebServer, line: Downloading) -> None:
    told, following, _ = line.handle(DueTick(feed="ace", planned_ms=int(line.now * 1000) - 60_000, once=True))

    assert [one.tick.outcome for one in told if one.tick] == ["ok"]
    assert following is None


def test_the_books_count_what_became_of_ticks(server: WebServer, line: Downloading) -> None:
    _, tick = line.handle_at_its_time(line.seed()[0])
    server.answers["/feed"] = status("500 Oops")
    _, tick = line.handle_at_its_time(tick)
    line.now += 100
    line.handle(tick)

    assert line.stage.context.counts == {"bodies": 1, "failed": 1, "late": 1}


def test_a_feed_whose_timer_is_gone_begins_anew_once_nothing_is_under_way(line: Downloading) -> None:
    [first] = line.seed()
    generation = line.cursors["feed:ace"].split()[0]

    known = []
    for timers in (None, {f"ace/{generation}"}, set()):
        line.stage.context.waiting_timers = timers
        known.append(line.seed())

    assert known[:2] == [[], []] and [tick.feed for tick in known[2]] == ["ace"]
    assert int(line.cursors["feed:ace"].split()[0]) > int(generation) and first.feed == "ace"
