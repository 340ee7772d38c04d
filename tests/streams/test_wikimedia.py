"""Wikimedia's streams, against a double of its server."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.streams.platforms.table import PLATFORMS
from tests.feeds.webserver import status
from tests.streams.capturing import Captured
from tests.streams.ssedouble import Wikimedia, sent


def wikimedia(double: Wikimedia, root: Path) -> Captured:
    return Captured(root, type="wikimedia", url=f"{double.server.url}/v2/stream/")


def test_a_connection_that_is_cut_every_quarter_of_an_hour_leaves_no_gap(tmp_path: Path) -> None:
    double = Wikimedia()
    events = [double.event(n) for n in range(30)]
    double.plays = [
        sent([b":ok\n\n", *events[:10], events[10][:40]]),
        sent([b":ok\n\n", *events[10:20]]),
        sent([b":ok\n\n", *events[20:]], silent=True),
    ]
    with double, wikimedia(double, tmp_path) as captured:
        captured.until(lambda: len(captured.events) == 30)

    assert [event["n"] for event in captured.events] == list(range(30))
    assert captured.gaps == []
    assert [mark.partition('"offset":')[2].partition("}")[0] for mark in double.last_ids] == ["", "9", "19"]
    assert double.paths == [("/v2/stream/recentchange", {})] * 3
    assert double.faults == []


def test_a_restart_goes_on_where_the_last_commit_was(tmp_path: Path) -> None:
    double = Wikimedia()
    double.plays = [sent([double.event(n) for n in range(5)], silent=True), sent([double.event(5)], silent=True)]
    with double:
        captured = wikimedia(double, tmp_path)
        with captured:
            captured.until(lambda: len(captured.events) == 5)
        with captured:
            captured.until(lambda: len(captured.events) == 6)

    assert '"offset":4}' in double.last_ids[1]
    assert captured.gaps == []


def test_canaries_are_counted_and_passed_over(tmp_path: Path) -> None:
    double = Wikimedia()
    double.plays = [sent([double.event(0), double.event(1, domain="canary"), double.event(2)], silent=True)]
    with double, wikimedia(double, tmp_path) as captured:
        captured.until(lambda: len(captured.events) == 2)

    assert [event["n"] for event in captured.events] == [0, 2]
    assert captured.counts["canary"] == 1


def test_a_server_that_is_busy_is_asked_again_when_it_says(tmp_path: Path) -> None:
    double = Wikimedia(status("503 Service Unavailable", Retry_After="1"))
    with double, wikimedia(double, tmp_path) as captured:
        captured.until(lambda: captured.of_kind("connection"))

    assert double.asked_at[1] - double.asked_at[0] >= 1.0
    assert captured.counts["failed_connects"] == 1


def test_silence_ends_a_connection_and_nothing_is_missing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLATFORMS, "wikimedia", PLATFORMS["wikimedia"]._replace(stall_s=0.5))
    double = Wikimedia()
    double.plays = [sent([double.event(0)], silent=True), sent([double.event(1)], silent=True)]
    with double, wikimedia(double, tmp_path) as captured:
        captured.until(lambda: len(captured.events) == 2)

    assert captured.counts["disconnects"] >= 1
    assert captured.gaps == []
