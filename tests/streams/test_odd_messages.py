"""Whatever a server sends or a disk damages: the stream goes on, and what cannot be kept is a gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aggregator.runtime.kinds import MOST_BYTES, encode
from aggregator.streams.journal import folder_of
from aggregator.streams.messages import Event
from tests.feeds.webserver import Talk
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.ssedouble import SseDouble, sent


class Open(SseDouble):
    """A server that refuses nobody."""

    def refusal(self, path: str, headers: dict[str, str]) -> tuple[str, Any] | None:
        return None


def events(*parts: tuple[str, bytes]) -> Any:
    """Play events with these ids and this data, and end."""
    return sent([b"retry: 1\n", *(b"id: %b\ndata: %b\n\n" % (id_.encode(), data) for id_, data in parts)])


def captured_from(double: Open, root: Path, **options: Any) -> Captured:
    return Captured(root, type="sse", url=double.server.url, **options)


def asked(double: Open) -> list[str]:
    """Return what the server was asked to go on behind."""
    return [each.encode("latin-1").decode() for each in double.last_ids]


def test_an_id_is_sent_back_as_utf_8_whatever_its_letters_are(tmp_path: Path) -> None:
    plays = [events(("日本 é", b"1")), events(("\u00e9", b"2"))]
    with Open(*plays) as double, captured_from(double, tmp_path) as captured:
        captured.until(lambda: len(double.last_ids) == 3)

    assert asked(double) == ["", "日本 é", "é"]


def test_an_id_that_is_too_long_is_passed_over_and_the_stream_goes_on_behind_the_one_before(tmp_path: Path) -> None:
    play = events(("a" * 4096, b"1"), ("b" * 4097, b"2"), ("é" * 2049, b"3"), ("c" * 70_000, b"4"))
    with Open(play) as double, captured_from(double, tmp_path) as captured:
        captured.until(lambda: len(double.last_ids) == 2)
        captured.until(lambda: len(captured.events) == 4)

    assert asked(double) == ["", "a" * 4096]
    assert [each["id"] for each in captured.of_kind("event")] == ["a" * 4096, "", "", ""]
    assert captured.counts["id_too_long"] == 3


def test_a_message_that_is_too_large_for_the_queue_is_a_gap_and_the_stream_goes_on_behind_it(tmp_path: Path) -> None:
    fits = (MOST_BYTES - len(encode(Event(stream="s", received_ms=1_700_000_000_000, id="1")))) // 5

    def play(talk: Talk) -> None:
        long = b"3\nevent: %b" % (b"t" * 790_000)
        parts = [(b"1", b"\xff" * fits), (b"2", b"\xff" * 250_000), (long, b"[%b]" % (b" " * 300_000))]
        sent([b"id: %b\ndata: %b\n\n" % part for part in parts])(talk)

    with Open(play) as double, captured_from(double, tmp_path) as captured:
        captured.until(lambda: len(double.last_ids) == 2)
        captured.until(lambda: len(captured.gaps) == 2)

    [event] = captured.of_kind("event")
    assert event["text"] == "\\xff" * fits
    assert [(gap["cause"], gap["lost"]) for gap in captured.gaps] == [("too_large", 1)] * 2
    assert "250000 bytes" in captured.gaps[0]["detail"] and captured.counts["too_large"] == 2
    assert double.last_ids == ["", "3"]


def test_events_that_the_disk_damaged_before_they_were_handed_over_are_a_gap_and_a_finding(tmp_path: Path) -> None:
    play = sent([b'data: {"n":%d}\n\n' % n for n in range(9)], silent=True)
    folder = folder_of(tmp_path, "s")
    with Open(play) as double:
        with captured_from(double, tmp_path):
            wait_until(lambda: any(b'"n":8' in path.read_bytes() for path in folder.glob("*.journal")))
        [file] = [path for path in folder.glob("*.journal") if path.stat().st_size]
        file.write_bytes(file.read_bytes().replace(b'"n":4', b'"n":5'))
        with captured_from(double, tmp_path) as captured:
            captured.until(lambda: len(captured.events) == 8)

    assert [event["n"] for event in captured.events] == [0, 1, 2, 3, 5, 6, 7, 8]
    [gap] = [each for each in captured.gaps if each["cause"] == "damaged"]
    before, behind = (captured.of_kind("event")[n]["received_ms"] for n in (3, 4))
    assert (gap["from_ms"], gap["to_ms"]) == (before, behind)
    [report] = captured.context.reports.values()
    assert (report.code, report.level) == ("journal_damaged", "error")
