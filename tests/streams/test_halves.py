"""An event with half a character, which the grammar of JSON allows, is an event like the others all the way."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from aggregator.runtime.kinds import decode, encode
from aggregator.streams.exporting.deletions import Deletions
from aggregator.streams.exporting.forms import FORMATS, open_part
from aggregator.streams.exporting.notes import Notes
from aggregator.streams.exporting.selection import Line
from aggregator.streams.halves import without_halves
from aggregator.streams.kafkarecord import Shaping, Wrapping
from aggregator.streams.messages import Event
from aggregator.streams.reading.events import shape_of
from aggregator.streams.recording.lines import line_of
from tests.servers import wait_until
from tests.streams.capturing import Captured
from tests.streams.conftest import Matching
from tests.streams.ssedouble import TOKEN, Mastodon, sent
from tests.streams.twitterdouble import BEARER, Double, chunks

HALF = (
    b'{"id_str": "7", "user": {"id_str": "2"}, "text": "happy \\ud83d", "coordinates": {"coordinates": [1.10, 2]},'
    b' "\\uDE00": "\\ud83d\\ude00"}'
)
EVENT = encode(Event(stream="s", received_ms=1, text=HALF.decode()))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00\uD83D"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\ud83d\u0041\n\""', rb'"\ufffd\u0041\n\""'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (b'"a\\', b'"a\\'),
    ],
)
def test_halves_are_found_and_nothing_else_changes(text: bytes, whole: bytes) -> None:
    assert without_halves(text) == whole


def test_it_comes_byte_for_byte_and_is_no_fault(tmp_path: Path) -> None:
    play = chunks([HALF + b"\r\n{oops\r\n"])
    with Double(play) as double, Captured(tmp_path, BEARER, type="x_v2", url=double.v2) as captured:
        captured.until(lambda: len(captured.of_kind("event")) == 2)

    event, fault = captured.of_kind("event")
    assert (event["event"], event["text"]) == (None, HALF.decode())
    assert fault["text"] == "{oops" and captured.counts["no_json"] == 1


def test_match_finds_the_tweet_and_keeps_all_of_its_bytes(matching: Matching) -> None:
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", EVENT, encode(Event(stream="s", received_ms=1, text="no JSON")))

    matching.start()

    wait_until(lambda: len(matching.out()) == 2)
    first, second = (decode(raw, Event) for raw in matching.desk.waiting("out"))
    assert first.content.startswith(HALF[:-1] + b',"traptor":') and first.event == msgspec.Raw(b"null")
    assert json.loads(first.content)["traptor"]["collection_rules"][0]["rule_id"] == "1"
    assert second.text == "no JSON"


def test_a_tweet_that_was_matched_before_is_matched_anew(matching: Matching) -> None:
    before = HALF[:-1] + b',"traptor":{"old":1}}'
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", encode(Event(stream="s", received_ms=1, text=before.decode())))

    matching.start()

    wait_until(matching.out)
    assert json.loads(decode(matching.desk.waiting("out")[0], Event).content)["traptor"]["id_str"] == "7"


def test_its_line_in_the_file_is_read_and_exported(tmp_path: Path) -> None:
    line = line_of(decode(EVENT, Event))
    assert line == HALF + b"\n"

    shape = shape_of(line)
    assert (shape.platform, shape.kind, shape.id, shape.body["text"]) == ("twitter", "post", "7", "happy \ufffd")
    for form in FORMATS:
        part = open_part(tmp_path / form, form)
        part.write(Line("s", line, shape, 1))
        part.close()
    with Notes() as notes:
        deletions = Deletions(notes)
        deletions.note(b'{"scrub_geo":{"user_id_str":"2","up_to_status_id_str":"9"}}')
        scrubbed = deletions.fate_of(line, shape).line
    assert scrubbed is not None and json.loads(scrubbed)["coordinates"] is None


def test_a_status_with_half_a_character_is_one_in_the_file_too(tmp_path: Path) -> None:
    status = b'{"id":"5","account":{"id":"1"},"content":"\\ud83d","created_at":"2026-08-02T05:25:16.840Z"}'
    play = sent([b"event: update\ndata: %b\n\n" % status], silent=True)
    with Mastodon(play) as double, Captured(tmp_path, TOKEN, type="mastodon", url=double.server.url) as captured:
        captured.until(lambda: captured.of_kind("event"))

    [told] = captured.of_kind("event")
    line = line_of(Event(stream="s", received_ms=1, text=told["text"], type=told["type"]))
    shape = shape_of(line)
    assert told["type"] == "update" and told["text"].encode() == status
    assert (shape.platform, shape.kind, shape.id) == ("mastodon", "post", "5")


def test_its_record_has_the_key_and_the_bytes_and_comes_back() -> None:
    record = Shaping("t", "user.id_str", "n").record(EVENT)
    assert (record.key, record.value) == (b"2", HALF)

    back = Wrapping("", False).message("t", b"", record.value, dict(record.headers), 1)
    assert decode(back, Event).content == HALF
