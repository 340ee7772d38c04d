"""Rules that an old rule manager wrote drive a capture: their changes reach the platform, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import simplejson

from aggregator.config.parsing import parse_settings
from aggregator.config.sections import RulesSettings
from aggregator.runtime.connection import connect
from aggregator.streams import reader
from aggregator.streams.capture import Capture
from aggregator.streams.credentials import CredentialSettings
from aggregator.streams.rules import asking
from aggregator.streams.rules.changes import Author, Changer
from aggregator.streams.rules.names import parse_set_name
from aggregator.streams.settings import faults_of_stream
from tests.feeds.webserver import Talk, status
from tests.servers import RedisServer
from tests.streams.capturing import Captured
from tests.streams.twitterdouble import OAUTH, Double, chunks

RULES = Path(__file__).parents[1] / "data/streams/rules.jsonl"
STATUS = b'{"id_str":"1","text":"x"}\r\n'
LIMIT = b'{"limit":{"track":7,"timestamp_ms":"1"}}\r\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow changes at once: their waits are for platforms that somebody pays for."""
    monkeypatch.setattr(reader, "KEPT_S", 0.0)


@pytest.fixture
def rules(own_redis: RedisServer) -> Iterator[Any]:
    """A Redis of rules, as the manager left it."""
    with connect(own_redis.url) as client:
        for line in RULES.read_text().splitlines():
            told = simplejson.loads(line)
            client.hset(told["key"], mapping=told["hash"])
        yield client


def ruled(
    double: Double, root: Path, redis: RedisServer, name: str = "track:0", credential: CredentialSettings = OAUTH
) -> Captured:
    return Captured(
        root, credential, RulesSettings(url=redis.url), type="twitter_v1", url=double.v1, endpoint="filter", rules=name
    )


def phrases(double: Double, parameter: str = "track") -> list[set[str]]:
    """Return what each connection asked for."""
    return [set(dict(form)[parameter].split(",")) for form in double.forms]


def test_the_rules_of_a_manager_are_asked_for_and_stand_beside_the_data(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double(chunks([STATUS], silent=True)) as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: captured.events)

    assert phrases(double) == [{"usa", "news", "python"}] and not double.faults
    [connection] = captured.of_kind("connection")
    assert {rule["value"] for rule in connection["rules"]} >= {"usa", "news"}
    assert {"rule_id", "value", "tag"} <= connection["rules"][0].keys()
    assert connection["filters"]["track"]


def test_it_is_told_who_set_a_rule_where_the_history_knows(tmp_path: Path, own_redis: RedisServer, rules: Any) -> None:
    def change(who: str, at_s: float) -> Changer:
        return Changer(rules, parse_set_name("track:0"), "traptor-notify", Author(who, ""), lambda: at_s)

    def set_by() -> dict[str, tuple[str, str] | None]:
        told = captured.of_kind("connection")[-1]["rules"]
        return {rule["rule_id"]: (rule["set_by"], rule["set_at"]) if "set_by" in rule else None for rule in told}

    change("ann", 1_800_000_000).put({"rule_id": n, "value": f"bike{n}", "orig_type": "keyword"} for n in ("90", "91"))
    with Double() as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: captured.of_kind("connection"))
        assert set_by()["90"] == set_by()["91"] == ("ann", "2027-01-15T08:00:00Z")
        assert set_by()["10"] is None  # the old manager writes no history

        rules.hset("traptor-track:0:91", "value", "tricycle")
        change("bob", 1_800_000_001).put([{"rule_id": "90", "value": "tandem", "orig_type": "keyword"}])
        captured.until(lambda: set_by().get("90") == ("bob", "2027-01-15T08:00:01Z"))
        assert set_by()["91"] is None


def test_rules_whose_history_may_not_be_read_collect_all_the_same(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    Changer(rules, parse_set_name("track:0"), "c", Author("ann", ""), lambda: 1.0).remove(["10"])
    rules.acl_setuser(
        "collector", enabled=True, passwords=["+pw"], keys=["traptor-*", "track:*", "limit:*"], channels=["*"],
        categories=["+@all"],
    )  # fmt: skip
    settings = RulesSettings(url=own_redis.url.replace("://", "://collector:pw@"))
    options = {"type": "twitter_v1", "endpoint": "filter", "rules": "track:0"}
    with Double() as double, Captured(tmp_path, OAUTH, settings, url=double.v1, **options) as captured:
        captured.until(lambda: captured.of_kind("connection"))


def test_a_notice_has_the_rules_asked_for_anew_and_the_gap_says_why(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: len(double.forms) == 1 and captured.of_kind("connection"))
        rules.hset("traptor-track:0:99", mapping={"rule_id": "99", "value": "bicycle", "orig_type": "keyword"})
        rules.publish("traptor-notify", "track:0")
        captured.until(lambda: len(captured.of_kind("connection")) == 2)

    first, second = phrases(double)
    assert second - first == {"bicycle"}
    assert [gap["cause"] for gap in captured.gaps] == ["rules"]


def test_a_change_that_asks_for_nothing_else_keeps_the_connection_and_is_told(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    def keep_alive(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not talk.stop.wait(0.05):
            talk.send(b"2\r\n\r\n\r\n")

    with Double(keep_alive) as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: captured.of_kind("connection"))
        rules.hset("traptor-track:0:10", "tag", "another tag")
        rules.publish("traptor-notify", "track:0")
        captured.until(lambda: len(captured.of_kind("connection")) == 2)

    made, change = captured.of_kind("connection")
    assert len(double.forms) == 1 and not captured.gaps
    assert [(rule["rule_id"], rule["tag"]) for rule in change["rules"]] == [("10", "another tag")]
    assert [rule["rule_id"] for rule in change["removed"]] == ["10"] and change["removed"][0] in made["rules"]
    assert change["continues"] and change["filters"] == made["filters"]


@pytest.mark.parametrize("text", ["track:1", "follow:0", "nonsense", "track:00"])
def test_a_notice_for_others_changes_nothing(tmp_path: Path, own_redis: RedisServer, rules: Any, text: str) -> None:
    with Double() as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: double.forms)
        rules.hset("traptor-track:0:99", mapping={"rule_id": "99", "value": "bicycle", "orig_type": "keyword"})
        rules.publish("traptor-notify", text)
        beats = rules.get("track:0:heartbeat")
        captured.until(lambda: rules.get("track:0:heartbeat") != beats)

    assert len(double.forms) == 1


def test_a_lost_notice_is_no_lost_rule(
    tmp_path: Path, own_redis: RedisServer, rules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CHECK_S", 1.0)
    with Double() as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: double.forms)
        rules.delete("traptor-track:0:10")
        captured.until(lambda: len(double.forms) == 2)

    first, second = phrases(double)
    assert first - second == {"usa"}


def test_without_rules_nobody_connects_and_with_the_first_rule_somebody_does(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    with (
        connect(own_redis.url) as client,
        Double() as double,
        ruled(double, tmp_path, own_redis, "follow:3") as captured,
    ):
        captured.until(lambda: captured.context.notes.get("connection") == "waits for rules")
        captured.until(lambda: ("rules_away", "") in captured.context.reports)
        assert double.forms == []
        client.hset("traptor-follow:3:1", mapping={"rule_id": "1", "value": "12345", "orig_type": "userid"})
        client.publish("traptor-notify", "follow:3")
        captured.until(lambda: double.forms)

    assert phrases(double, "follow") == [{"12345"}]


def test_a_stream_goes_on_with_its_rules_while_their_redis_is_away(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double(chunks([STATUS])) as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: captured.events)
        own_redis.kill()
        captured.until(lambda: ("rules_away", "") in captured.context.reports)
        captured.until(lambda: len(double.forms) >= 2)

    assert phrases(double)[0] == phrases(double)[1]


def test_a_collector_shows_that_it_collects_and_one_that_is_refused_does_not(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double(chunks([LIMIT, STATUS], silent=True)) as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: rules.get("track:0:heartbeat") and rules.zcard("limit:track:0"))
        assert 0 < rules.ttl("track:0:heartbeat") <= 7
    rules.delete("track:0:heartbeat")
    wrong = msgspec.structs.replace(OAUTH, access_token_secret="wrong")

    with Double() as double, ruled(double, tmp_path / "refused", own_redis, credential=wrong) as captured:
        captured.until(lambda: ("credential_refused", "") in captured.context.reports)

    assert rules.get("track:0:heartbeat") is None


def test_a_collector_that_is_not_connected_any_more_does_not_show_that_it_collects(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    ended = threading.Event()

    def until_told(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not ended.is_set() and not talk.stop.wait(0.05):
            talk.send(b"2\r\n\r\n\r\n")
        talk.cut()

    plays = [until_told, *[status("503 Service Unavailable", Retry_After="60")] * 3]
    with Double(*plays) as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: rules.get("track:0:heartbeat"))
        ended.set()
        captured.until(lambda: len(double.forms) == 2)
        captured.until(lambda: not rules.exists("track:0:heartbeat"))


def test_the_note_of_the_progress_is_kept_while_the_redis_of_the_rules_is_silent(
    tmp_path: Path, own_redis: RedisServer, rules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CHECK_S", 0.5)
    note, written = tmp_path / "data/streams/.s.alive", set[int]()
    with Double(chunks([STATUS], silent=True)) as double, ruled(double, tmp_path, own_redis) as captured:
        captured.until(lambda: captured.events)
        own_redis.pause()

        def is_told() -> bool:
            written.add(note.stat().st_mtime_ns)
            return ("rules_away", "") in captured.context.reports

        try:
            captured.until(is_told)
        finally:
            own_redis.resume()

    # the Redis was waited for all that time
    assert len(written) > 3


@pytest.mark.parametrize(
    ("type_", "endpoint", "rules", "fault"),
    [
        ("twitter_v1", "filter", "x:0", "twitter_v1 takes track, follow and locations"),
        ("x_v2", "filter", "track:0", "x_v2 takes x, such as x:0"),
        ("x_v2", "sample", "x:0", "means nothing without endpoint = filter"),
        ("mastodon", "public", "x:0", "means nothing to type = mastodon"),
    ],
)
def test_rules_that_a_platform_does_not_take_are_refused(type_: str, endpoint: str, rules: str, fault: str) -> None:
    texts = {"type": type_, "endpoint": endpoint, "rules": rules, "pushto": "q", "credential": "c", "url": "http://x/"}
    settings, faults = parse_settings(Capture.Settings, texts)
    assert settings is not None and not faults

    found = [words for option, words in faults_of_stream(settings) if option == "rules"]

    assert len(found) == 1 and fault in found[0]


def test_x_filters_when_no_endpoint_is_said() -> None:
    settings, _ = parse_settings(Capture.Settings, {"type": "x_v2", "rules": "x:0", "pushto": "q", "credential": "c"})
    assert settings is not None

    assert not [*faults_of_stream(settings)]
