"""Lines of packed files, and what they are."""

from __future__ import annotations

import gzip
import io
import os
import time
import zlib

import pytest
import simplejson
from hypothesis import given
from hypothesis import strategies as st

from aggregator.streams.reading.events import shape_of
from aggregator.streams.reading.unpacking import Lines
from aggregator.streams.recording.packing import pack
from aggregator.streams.times import moment_of


@given(
    lines=st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"").strip()), max_size=20),
    form=st.sampled_from(["gz", "zst"]),
    members=st.integers(1, 4),
)
def test_lines_come_back_whatever_the_members_are(lines: list[bytes], form: str, members: int) -> None:
    data = b"".join(line + b"\r\n" for line in lines)
    size = len(data) // members + 1
    packed = b"".join(pack(data[at : at + size], form) for at in range(0, len(data) or 1, size))

    read = Lines(io.BytesIO(packed), form)

    assert [*read] == [line for line in lines if line]
    assert (read.fault, read.unpacked_bytes) == ("", len(data))


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_a_cut_at_any_byte_gives_whole_lines_only(form: str) -> None:
    lines = [b'{"n":%d}' % n for n in range(40)]
    packed = b"".join(pack(line + b"\n", form) for line in lines)

    for length in range(1, len(packed)):
        read = Lines(io.BytesIO(packed[:length]), form)
        found = [*read]
        assert found == lines[: len(found)], length


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_what_follows_damage_is_read_on(form: str) -> None:
    lines = [simplejson.dumps({"n": n, "text": os.urandom(3000).hex()}).encode() for n in range(60)]
    members = [pack(line + b"\n", form) for line in lines]
    packed = bytearray(b"".join(members))
    for member in (20, 40):
        at = sum(map(len, members[:member])) + 1000
        packed[at : at + 500] = bytes(500)

    read = Lines(io.BytesIO(bytes(packed)), form)
    found = [*read]

    assert read.fault.startswith("damaged")
    assert 0 < len(lines) - len(found) <= 2 * 9  # 16 kB are read at a time
    assert {*found} < {*lines} and found[-1] == lines[-1]


def test_what_looks_like_a_member_behind_damage_gives_no_lines() -> None:
    false = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(b"garbage\nmore\n")[2:-4] + bytes(8)

    read = Lines(io.BytesIO(pack(b"{}\n", "gz") + b"damage" + false), "gz")

    assert [*read] == [b"{}"]
    assert read.fault


def test_padding_between_members_is_passed_over() -> None:
    packed = pack(b"a\n", "gz") + bytes(40_000) + pack(b"b\n", "gz") + bytes(10)

    read = Lines(io.BytesIO(packed), "gz")

    assert ([*read], read.fault) == ([b"a", b"b"], "")


def test_what_follows_the_last_member_is_told() -> None:
    read = Lines(io.BytesIO(pack(b"a\n", "gz") + b"hello"), "gz")

    assert [*read] == [b"a"]
    assert read.fault.startswith("damaged")


def test_a_bomb_ends_at_the_bound() -> None:
    read = Lines(io.BytesIO(gzip.compress(b"x\n" * 4_000_000)), "gz", most_bytes=1 << 20)

    assert sum(1 for _ in read) <= 1 << 19
    assert "unpacks to more than" in read.fault


def test_an_overlong_line_is_counted_once_and_those_around_it_are_read() -> None:
    read = Lines(io.BytesIO(pack(b"a\n" + b"x" * 5_000_000 + b"\nb\n", "gz")), "gz", longest=1000)

    assert ([*read], read.overlong) == ([b"a", b"b"], 1)


def test_many_small_members_without_a_line_break_take_linear_time() -> None:
    def seconds(members: int) -> float:
        packed = pack(b"x" * 100, "gz") * members
        begun = time.process_time()
        assert len([*Lines(io.BytesIO(packed), "gz")]) == 1
        return time.process_time() - begun

    short = min(seconds(10_000) for _ in range(3))

    # quadratic work would take a hundred times as long
    assert min(seconds(100_000) for _ in range(2)) < 30 * max(short, 0.01)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Wed Aug 27 13:08:45 +0000 2008", 1_219_842_525_000),
        ("Wed Aug 27 15:08:45 +0200 2008", 1_219_842_525_000),
        ("2026-07-04T14:38:08.999Z", 1_783_175_888_999),
        ("2026-07-04T14:38:08Z", 1_783_175_888_000),
        ("2026-07-04T14:38:08.9Z", 1_783_175_888_900),
        ("2026-07-04T14:38:08.999123456+00:00", 1_783_175_888_999),
        ("Wed Aug 27", None),
        ("", None),
        (5, None),
    ],
)
def test_moments_are_read_as_platforms_write_them(text: object, moment: int | None) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    ("line", "platform", "kind"),
    [
        (b'{"limit":{"track":1}}', "twitter", "control"),
        (b'{"delete":{"status":{"id":1}}}', "twitter", "deletion"),
        (b'{"delete":{"status":{"id":1}},"text":"x","id":1,"user":{}}', "twitter", "post"),
        (b'{"errors":[{"title":"operational-disconnect"}]}', "x", "control"),
        (b'{"event":"delete","payload":"1"}', "mastodon", "deletion"),
        (b'{"event":"delete","payload":1}', "mastodon", "deletion"),
        (b'{"event":"filters_changed","payload":null}', "mastodon", "control"),
        (b'{"did":"d","kind":"commit","time_us":1,"commit":{"operation":"delete"}}', "bluesky", "deletion"),
        (b'{"did":"d","kind":"identity","time_us":1}', "bluesky", "other"),
        (
            b'{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info"}}',
            "bluesky",
            "control",
        ),
        (b'{"$type":"message","payload":{"$type":"x#commit","did":"d"}}', "", "other"),
        (b'{"a":1}', "", "other"),
        (b"null", "", "other"),
        (b"\xff", "", "other"),
        (b'"' + b"[" * 100_000, "", "other"),
    ],
)
def test_lines_are_what_they_are(line: bytes, platform: str, kind: str) -> None:
    shape = shape_of(line)

    assert (shape.platform, shape.kind) == (platform, kind)
