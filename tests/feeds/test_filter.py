"""The stage `filter`: each publication once, under its own time; what is none is set aside with its reason."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.transit import gtfs_realtime_pb2

from aggregator.config.tables import Table
from aggregator.errors import Reject, Retry, Unavailable
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.filter import Filter
from aggregator.feeds.filtering.state import decode_state
from aggregator.feeds.messages.ticks import Missed
from aggregator.runtime.contract import Send
from aggregator.runtime.message import Message
from tests.feeds.captures import capture, subway_captures
from tests.feeds.filtering import NOW_MS, Filtering
from tests.settling import settled

CAPTURES = [body for _, body in subway_captures()]


@pytest.fixture
def line(tmp_path: Path) -> Filtering:
    return Filtering(tmp_path)


def stamped(body: bytes, timestamp: int) -> bytes:
    """Return a capture with another header timestamp."""
    message: Any = gtfs_realtime_pb2.FeedMessage.FromString(body)  # type: ignore[attr-defined]
    message.header.timestamp = timestamp
    return bytes(message.SerializeToString())


# Publications


def test_a_publication_is_named_by_its_own_time_and_moves_into_its_hour(line: Filtering) -> None:
    filtered = line.take(CAPTURES[0])

    assert filtered.publication == "ace-2024-02-08T125915Z.pb"
    assert filtered.published_ms == filtered.tick.header_ms == 1707397155000
    assert filtered.tick.outcome == "ok"
    folder = line.folders.publications / "ace" / "2024-02-08T120000Z"
    assert (folder / filtered.publication).read_bytes() == CAPTURES[0]
    assert line.downloads() == []


def test_what_is_told_has_all_that_the_manifest_wants(line: Filtering) -> None:
    filtered = line.take(CAPTURES[0])

    assert (filtered.feed, filtered.url, filtered.period_ms, filtered.node) == (
        "ace", "http://x.example/ace", 10_000, "here"
    )  # fmt: skip
    tick = filtered.tick
    assert (tick.planned_ms, tick.started_ms, tick.ended_ms) == (NOW_MS + 10_000, NOW_MS + 10_005, NOW_MS + 10_090)
    assert (tick.status, tick.size_bytes) == (200, len(CAPTURES[0]))
    assert len(tick.sha256) == 64 and len(tick.entities) == 16


def test_the_hour_is_as_long_as_the_bundle_says(tmp_path: Path) -> None:
    line = Filtering(tmp_path, bundle="10m")

    line.take(CAPTURES[0])

    assert [path.name for path in (line.folders.publications / "ace").iterdir()] == ["2024-02-08T125000Z"]


def test_the_same_bytes_are_one_publication(line: Filtering) -> None:
    line.take(CAPTURES[0])

    again = line.take(CAPTURES[0])

    assert (again.tick.outcome, again.publication, again.published_ms) == ("same", "", None)
    assert again.tick.header_ms == 1707397155000
    assert len(line.publications()) == 1
    assert line.downloads() == []


def test_they_are_known_again_after_others_and_after_a_restart_and_when_the_file_is_archived(line: Filtering) -> None:
    for body in CAPTURES[:6]:
        line.take(body)
    line.restart()
    for path in line.folders.publications.rglob("*.pb"):
        path.unlink()

    assert line.take(CAPTURES[2]).tick.outcome == "same"


def test_bytes_that_came_long_ago_are_known_by_the_file_that_is_still_there(line: Filtering) -> None:
    old = line.take(CAPTURES[0])
    for number in range(20):
        line.take(stamped(CAPTURES[1], 1707397200 + number))

    again = line.take(CAPTURES[0])

    assert (again.tick.outcome, again.tick.header_ms) == ("same", old.tick.header_ms)
    assert len(line.publications()) == 21
    assert decode_state(line.cursors["feed:ace"]).changed_ms == again.tick.started_ms


def test_other_bytes_under_the_same_timestamp_are_kept_beside_it(line: Filtering) -> None:
    one = capture("gtfsrt/nyct_subways_gtfs_rt.2024-03-19T00-35-46-04-00.pb")
    other = capture("gtfsrt/nyct_subways_gtfs_rt.2024-03-19T00-35-49-04-00.pb")

    first, second = line.take(one), line.take(other)

    assert first.publication == "ace-2024-03-19T043546Z.pb"
    assert second.publication == f"ace-2024-03-19T043546Z-{second.tick.sha256[:8]}.pb"
    assert first.published_ms == second.published_ms
    assert first.tick.entities != second.tick.entities
    assert line.publications() == {first.publication: one, second.publication: other}
    assert [line.take(body).tick.outcome for body in (one, other)] == ["same", "same"]


def test_they_are_kept_apart_when_the_first_is_archived_already(line: Filtering) -> None:
    first = line.take(stamped(CAPTURES[0], 1707397155))
    for path in line.folders.publications.rglob("*.pb"):
        path.unlink()

    second = line.take(stamped(CAPTURES[1], 1707397155))

    assert second.publication != first.publication
    assert second.publication.startswith("ace-2024-02-08T125915Z-")


def test_two_feeds_that_take_turns_under_one_name_are_both_kept(line: Filtering) -> None:
    outcomes = [line.take(CAPTURES[turn % 2 + turn // 4]).tick for turn in range(12)]

    assert len(line.publications()) == 4
    assert [tick.outcome for tick in outcomes].count("ok") == 4


def test_each_feed_has_publications_of_its_own(line: Filtering) -> None:
    assert line.take(CAPTURES[0], feed="one").tick.outcome == "ok"
    assert line.take(CAPTURES[0], feed="two").tick.outcome == "ok"
    assert sorted(line.publications()) == ["one-2024-02-08T125915Z.pb", "two-2024-02-08T125915Z.pb"]


@pytest.mark.parametrize(
    ("name", "timestamp", "extension"),
    [
        ("gbfs/station_status.json", "gbfs", "json"),
        ("siri/sirilike-empty.xml", "siri", "xml"),
        ("rss/pet_atom.xml", "rss", "xml"),
        ("rss/encoding_ISO-8859-1.xml", "rss", "xml"),
        ("gtfsrt/mbta-2023-05-22-vehiclepositions.pb", "gtfs-realtime", "pb"),
        ("json/vehicle_position_1683740698.json", "json:/header/timestamp", "json"),
    ],
)
def test_feeds_of_every_kind_are_named_by_their_own_time(
    line: Filtering, name: str, timestamp: str, extension: str
) -> None:
    filtered = line.take(capture(name), timestamp=timestamp, extension=extension, format="other")

    assert filtered.tick.outcome == "ok"
    assert filtered.tick.entities == ""
    assert filtered.publication.endswith(f"Z.{extension}")


def test_a_feed_without_a_time_is_named_by_the_download(line: Filtering) -> None:
    filtered = line.take(b"anything", timestamp="none", format="other", extension="txt")

    assert filtered.publication == "ace-2027-01-15T080010Z.txt"
    assert filtered.published_ms == NOW_MS + 10_005


def test_a_feed_is_named_by_its_headers_when_told_so(line: Filtering) -> None:
    headers = {"last-modified": "Thu, 08 Feb 2024 12:59:15 GMT"}

    filtered = line.take(b"anything", timestamp="http", format="other", headers=headers)

    assert filtered.publication == "ace-2024-02-08T125915Z.pb"


def test_a_time_just_before_the_full_hour_is_told_within_the_hour_it_is_kept_in(line: Filtering) -> None:
    body = b'{"t": "2024-02-08T12:59:59.9997Z"}'

    filtered = line.take(body, timestamp="json:/t", format="json", extension="json")

    assert filtered.publication == "ace-2024-02-08T125959Z.json"
    assert filtered.published_ms == filtered.tick.header_ms == 1707397199999
    assert (line.folders.publications / "ace" / "2024-02-08T120000Z" / filtered.publication).exists()


def test_a_feed_without_a_time_that_goes_back_to_what_it_was_says_something_new(line: Filtering) -> None:
    ticks = [line.take(body, timestamp="none", format="other").tick for body in (b"on", b"off", b"on", b"on", b"off")]

    assert [tick.outcome for tick in ticks] == ["ok", "ok", "ok", "same", "ok"]
    assert ticks[3].header_ms == ticks[2].header_ms
    assert list(line.publications().values()).count(b"on") == 2


def test_a_feed_named_by_its_headers_that_goes_back_says_something_new_when_they_do(line: Filtering) -> None:
    times = [f"Thu, 08 Feb 2024 12:59:{second} GMT" for second in (15, 25, 35, 35, 15)]

    ticks = [
        line.take(body, timestamp="http", format="other", headers={"last-modified": time}).tick
        for body, time in zip((b"on", b"off", b"on", b"off", b"on"), times, strict=True)
    ]

    # the fourth is other bytes under the third's time, the fifth is the first once more
    assert [tick.outcome for tick in ticks] == ["ok", "ok", "ok", "ok", "same"]
    assert sorted(line.publications()) == [
        "ace-2024-02-08T125915Z.pb",
        "ace-2024-02-08T125925Z.pb",
        f"ace-2024-02-08T125935Z-{ticks[3].sha256[:8]}.pb",
        "ace-2024-02-08T125935Z.pb",
    ]


def test_a_plugin_reads_the_file_itself(line: Filtering) -> None:
    plugin = "from pathlib import Path\ndef read(path):\n    return int(Path(path).read_text())\n"
    (line.root / "oddtimes.py").write_text(plugin)
    line.configure(timestamp="oddtimes:read")

    assert (
        line.take(b"1707397155", timestamp="oddtimes:read", format="other").publication == "ace-2024-02-08T125915Z.pb"
    )
    assert line.take(b"-1", timestamp="oddtimes:read", format="other").tick.outcome == "invalid"
    assert "ValueError" in line.take(b"soon", timestamp="oddtimes:read", format="other").tick.error


# What is odd


def test_a_timestamp_that_goes_back_is_kept_and_flagged(line: Filtering) -> None:
    now = NOW_MS // 1000
    for number, body in enumerate(CAPTURES[:3]):
        assert line.take(stamped(body, now + number)).tick.flags == ()

    filtered = line.take(stamped(CAPTURES[0], now - 100))

    assert (filtered.tick.outcome, filtered.tick.flags) == ("ok", ("backwards",))
    assert filtered.publication in line.publications()


def test_a_timestamp_far_in_the_future_is_kept_and_flagged_and_spoils_nothing_after_it(line: Filtering) -> None:
    now = NOW_MS // 1000
    future = line.take(stamped(CAPTURES[0], now + 4000))
    soon = line.take(stamped(CAPTURES[1], now + 600))
    usual = line.take(stamped(CAPTURES[2], now + 601))

    assert (future.tick.outcome, future.tick.flags) == ("ok", ("future",))
    assert (soon.tick.flags, usual.tick.flags) == ((), ())


YEAR = 31_557_600


@pytest.mark.parametrize(
    ("published", "flags"), [(NOW_MS // 1000 - 2 * YEAR + 60, ()), (NOW_MS // 1000 - 2 * YEAR - 60, ("past",))]
)
def test_a_timestamp_of_long_ago_is_kept_and_told_of(line: Filtering, published: int, flags: tuple[str, ...]) -> None:
    filtered = line.take(stamped(CAPTURES[0], published))

    assert (filtered.tick.outcome, filtered.tick.flags) == ("ok", flags)
    assert [about for _, about in line.stage.context.reports] == ["ace"] * len(flags)
    line.take(stamped(CAPTURES[0], NOW_MS // 1000))
    assert not line.stage.context.reports


@pytest.mark.parametrize(
    ("published", "words"),
    [
        (NOW_MS // 1000 + 2 * YEAR + 60, "2.0 years after the download; allowed: 2 years"),
        (18_446_744_073, "of 2554-07-21T23:34:33Z, 527.5 years after the download"),
        (20_261_128, "of 1970-08-23T12:05:28Z; allowed: from 1990 on"),
        (2_026_112_805_0, "years after the download"),
    ],
)
def test_a_timestamp_that_no_feed_can_be_of_is_invalid(line: Filtering, published: int, words: str) -> None:
    filtered = line.take(stamped(CAPTURES[0], published))

    assert (filtered.tick.outcome, filtered.publication) == ("invalid", "")
    assert words in filtered.tick.error
    assert len(line.rejected()) == 2


FAR = "3027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("timestamp", "body", "headers"),
    [
        ("gbfs", b'{"last_updated":33358665600}', {}),
        ("gbfs", f'{{"last_updated":"{FAR}"}}'.encode(), {}),
        ("siri", f"<ResponseTimestamp>{FAR}</ResponseTimestamp>".encode(), {}),
        ("json:/t", b'{"t":9999000000000}', {}),
        ("xml:t", b"<t>9999000000000000</t>", {}),
        ("rss", b"<feed><updated>3027-01-15T08:00:00Z</updated></feed>", {}),
        ("http", b"x", {"last-modified": "Mon, 15 Jan 3027 08:00:00 GMT"}),
        ("oddtimes:read", b"33358665600", {}),
    ],
)
def test_whatever_reads_the_time_one_that_is_far_off_is_not_filed(
    line: Filtering, timestamp: str, body: bytes, headers: dict[str, str]
) -> None:
    (line.root / "oddtimes.py").write_text(
        "from pathlib import Path\ndef read(path): return float(Path(path).read_text())\n"
    )
    line.configure(timestamp=timestamp, format="other")

    filtered = line.take(body, timestamp=timestamp, format="other", headers=headers)

    assert (filtered.tick.outcome, line.publications()) == ("invalid", {})
    assert "after the download" in filtered.tick.error


def test_a_time_written_as_digits_is_filed_under_that_moment(line: Filtering) -> None:
    filtered = line.take(b'{"updated":20270115080010}', timestamp="json:/updated", format="json", extension="json")

    assert filtered.publication == "ace-2027-01-15T080010Z.json"


def test_the_same_entities_under_new_timestamps_are_publications_with_one_hash(line: Filtering) -> None:
    ticks = [line.take(stamped(CAPTURES[0], 1707397155 + number)).tick for number in range(3)]

    assert [tick.outcome for tick in ticks] == ["ok"] * 3
    assert len({tick.entities for tick in ticks}) == 1
    assert len({tick.sha256 for tick in ticks}) == 3


@pytest.mark.parametrize("how", ["not_modified", "same", "new timestamps"])
def test_a_feed_that_answers_but_does_not_change_for_too_long_is_flagged(line: Filtering, how: str) -> None:
    def tick(number: int) -> Tick:
        told = {"after_s": 60.0, "stale_after_ms": 300_000}
        if how == "not_modified" and number:
            return line.handle(line.no_body("not_modified", **told)).tick  # type: ignore[arg-type]
        body = stamped(CAPTURES[0], 1707397155 + (number if how == "new timestamps" else 0))
        return line.take(body, **told).tick

    ticks = [tick(number) for number in range(8)]

    assert ["frozen" in tick.flags for tick in ticks] == [False] * 5 + [True] * 3
    assert line.stage.context.notes["frozen"] == "ace"
    assert "frozen" not in line.take(CAPTURES[1], stale_after_ms=300_000).tick.flags
    assert line.stage.context.notes["frozen"] == ""


def test_a_feed_that_goes_back_to_what_it_said_before_has_changed(line: Filtering) -> None:
    bodies = [CAPTURES[0], CAPTURES[1], CAPTURES[0], CAPTURES[0], CAPTURES[0]]

    ticks = [line.take(body, after_s=60.0, stale_after_ms=100_000).tick for body in bodies]

    assert [tick.outcome for tick in ticks] == ["ok", "ok", "same", "same", "same"]
    assert ["frozen" in tick.flags for tick in ticks] == [False, False, False, False, True]


def test_a_feed_that_does_not_answer_is_not_called_frozen(line: Filtering) -> None:
    line.take(CAPTURES[0])

    assert line.handle(line.no_body("failed", after_s=9999, stale_after_ms=1000)).tick.flags == ()


# What is no publication


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("13-truncated.pb", "no GTFS-realtime message"),
        ("14-empty-file.pb", "an empty body"),
        ("html-challenge-instead-of-pb.html", "(an HTML page)"),
        ("derived-nyct-ace.pb.gz", "(a gzip file whose headers do not say so)"),
        ("header-without-timestamp.pb", "without header.timestamp"),
    ],
)
def test_a_bad_body_is_set_aside_with_its_reason_and_headers(line: Filtering, name: str, reason: str) -> None:
    body = capture(f"gtfsrt-bad/{name}")

    filtered = line.take(body, headers={"content-type": "text/html"}, final_url="http://x.example/challenge")

    assert (filtered.tick.outcome, filtered.publication) == ("invalid", "")
    assert reason in filtered.tick.error
    rejected = line.rejected()
    assert rejected["ace-2027-01-15T080010.000Z.pb"].read_bytes() == body
    report = msgspec.json.decode(rejected["ace-2027-01-15T080010.000Z.pb.json"].read_bytes())
    assert report["reason"] == filtered.tick.error
    assert report["headers"] == {"content-type": "text/html"}
    assert (report["url"], report["final_url"]) == ("http://x.example/ace", "http://x.example/challenge")
    assert report["tick"]["sha256"] == filtered.tick.sha256
    assert (line.publications(), line.downloads()) == ({}, [])


def test_what_is_not_modified_since_a_bad_body_is_as_bad(line: Filtering) -> None:
    reason = line.take(capture("gtfsrt-bad/13-truncated.pb")).tick.error
    line.restart()

    ticks = [line.handle(line.no_body(outcome)).tick for outcome in ("not_modified", "failed", "not_modified")]

    since = ("invalid", f"not modified since: {reason}")
    assert [(tick.outcome, tick.error) for tick in ticks] == [since, ("failed", ""), since]
    line.take(CAPTURES[0])
    assert line.handle(line.no_body("not_modified")).tick.outcome == "not_modified"


@pytest.mark.parametrize("name", ["11-out-of-range-times.pb", "24-refresh-gap.pb", "25-header-went-back.pb"])
def test_what_is_only_odd_is_kept(line: Filtering, name: str) -> None:
    assert line.take(capture(f"gtfsrt-bad/{name}")).tick.outcome == "ok"


def test_rejected_bodies_are_bounded_by_age_also_of_a_feed_that_sends_no_more(tmp_path: Path) -> None:
    line = Filtering(tmp_path, rejected_age="1h")
    line.take(b"old", feed="once")
    line.take(CAPTURES[0], after_s=3000)
    line.take(b"new")

    line.take(CAPTURES[1], after_s=601)
    assert sorted(line.rejected()) == ["ace-2027-01-15T085020.000Z.pb", "ace-2027-01-15T085020.000Z.pb.json"]


def test_rejected_bodies_are_bounded_by_size_for_each_feed(tmp_path: Path) -> None:
    line = Filtering(tmp_path, rejected_size="100KB")
    line.take(bytes(1000), feed="other")
    for number in range(10):
        line.take(bytes([number]) * 4000)
    line.restart()

    sizes = []
    for number in range(10, 130):
        line.take(bytes([number]) * 4000)
        kept = [path for path in line.rejected().values() if path.parent.name == "ace"]
        sizes.append(sum(path.stat().st_size for path in kept))

    assert max(sizes) <= 100 * 1024 and min(sizes[20:]) > 80 * 1024
    assert max(path.name for path in kept) == "ace-2027-01-15T082150.000Z.pb.json"
    assert any("080010" in name for name in line.rejected() if name.startswith("other"))


def test_of_a_rejected_body_that_is_larger_than_the_bound_the_report_is_kept(tmp_path: Path) -> None:
    line = Filtering(tmp_path, rejected_size="10KB")

    line.take(bytes(11_000))

    assert list(line.rejected()) == ["ace-2027-01-15T080010.000Z.pb.json"]


def test_a_stray_file_or_folder_among_the_rejected_is_passed_over(tmp_path: Path) -> None:
    line = Filtering(tmp_path, rejected_size="10KB", rejected_age="1h")
    (line.folders.rejected / "ace" / "a folder").mkdir(parents=True)
    (line.folders.rejected / "a file").touch()

    for number in range(10):
        line.take(bytes([number]) * 4000, after_s=3000)

    assert {"ace-2027-01-15T162000.000Z.pb", "a file"} < set(line.rejected())


def test_a_body_stays_where_it_was_until_the_report_on_it_is_written(line: Filtering) -> None:
    message = line.download(b"rubbish")
    part = line.folders.rejected / "ace" / f"ace-2027-01-15T080010.000Z.pb.{os.getpid()}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="No space left"):
        line.handle(message)
    assert [path.read_bytes() for path in line.downloads()] == [b"rubbish"]

    assert line.handle(message).tick.outcome == "invalid"
    assert len(line.rejected()) == 2


def test_a_file_that_changed_on_the_disk_is_no_publication(line: Filtering) -> None:
    message = line.download(CAPTURES[0])
    line.downloads()[0].write_bytes(CAPTURES[1])

    assert line.handle(message).tick.error == "the file is not what was downloaded"


def test_a_file_that_somebody_took_away_is_told_as_that(line: Filtering) -> None:
    message = line.download(CAPTURES[0])
    line.downloads()[0].unlink()

    filtered = line.handle(message)

    assert (filtered.tick.outcome, filtered.tick.error) == ("invalid", "the downloaded file has gone")
    [report] = line.stage.context.reports.values()
    assert (report.code, report.about, report.lasting) == ("download_gone", "ace", True)


# What goes through


@pytest.mark.parametrize("outcome", ["failed", "late", "not_modified"])
def test_a_tick_without_a_body_goes_on_as_it_is(line: Filtering, outcome: str) -> None:
    filtered = line.handle(line.no_body(outcome))

    assert (filtered.tick.planned_ms, filtered.tick.outcome, filtered.tick.flags) == (NOW_MS + 10_000, outcome, ())
    assert (filtered.publication, filtered.published_ms) == ("", None)


def test_a_row_of_missed_ticks_goes_on_as_it_is(line: Filtering) -> None:
    [outcome] = list(line.stage.handle(line.message(None, missed_from_ms=1000, missed_to_ms=5000)))

    assert isinstance(outcome, Send)
    assert msgspec.json.decode(outcome.body, type=Missed) == Missed(  # type: ignore[arg-type]
        feed="ace", missed_from_ms=1000, missed_to_ms=5000, url="http://x.example/ace", period_ms=10_000, node="here"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "/etc/passwd"},
        {"file": "data/feeds/downloads/ace/../../../../loglines.cfg"},
        {"file": "data/feeds/downloads/other/x.pb"},
        {"feed": "../x", "file": "data/feeds/downloads/x.pb"},
        {"extension": "../x"},
        {"tick": None},
    ],
)
def test_a_message_that_names_other_files_is_set_aside(line: Filtering, changes: dict[str, Any]) -> None:
    told = msgspec.json.decode(line.download(CAPTURES[0]).raw) | changes
    raw = msgspec.json.encode(told)

    with pytest.raises(Reject):
        list(line.stage.handle(Message(raw, raw)))


def test_a_plugin_that_cannot_be_imported_is_tried_again(line: Filtering) -> None:
    line.configure(timestamp="plugins.nowhere:read")
    with pytest.raises(Retry, match=r"cannot import plugins\.nowhere"):
        line.handle(line.download(b"x", timestamp="plugins.nowhere:read"))
    assert len(line.downloads()) == 1


# What is executed and opened comes from the configuration


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_plugin_that_a_message_names_is_never_imported(line: Filtering, is_configured: bool) -> None:
    (line.root / "evil.py").write_text(f"open({str(line.root / 'executed')!r}, 'w')\ndef read(path):\n    return 1\n")
    if is_configured:
        line.configure(timestamp="gtfs-realtime")
    message = line.download(CAPTURES[0], timestamp="evil:read")

    if is_configured:
        assert line.handle(message).tick.outcome == "ok"
    else:
        with pytest.raises(Reject, match="no configured feed any more, and messages name no plugins"):
            line.handle(message)
        assert len(line.downloads()) == 1
    assert not (line.root / "executed").exists()


def test_a_body_is_judged_by_the_configuration_and_not_by_its_message(line: Filtering) -> None:
    line.configure(timestamp="gtfs-realtime", stale_after="5s", extension="gtfsrt")
    filtered = line.take(CAPTURES[0], timestamp="none", url="http://evil.example/", extension="pb")

    assert filtered.publication == "ace-2024-02-08T125915Z.gtfsrt"
    assert filtered.url == "http://x.example/ace"
    assert "frozen" in line.take(CAPTURES[0], timestamp="none").tick.flags


def test_a_body_from_before_a_change_of_the_configuration_is_read_as_it_was_configured_then(line: Filtering) -> None:
    line.configure(timestamp="gbfs", extension="json")
    filtered = line.take(CAPTURES[0], timestamp="gtfs-realtime")

    assert (filtered.tick.outcome, filtered.publication) == ("ok", "ace-2024-02-08T125915Z.pb")


def test_a_body_that_no_description_fits_is_rejected_with_the_reason_of_the_configured_one(line: Filtering) -> None:
    line.configure(timestamp="gbfs", extension="json")

    assert "no JSON" in line.take(b"<html>", timestamp="gtfs-realtime").tick.error


def test_a_feed_whose_configuration_cannot_be_read_is_tried_again(line: Filtering) -> None:
    line.table = Table({}, ("loglines.cfg:7 [feed_ace] url: bad URL",), ())
    line.restart()

    with pytest.raises(Retry, match=r"cannot be read: loglines\.cfg:7"):
        line.handle(line.download(CAPTURES[0], timestamp="plugins.times:read"))
    assert line.handle(line.no_body("failed")).tick.outcome == "failed"


def test_a_disk_that_takes_nothing_pauses_the_filter(line: Filtering) -> None:
    message = line.download(CAPTURES[0])
    line.folders.publications.write_text("a file where the folder belongs")

    with pytest.raises(Unavailable, match="data/feeds/publications"):
        line.handle(message)
    line.folders.publications.unlink()
    assert line.handle(message).tick.outcome == "ok"


# Twice


def _same_again(line: Filtering) -> Message:
    line.take(CAPTURES[0])
    return line.download(CAPTURES[0])


def _variant(line: Filtering) -> Message:
    line.take(stamped(CAPTURES[0], 1707397155))
    return line.download(stamped(CAPTURES[1], 1707397155))


def _toggled(line: Filtering) -> Message:
    for body in (b"on", b"off"):
        line.take(body, timestamp="none", format="other")
    return line.download(b"on", timestamp="none", format="other")


CASES: dict[str, Callable[[Filtering], Message]] = {
    "ok": lambda line: line.download(CAPTURES[0]),
    "same": _same_again,
    "other bytes": _variant,
    "invalid": lambda line: line.download(b"<html>", headers={"date": "x"}),
    "failed": lambda line: line.no_body("failed"),
    "no time": lambda line: line.download(b"x", timestamp="none", format="other"),
    "no time, as before": _toggled,
}


@pytest.mark.parametrize("case", CASES)
def test_a_message_whose_worker_was_killed_before_the_commit_comes_to_the_same_again(
    line: Filtering, case: str
) -> None:
    message = CASES[case](line)
    first = line.handle(message, commit=False)
    files = {path: path.stat().st_mtime_ns for path in line.root.rglob("*") if path.is_file()}

    line.restart()
    second = line.handle(message, commit=False)

    assert second == first
    assert {path: path.stat().st_mtime_ns for path in line.root.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("case", ["ok", "other bytes", "no time", "no time, as before"])
def test_a_message_that_comes_again_after_its_publication_was_bundled_brings_it_again(
    line: Filtering, case: str
) -> None:
    message = CASES[case](line)
    first = line.handle(message, commit=False)
    bodies = line.publications()
    for path in line.folders.publications.rglob("*.pb"):
        path.unlink()

    line.restart()
    second = line.handle(message)

    assert (second, second.tick.outcome) == (first, "ok")
    assert line.publications() == {first.publication: bodies[first.publication]}


def test_bytes_known_by_an_old_file_are_the_same_also_when_their_message_comes_again(line: Filtering) -> None:
    line.take(CAPTURES[0])
    for number in range(20):
        line.take(stamped(CAPTURES[1], 1707397200 + number))
    message = line.download(CAPTURES[0])

    outcomes = [line.handle(message, commit=False).tick.outcome]
    line.restart()
    outcomes.append(line.handle(message).tick.outcome)

    assert outcomes == ["same", "same"]


def test_a_message_that_comes_again_though_it_was_committed_finds_its_publication(line: Filtering) -> None:
    message = line.download(CAPTURES[0])
    cursors = dict(line.cursors)
    first = line.handle(message)
    line.stop()

    line.cursors = cursors
    line.restart()
    (line.folders.publications / "ace" / "a stray file").touch()

    assert line.handle(message) == first
    assert list(line.publications()).count(first.publication) == 1


def test_a_body_is_kept_until_what_was_decided_on_it_is_committed(line: Filtering) -> None:
    line.handle(line.download(CAPTURES[0]), commit=False)
    settled(line.stage)
    before = line.decided()
    line.stage.committed()

    assert [path.name.startswith(".ace-2027-01-15T0800") for path in before] == [True]
    assert line.decided() == []


def test_what_a_killed_filter_kept_goes_at_the_next_start_but_not_what_was_not_committed(line: Filtering) -> None:
    line.take(CAPTURES[0])
    line.handle(line.download(CAPTURES[1]), commit=False)
    other = line.download(CAPTURES[2])
    (line.folders.downloads / "ace" / ".ace-1999-snapshots").mkdir()
    (line.folders.downloads / "ace" / ".directory").touch()
    line.restart()

    assert sorted(path.name for path in line.decided()) == [
        f".ace-2027-01-15T080020.000Z-{hashlib.sha256(CAPTURES[1]).hexdigest()[:8]}.pb",
        ".directory",
    ]
    assert line.handle(other).tick.outcome == "ok"


def test_a_filter_killed_at_random_decides_as_one_that_never_was(tmp_path: Path) -> None:
    chance = random.Random(5)
    bodies = [chance.choice([*CAPTURES[:4], b"bad", stamped(CAPTURES[5], 1707397155)]) for _ in range(60)]
    calm, troubled = Filtering(tmp_path / "calm"), Filtering(tmp_path / "troubled")
    expected = [calm.take(body) for body in bodies]
    results = []

    for body in bodies:
        message = troubled.download(body)
        while chance.random() < 0.4:
            troubled.handle(message, commit=False)
            troubled.restart()
        results.append(troubled.handle(message))

    assert results == expected
    assert troubled.publications() == calm.publications()


def test_what_is_remembered_shows_how_a_feed_does(line: Filtering) -> None:
    line.take(CAPTURES[0])
    line.take(CAPTURES[1])
    line.handle(line.no_body("failed"))

    state = decode_state(line.cursors["feed:ace"])

    assert (state.outcome, state.planned_ms) == ("failed", NOW_MS + 30_000)
    assert state.answered_ms == NOW_MS + 20_090
    assert state.published_ms == 1707397215000
    assert state.day_bytes == len(CAPTURES[0]) + len(CAPTURES[1])


@pytest.mark.parametrize(("days", "yesterday"), [(1, 1), (2, 0), (30, 0)])
def test_yesterday_is_the_day_before_and_not_the_last_on_which_something_came(
    line: Filtering, days: int, yesterday: int
) -> None:
    line.take(CAPTURES[0])
    line.take(CAPTURES[1], after_s=86_400.0 * days)

    state = decode_state(line.cursors["feed:ace"])

    assert state.day_bytes == len(CAPTURES[1])
    assert state.last_day_bytes == yesterday * len(CAPTURES[0])


# Configuration


def test_a_bundle_length_other_than_that_of_compress_is_refused() -> None:
    config = RawConfigParser()
    config.read_dict({"worker_compress": {"stage": "compress", "listento": "out", "bundle": "10m"}})
    settings = Filter.Settings(listento="in", pushto="out")

    assert list(Filter.check(settings, config)) == [("bundle", "[worker_compress] says 10m; both must say the same")]
    assert not list(Filter.check(msgspec.structs.replace(settings, bundle=600), config))
    assert not list(Filter.check(msgspec.structs.replace(settings, pushto="elsewhere"), config))
