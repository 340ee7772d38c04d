"""Streams of Twitter (v1.1) and X (v2): real bytes however they come, who asks, and when again."""

from __future__ import annotations

import gzip
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import ConfigError
from aggregator.streams.platforms.schedule import Growth, Schedule
from aggregator.streams.platforms.table import PLATFORMS
from tests.feeds.webserver import Talk, status
from tests.streams.capturing import Captured
from tests.streams.twitterdouble import BEARER, OAUTH, WIRE, Double, chunks, delimited, messages, payload, raw

SOON = Schedule(
    network=Growth(0.1, 0.3, add_s=0.1), http=Growth(0.2, 0.8, factor=2.0), rate_limit=Growth(0.3, 1.2, factor=2.0)
)
TEXT = payload()
SLACK_S = 0.5
"""A busy machine connects this much later than it should, at most."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again after shorter waits than the platforms ask for."""
    for name in ("twitter_v1", "x_v2"):
        monkeypatch.setitem(PLATFORMS, name, PLATFORMS[name]._replace(schedule=SOON))


def twitter(double: Double, root: Path, **options: Any) -> Captured:
    return Captured(root, OAUTH, type="twitter_v1", url=double.v1, **options)


def x(double: Double, root: Path, **options: Any) -> Captured:
    return Captured(root, BEARER, type="x_v2", url=double.v2, **options)


def is_status(found: Any) -> bool:
    return isinstance(found, dict) and "text" in found


def test_the_oracle_has_25_statuses_and_6_control_messages() -> None:
    found = [json.loads(line) for line in messages(TEXT)]
    assert (len(found), sum(map(is_status, found))) == (31, 25)


@pytest.mark.parametrize("size", [1, 7, 4096, len(WIRE)])
def test_real_bytes_give_exactly_their_messages_however_they_are_cut(tmp_path: Path, size: int) -> None:
    play = raw(WIRE[at : at + size] for at in range(0, len(WIRE), size))
    with Double(play) as double, twitter(double, tmp_path) as captured:
        captured.until(lambda: len(captured.of_kind("connection")) == 2)

    assert captured.events == [json.loads(line) for line in messages(TEXT)]
    assert sum(map(is_status, captured.events)) == 25 and "partial" not in captured.counts and not double.faults
    limit, farewell = captured.gaps
    assert (limit["cause"], limit["lost"]) == ("limit", json.loads(messages(TEXT)[control("limit")])["limit"]["track"])
    assert farewell["detail"] == "4 stall" and farewell["cause"] == "disconnect"


def control(name: str) -> int:
    """Return the place of a control message among all messages."""
    return next(n for n, line in enumerate(messages(TEXT)) if list(json.loads(line)) == [name])


def test_the_original_bytes_of_a_message_are_kept(tmp_path: Path) -> None:
    with Double(raw([WIRE])) as double, twitter(double, tmp_path) as captured:
        journal = tmp_path / "data/streams/.s.journal"
        found: list[bytes] = []

        def written() -> bool:
            found[:] = [path.read_bytes() for path in journal.glob("*.journal")]
            return sum(line in data for line in messages(TEXT) for data in found) == 31

        captured.until(written)


def test_a_cut_anywhere_leaves_all_whole_messages_and_counts_the_partial_one(tmp_path: Path) -> None:
    chance = random.Random(8)
    places = sorted({WIRE.index(b"\r\n\r\n") + 30, *(chance.randrange(400, len(WIRE) - 20) for _ in range(12))})
    for at in places:
        text = payload(WIRE[:at])
        whole = [json.loads(line) for line in messages(text)]
        with Double(raw([WIRE[:at]])) as double, twitter(double, tmp_path / str(at)) as captured:
            captured.until(lambda captured=captured: len(captured.of_kind("connection")) == 2)  # type: ignore[misc]

        assert captured.events == whole, at
        assert captured.counts.get("partial", 0) == bool(text.rpartition(b"\r\n")[2]), at


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", ["plain", "delimited"])
def test_messages_come_with_and_without_their_lengths_packed_or_not(tmp_path: Path, *, packed: bool, form: str) -> None:
    text = delimited(TEXT) if form == "delimited" else TEXT
    pieces = [text[at : at + 1000] for at in range(0, len(text), 1000)]
    play = chunks([*pieces, text[: text.index(b"{") + 40]], packed=packed)
    with Double(play) as double, twitter(double, tmp_path) as captured:
        captured.until(lambda: len(captured.of_kind("connection")) == 2)

    assert captured.events == [json.loads(line) for line in messages(TEXT)] and captured.counts["partial"] == 1


def test_a_filter_is_posted_as_a_signed_form(tmp_path: Path) -> None:
    options = {
        "endpoint": "filter",
        "track": "café au lait, #été،مرحبا",
        "follow": "12,34",
        "locations": "-122.75,36.8,-121.75,37.8",
        "language": "en",
        "parameters": "filter_level=low",
    }
    with Double(raw([WIRE])) as double, twitter(double, tmp_path, **options) as captured:
        captured.until(lambda: len(captured.events) == 31)

    assert not double.faults and double.server.asked[0].method == "POST" and "?" not in double.server.asked[0].path
    assert double.forms[0] == [
        ("delimited", "length"), ("stall_warnings", "true"), ("track", "café au lait,#été,مرحبا"), ("follow", "12,34"),
        ("locations", "-122.75,36.8,-121.75,37.8"), ("language", "en"), ("filter_level", "low"),
    ]  # fmt: skip


def test_a_sample_is_signed_with_its_parameters(tmp_path: Path) -> None:
    with Double(raw([WIRE])) as double, twitter(double, tmp_path, parameters="a=b c&d=%26") as captured:
        captured.until(lambda: len(captured.events) == 31)

    assert not double.faults and ("d", "&") in double.forms[0]
    assert double.server.asked[0].path.startswith("/1.1/statuses/sample.json?delimited=length&stall_warnings=true&")


def test_x_is_asked_with_a_bearer_token_and_its_farewell_is_the_gaps_detail(tmp_path: Path) -> None:
    post = b'{"data":{"id":"1","text":"a\\r\\nb"},"matching_rules":[{"id":"7","tag":"t"}]}'
    farewell = b'{"errors":[{"title":"operational-disconnect","disconnect_type":"Upstream","detail":"x"}]}'
    play = chunks([b"\r\n", post + b"\r\n\r\n", farewell + b"\r\n", post[:20]], packed=True)
    options = {"backfill_minutes": 5, "parameters": "tweet.fields=created_at,author_id&expansions=author_id"}
    with Double(play) as double, x(double, tmp_path, **options) as captured:
        captured.until(captured.has_gaps)

    assert captured.events == [json.loads(post), json.loads(farewell)] and captured.counts["partial"] == 1
    assert captured.gaps[0]["detail"] == "operational-disconnect x" and not double.faults
    assert double.forms[0] == [
        ("backfill_minutes", "5"), ("tweet.fields", "created_at,author_id"), ("expansions", "author_id"),
    ]  # fmt: skip
    assert double.server.asked[0].path.startswith("/2/tweets/search/stream?")


def test_bytes_that_drip_are_read_as_they_come(tmp_path: Path) -> None:
    text = TEXT[:600]

    def drip(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(len(text)):
            talk.send(b"1\r\n" + text[at : at + 1] + b"\r\n")
            talk.stop.wait(0.003)
        talk.send(b"2\r\n\r\n\r\n")
        talk.hang()
        talk.cut()

    with Double(drip) as double, x(double, tmp_path, stall_after="1s") as captured:
        captured.until(lambda: captured.events)


def test_keep_alives_keep_a_stream_and_their_absence_ends_it(tmp_path: Path) -> None:
    def quiet(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            talk.stop.wait(0.25)
            talk.send(b"2\r\n\r\n\r\n")
        talk.hang()
        talk.cut()

    with Double(quiet) as double, x(double, tmp_path, stall_after="1s") as captured:
        captured.until(captured.has_gaps)

    [gap] = captured.gaps
    assert (gap["cause"], gap["detail"]) == ("stall", "nothing came for 1 s")
    assert double.waits()[0] > 2.9


# when it is tried again


def refusing(*lines: str, **headers: str) -> list[Any]:
    return [status(line, **headers) for line in lines]


def check(waits: list[float], wanted: list[float]) -> None:
    assert len(waits) >= len(wanted), waits
    assert all(least <= wait < least + SLACK_S for wait, least in zip(waits, wanted, strict=False)), (waits, wanted)


def test_waits_after_errors_of_the_server_double_up_to_their_limit(tmp_path: Path) -> None:
    with Double(*refusing(*["503 Service Unavailable"] * 5)) as double, x(double, tmp_path) as captured:
        captured.until(lambda: captured.of_kind("connection"))
    check(double.waits(), [0.2, 0.4, 0.8, 0.8, 0.8])


@pytest.mark.parametrize("line", ["429 Too Many Requests", "420 Enhance Your Calm"])
def test_waits_after_too_many_requests_double_too(tmp_path: Path, line: str) -> None:
    with Double(*refusing(line, line, line)) as double, twitter(double, tmp_path) as captured:
        captured.until(lambda: captured.of_kind("connection"))
    check(double.waits(), [0.3, 0.6, 1.2])
    assert captured.counts["failed_connects"] == 3


def test_waits_after_cut_connections_grow_in_a_line(tmp_path: Path) -> None:
    plays = [chunks([b"\r\n"]), chunks([b"\r\n"], end=True), raw([]), raw([b"HTTP/1.1"])]
    with Double(*plays) as double, x(double, tmp_path) as captured:
        captured.until(lambda: len(captured.of_kind("connection")) == 3)
    check(double.waits(), [0.1, 0.2, 0.3, 0.3])


def test_a_connection_that_lasted_is_made_again_at_once_and_the_waits_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLATFORMS, "x_v2", PLATFORMS["x_v2"]._replace(stall_s=0.4, schedule=SOON))

    def lasting(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            talk.send(b"2\r\n\r\n\r\n")
            talk.stop.wait(0.1)
        talk.cut()

    plays = [*refusing("500 x", "500 x"), lasting, *refusing("500 x")]
    with Double(*plays) as double, x(double, tmp_path) as captured:
        captured.until(lambda: len(double.asked_at) >= 5)
    waits = double.waits()
    check([waits[0], waits[1], waits[2] - 0.8, waits[3]], [0.2, 0.4, 0.0, 0.2])


def test_the_server_says_how_long_it_wants_to_be_left_alone(tmp_path: Path) -> None:
    reset = int(time.time()) + 3
    plays = [
        *refusing("503 x", Retry_After="1"),
        *refusing("429 x", x_rate_limit_reset=str(reset), x_rate_limit_remaining="0"),
        *refusing("429 x", x_rate_limit_reset=str(reset + 1000), x_rate_limit_remaining="7"),
    ]
    with Double(*plays) as double, x(double, tmp_path) as captured:
        captured.until(lambda: len(double.asked_at) >= 4)
        came = time.time() - (time.monotonic() - double.asked_at[2])

    check(double.waits()[:1], [1.0])
    assert reset <= came + 0.01 < reset + 1.0
    check(double.waits()[2:3], [0.6])


def test_a_credential_that_is_refused_is_told_and_asked_again_only_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in ("401 Unauthorized", "403 Forbidden"):
        with Double(*refusing(line)) as double, x(double, tmp_path / line[:3]) as captured:
            captured.until(lambda captured=captured: captured.context.reports)  # type: ignore[misc]
            [report] = captured.context.reports.values()
            assert (report.code, report.level) == ("credential_refused", "error") and line in report.text
            assert "again in 3600 s" in captured.context.notes["connection"] and len(double.asked_at) == 1

    monkeypatch.setattr("aggregator.streams.reader.REFUSED_S", 0.5)
    with Double(*refusing("401 Unauthorized")) as double, x(double, tmp_path / "later") as captured:
        captured.until(lambda: captured.of_kind("connection"))
        assert not captured.context.reports
    check(double.waits(), [0.5])


def test_what_a_platform_says_is_unpacked_and_reaches_no_terminal_raw(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = gzip.compress(b'{"title":"Too many\x1b[31m connections",\r\n "n":1}')
    play = chunks([b'{"errors":[{"title":"gone\\u001b[31m","detail":"\\u202e"}]}\r\n'])
    refusal = lambda talk: talk.answer(words, "503 x", Content_Encoding="gzip")  # noqa: E731
    with Double(refusal, play) as double, x(double, tmp_path) as captured:
        captured.until(lambda: len(captured.gaps) == 2)

    assert [gap["detail"] for gap in captured.gaps] == [
        'HTTP 503 Service Unavailable: {"title":"Too many [31m connections", "n":1}',
        "gone [31m \\u202e",
    ]
    assert 'HTTP 503 Service Unavailable: {"title":"Too many [31m connections", "n":1} (http)' in caplog.text


def test_a_wrong_secret_is_noticed_by_the_double(tmp_path: Path) -> None:
    """The double is worth something only if it refuses what Twitter refuses."""
    with Double() as double:
        for name in ("consumer_key", "consumer_secret", "access_token", "access_token_secret"):
            known = {field: getattr(OAUTH, field) for field in OAUTH.__struct_fields__} | {name: "0123456789wrong"}
            credential = type(OAUTH)(**known)
            with Captured(tmp_path / name, credential, type="twitter_v1", url=double.v1) as captured:
                captured.until(lambda captured=captured: captured.context.reports)  # type: ignore[misc]
    assert double.faults == ["the signature"] * 4


def test_a_package_that_is_missing_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oauthlib.oauth1", None)
    with pytest.raises(ConfigError, match=r"OAuth 1.0a needs a package: .* -m pip install oauthlib"):
        Captured(tmp_path, OAUTH, type="twitter_v1").__enter__()


def test_no_secret_is_in_the_log_or_in_what_is_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with Double(*refusing("503 x"), raw([WIRE])) as double, twitter(double, tmp_path) as captured:
        captured.until(lambda: len(captured.events) == 31)
    shown = caplog.text + json.dumps(captured.messages) + str(captured.context.notes) + repr(OAUTH)
    for secret in (OAUTH.consumer_secret, OAUTH.access_token, OAUTH.access_token_secret):
        assert str(secret) not in shown
