"""Mastodon's streams, against a double of its server."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from aggregator.streams.aliveness import Aliveness, write_aliveness
from aggregator.streams.platforms.table import PLATFORMS
from tests.feeds.webserver import Talk, status
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.ssedouble import TOKEN, Mastodon, sent

DATA = Path(__file__).parent / "data"
UPDATE = (DATA / "mastodon-user.sse").read_bytes()
CONVERSATION = (DATA / "mastodon-direct.sse").read_bytes()
DELETE = b"event: delete\ndata: 117024248092393661\n\n"
EDIT = b'event: status.update\ndata: {"id":"117024248092393661"}\n\n'


def mastodon(double: Mastodon, root: Path, **options: str) -> Captured:
    return Captured(root, TOKEN, **{"type": "mastodon", "url": double.server.url, **options})


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_genuine_answers_come_as_they_were_sent_however_they_are_cut(tmp_path: Path, size: int) -> None:
    wire = UPDATE + b"\n" + CONVERSATION + b"\n" + DELETE + EDIT
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    with Mastodon(sent(pieces)) as double, mastodon(double, tmp_path, endpoint="user") as captured:
        captured.until(lambda: len(captured.of_kind("event")) == 4)
        found = captured.of_kind("event")

    data = [line[6:] for line in wire.splitlines() if line.startswith(b"data: ")]
    assert [each["type"] for each in found] == ["update", "conversation", "delete", "status.update"]
    assert [each["event"] for each in found] == [msgspec.json.decode(text) for text in data]
    assert double.paths[0] == ("/api/v1/streaming/user", {})
    assert double.faults == []


def test_a_hashtag_is_asked_for_by_its_name(tmp_path: Path) -> None:
    with Mastodon() as double, mastodon(double, tmp_path, endpoint="hashtag", track="#caturday") as captured:
        captured.until(lambda: captured.of_kind("connection"))
        assert double.paths == [("/api/v1/streaming/hashtag", {"tag": "caturday"})]


def test_a_stream_without_a_token_is_refused_and_says_so(tmp_path: Path) -> None:
    with Mastodon() as double, Captured(tmp_path, type="mastodon", url=double.server.url) as captured:
        captured.until(lambda: captured.context.reports)
        [report] = captured.context.reports.values()

    assert report.code == "credential_refused"
    assert "Missing access token" in report.text
    assert double.faults == ["401 Unauthorized"]


def test_what_a_cut_connection_missed_is_a_gap_because_nothing_can_be_asked_for_again(tmp_path: Path) -> None:
    with (
        Mastodon(sent([EDIT, b"event: update\ndata: {"]), sent([DELETE], silent=True)) as double,
        mastodon(double, tmp_path) as captured,
    ):
        captured.until(lambda: len(captured.of_kind("event")) == 2)
        [gap] = captured.gaps

    assert gap["cause"] == "disconnect"
    assert captured.counts["partial"] == 1
    assert double.last_ids == ["", ""]


def test_what_a_gap_cost_is_estimated_by_the_pace_before_it(tmp_path: Path) -> None:
    with (
        Mastodon(sent([DELETE] * 300, pause_s=0.005), sent([EDIT], silent=True)) as double,
        mastodon(double, tmp_path) as captured,
    ):
        captured.until(lambda: len(captured.of_kind("event")) == 301)
        [gap] = captured.gaps

    assert 1 <= gap["lost"] <= 300 * (gap["to_ms"] - gap["from_ms"]) / 1000
    assert "lost is estimated" in gap["detail"]


def test_what_a_killed_process_missed_is_estimated_by_the_pace_that_it_noted(tmp_path: Path) -> None:
    note = tmp_path / "data/streams/.s.alive"
    note.parent.mkdir(parents=True)
    write_aliveness(note, Aliveness(int(time.time() * 1000) - 60_000, "", 2.5))
    with Mastodon() as double, mastodon(double, tmp_path) as captured:
        captured.until(captured.has_gaps)
        [gap] = captured.gaps

    assert (gap["cause"], gap["lost"] // 10) == ("killed", 15)


def test_thumps_keep_a_quiet_stream_and_silence_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLATFORMS, "mastodon", PLATFORMS["mastodon"]._replace(stall_s=1.0))
    thumps = sent([b":thump\n"] * 30, pause_s=0.1, silent=True)
    with Mastodon(thumps) as double, mastodon(double, tmp_path) as captured:
        captured.until(captured.has_gaps)
        [gap] = captured.gaps

    assert gap["cause"] == "stall"
    assert double.asked_at[1] - double.asked_at[0] >= 3.0


def test_the_end_of_a_limit_is_read_as_mastodon_writes_it(tmp_path: Path) -> None:
    def limited(talk: Talk) -> None:
        reset = (datetime.now(timezone.utc) + timedelta(seconds=120)).isoformat().replace("+00:00", "Z")
        status("429 Too Many Requests", X_RateLimit_Remaining="0", X_RateLimit_Reset=reset)(talk)

    with Mastodon(limited) as double, mastodon(double, tmp_path) as captured:
        wait_until(lambda: "again" in captured.context.notes.get("connection", ""), 30, "the limit was told")
        note = captured.context.notes["connection"]

    assert 100 < float(note.removeprefix("again in ").partition(" s")[0]) <= 120


def test_time_before_the_first_connection_is_missing_too(tmp_path: Path) -> None:
    refused = status("503 Service Unavailable")
    with Mastodon(refused) as double, mastodon(double, tmp_path) as captured:
        captured.until(captured.has_gaps)
        [gap] = captured.gaps

    assert gap["cause"] == "http"
    assert gap["to_ms"] - gap["from_ms"] >= 5000
