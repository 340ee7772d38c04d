"""A set of rules drives a capture of X: X's rules follow it, and the connection stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.config.sections import RulesSettings
from aggregator.runtime.connection import connect
from aggregator.streams import reader
from aggregator.streams.credentials import CredentialSettings
from aggregator.streams.platforms.schedule import Growth, Schedule
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.rules import asking, keeping
from aggregator.streams.rules.changes import Author, Changer
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.turns import Busy, turn
from tests.feeds.webserver import Talk
from tests.instance import Instance
from tests.servers import RedisServer, wait_until
from tests.streams.capturing import Captured
from tests.streams.recorded import lines_in
from tests.streams.twitterdouble import BEARER, Double, Play
from tests.streams.xproject import TOKEN, Project

OURS = "aggregator:me:x:0:"
SOON = Schedule(network=Growth(0.1, 0.3), http=Growth(0.2, 0.8), rate_limit=Growth(0.3, 1.2))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow changes at once: their waits are for platforms that somebody pays for."""
    monkeypatch.setattr(reader, "KEPT_S", 0.0)
    monkeypatch.setattr(keeping, "LEAST_S", 0.0)
    monkeypatch.setattr(keeping, "_AWAY_S", 0.1)
    monkeypatch.setitem(PLATFORMS, "x_v2", PLATFORMS["x_v2"]._replace(schedule=SOON))


@pytest.fixture
def rules(own_redis: RedisServer) -> Iterator[Any]:
    with connect(own_redis.url) as client:
        put(client, "1", "cats")
        put(client, "2", "dogs has:images")
        yield client


def put(client: Any, rule_id: str, value: str, **fields: str) -> None:
    """Write a rule as a rule manager does."""
    client.hset(f"traptor-x:0:{rule_id}", mapping={"rule_id": rule_id, "value": value, "tag": f"t{rule_id}", **fields})
    client.publish("traptor-notify", "x:0")


def drop(client: Any, rule_id: str) -> None:
    client.delete(f"traptor-x:0:{rule_id}")
    client.publish("traptor-notify", "x:0")


def ruled(double: Double, root: Path, redis: RedisServer, credential: CredentialSettings = BEARER) -> Captured:
    settings = RulesSettings(url=redis.url, owner="me")
    return Captured(root, credential, settings, type="x_v2", url=double.v2, rules="x:0")


def posts(project: Project) -> Play:
    """Send an event for each rule that the project has, and again whenever the rules have changed; else keep alive."""

    def play(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        known: dict[str, Any] = {}
        while not talk.stop.wait(0.05):
            now = dict(project.rules)
            new = {id_: rule for id_, rule in now.items() if id_ not in known}
            text = "".join(
                json.dumps({"data": {"id": id_, "text": rule["value"]}, "matching_rules": [{"id": id_, **rule}]})
                + "\r\n"
                for id_, rule in new.items()
            )
            data = (text or "\r\n").encode()
            talk.send(b"%x\r\n%s\r\n" % (len(data), data))
            known = now

    return play


def texts(captured: Captured) -> set[str]:
    return {event["data"]["text"] for event in captured.events}


def test_the_rules_of_a_set_become_those_of_x_and_stand_beside_the_data(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double:
        theirs = double.project.put("theirs", "somebody else's")
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: len(captured.events) == 3)

        [connection] = captured.of_kind("connection")
        x_ids = {rule["value"]: id_ for id_, rule in double.project.rules.items()}
        assert connection["rules"] == [
            {"rule_id": "1", "value": "cats", "tag": "t1", "x_id": x_ids["cats"], "x_tag": f"{OURS}1 t1"},
            {
                "rule_id": "2", "value": "dogs has:images", "tag": "t2", "x_id": x_ids["dogs has:images"],
                "x_tag": f"{OURS}2 t2",
            },
        ]  # fmt: skip
        assert double.project.rules[theirs] == {"value": "theirs", "tag": "somebody else's"}
        assert captured.counts["rules_added"] == 2 and not double.project.faults and not double.faults
        assert "beside 1 others" in captured.context.notes["rules"]


def test_a_changed_set_reaches_x_on_the_connection_there_is(tmp_path: Path, own_redis: RedisServer, rules: Any) -> None:
    with Double() as double:
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: len(captured.events) == 2)
            fields = {"rule_id": "3", "value": "birds", "tag": "t3"}
            Changer(rules, SetName("x", 0), "traptor-notify", Author("ann", ""), lambda: 0.0).put([fields])
            captured.until(lambda: "birds" in texts(captured) and len(captured.of_kind("connection")) == 2)
            drop(rules, "1")
            captured.until(lambda: len(captured.of_kind("connection")) == 3)
            put(rules, "2", "wolves")
            captured.until(lambda: "wolves" in texts(captured) and len(captured.of_kind("connection")) == 4)

        made, birds, cats, wolves = captured.of_kind("connection")
        assert double.project.values() == {"birds", "wolves"}
        assert len(double.forms) == 1 and not captured.gaps  # one connection, from which nothing is missing
    assert (birds["rules"][0]["set_by"], birds["rules"][0]["set_at"]) == ("ann", "1970-01-01T00:00:00Z")
    assert (values(birds["rules"]), birds.get("removed", []), birds["continues"]) == (["birds"], [], True)
    assert (cats.get("rules", []), values(cats["removed"])) == ([], ["cats"])
    assert (values(wolves["rules"]), values(wolves["removed"])) == (["wolves"], ["dogs has:images"])
    assert not made["continues"] and made["at_ms"] <= birds["at_ms"] <= cats["at_ms"] <= wolves["at_ms"]


def values(rules: list[dict[str, str]]) -> list[str]:
    return [rule["value"] for rule in rules]


def test_a_lost_notice_is_no_lost_rule_and_what_others_deleted_comes_again(
    tmp_path: Path, own_redis: RedisServer, rules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CHECK_S", 1.0)
    monkeypatch.setattr(keeping, "LOOK_S", 0.5)
    with Double() as double:
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: len(captured.events) == 2)
            rules.hset("traptor-x:0:9", mapping={"rule_id": "9", "value": "quiet"})
            captured.until(lambda: "quiet" in texts(captured))
            double.project.rules.pop(next(iter(double.project.rules)))
            captured.until(lambda: double.project.values() == {"cats", "dogs has:images", "quiet"})

        assert len(double.forms) == 1


def test_rules_that_x_does_not_take_are_named_in_health_and_the_others_collect(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    put(rules, "3", '"open')
    put(rules, "4", "theirs")
    put(rules, "5", "one too many")
    with Double() as double:
        double.project.put("theirs")
        double.project.most = 3
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: texts(captured) >= {"cats", "dogs has:images"})
            captured.until(lambda: ("rules_left_out", "") in captured.context.reports)
            words = captured.context.reports["rules_left_out", ""].text
            assert "3 rules of x:0" in words
            assert "rule 3 ('\"open'): X refuses it: missing closing quote" in words
            assert "rule 4 ('theirs'): X has a rule with this value already" in words
            assert "rule 5 ('one too many'): " in words and "RulesCapExceeded" in words
            assert captured.counts["rules_left_out"] == 3

            for rule_id in "345":
                drop(rules, rule_id)
            captured.until(lambda: ("rules_left_out", "") not in captured.context.reports)


def test_a_platform_that_does_not_change_rules_now_is_told_and_does_not_hold_up_the_stream(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double:
        double.project.put("cats", f"{OURS}1 t1")
        double.plays.append(posts(double.project))
        double.project.refuses = "503 Service Unavailable"
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: texts(captured) == {"cats"})
            captured.until(lambda: ("rules_not_synced", "") in captured.context.reports)
            double.project.refuses = ""
            captured.until(lambda: "dogs has:images" in texts(captured))
            captured.until(lambda: ("rules_not_synced", "") not in captured.context.reports)

        first, then = captured.of_kind("connection")
        assert len(double.forms) == 1
    assert first.get("rules", []) == [] and sorted(values(then["rules"])) == ["cats", "dogs has:images"]


def test_too_many_requests_are_not_repeated_before_x_allows_it(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double:
        double.project.refuses = "429 Too Many Requests"
        double.project.headers = {"x_rate_limit_reset": "99999999999", "x_rate_limit_remaining": "0"}
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: ("rules_not_synced", "") in captured.context.reports)
            put(rules, "3", "birds")
            beat = rules.get("x:0:heartbeat")
            captured.until(lambda: rules.get("x:0:heartbeat") != beat)

        assert double.project.asked == 1


def test_a_refused_credential_is_told_and_left_alone(tmp_path: Path, own_redis: RedisServer, rules: Any) -> None:
    wrong = msgspec.structs.replace(BEARER, bearer_token="wrong")
    with Double() as double, ruled(double, tmp_path, own_redis, wrong) as captured:
        captured.until(
            lambda: {("rules_not_synced", ""), ("credential_refused", "")} <= captured.context.reports.keys()
        )
        put(rules, "3", "birds")
        captured.until(lambda: captured.context.reports["rules_not_synced", ""].level == "error")

        assert double.project.asked == 1 and double.project.rules == {}
        assert "wrong" not in captured.context.reports["rules_not_synced", ""].text


def test_an_emptied_redis_removes_no_rule_at_x(tmp_path: Path, own_redis: RedisServer, rules: Any) -> None:
    with Double() as double:
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: len(captured.events) == 2)
            rules.flushall()
            rules.publish("traptor-notify", "x:0")
            captured.until(lambda: captured.context.notes.get("connection") == "waits for rules")
            assert double.project.values(OURS) == {"cats", "dogs has:images"}
            put(rules, "8", "again")
            captured.until(lambda: double.project.values() == {"again"})
            captured.until(lambda: len(double.forms) == 2)


def test_captures_of_two_nodes_take_turns_and_end_with_the_same_rules(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double:
        double.plays += [posts(double.project), posts(double.project)]
        with (
            ruled(double, tmp_path / "a", own_redis) as one,
            ruled(double, tmp_path / "b", own_redis) as other,
        ):
            for number in range(10, 20):
                put(rules, str(number), f"word{number}")
            drop(rules, "1")
            wanted = {"dogs has:images", *(f"word{number}" for number in range(10, 20))}
            one.until(lambda: double.project.values() == wanted)
            other.until(lambda: wanted <= texts(other))
            assert not {("rules_left_out", ""), ("rules_not_synced", "")} & {
                *one.context.reports,
                *other.context.reports,
            }

        assert double.project.values() == wanted and len(double.project.rules) == len(wanted)
        assert double.project.most_at_once == 1 and not double.project.faults


def test_a_turn_that_a_killed_process_left_behind_holds_up_no_stream(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double:
        double.project.put("cats", f"{OURS}1 t1")
        double.plays.append(posts(double.project))
        rules.set(SetName("x", 0).turn, "of a dead process", px=1500)
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: texts(captured) == {"cats"})
            assert double.project.asked == 0 or not rules.exists(SetName("x", 0).turn)
            captured.until(lambda: double.project.values() == {"cats", "dogs has:images"})


def test_a_turn_that_was_lost_ends_the_work_of_the_one_who_had_it(rules: Any) -> None:
    name = SetName("x", 0)
    with turn(rules, name) as ours:
        ours.keep(500)
        assert 400 < rules.ttl(name.turn) <= 500
        with pytest.raises(Busy), turn(rules, name):
            pass
        rules.set(name.turn, "another's")
        with pytest.raises(Busy):
            ours.keep()

    assert rules.get(name.turn) == b"another's"


def test_rules_whose_owner_was_forgotten_go_on_and_are_named(
    tmp_path: Path, own_redis: RedisServer, rules: Any
) -> None:
    with Double() as double:
        for rule_id, value in enumerate(["cats", "dogs has:images"], 1):
            double.project.put(value, f"aggregator:old:x:0:{rule_id}")
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: texts(captured) == {"cats", "dogs has:images"})
            captured.until(lambda: ("rules_left_out", "") in captured.context.reports)

        assert "'aggregator:old:x:0:1'" in captured.context.reports["rules_left_out", ""].text
        assert len(double.project.rules) == 2


def test_a_stream_goes_on_while_the_redis_of_its_rules_is_away(
    tmp_path: Path, own_redis: RedisServer, rules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 0.2)
    with Double() as double:
        double.plays.append(posts(double.project))
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: len(captured.events) == 2)
            own_redis.kill()
            captured.until(lambda: ("rules_away", "") in captured.context.reports)
            double.project.put("meanwhile")
            captured.until(lambda: "meanwhile" in texts(captured))

        assert len(double.forms) == 1 and double.project.values(OURS) == {"cats", "dogs has:images"}


CONFIGURATION = """
[credential_x]
bearer_token = TOKEN

[stream_x]
type = x_v2
url = URL
rules = x:0
credential = x
pushto = events

[worker_record]
stage = record
listento = events
save_interval = 1s
"""


def test_a_supervised_stream_follows_its_rules_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    with Double() as double:
        double.plays += [posts(double.project), posts(double.project)]
        text = CONFIGURATION.replace("URL", double.v2).replace("TOKEN", TOKEN.replace("%", "%%"))
        with Instance(text) as instance:
            instance.start()
            add = ("rules", "add", "x:0")
            assert instance.cli(*add, "cats", "--tag", "zoo", "--who", "eve").returncode == 0
            wait_until(lambda: recorded(instance) == {"cats"}, 60, "the first rule collects")
            pids = instance.pids()
            assert instance.cli(*add, "birds").returncode == 0
            wait_until(lambda: recorded(instance) == {"cats", "birds"}, 60, "the second rule collects")
            assert len(double.forms) == 1 and instance.pids() == pids

            instance.kill("stream_x_0")
            wait_until(lambda: len(double.forms) == 2, 60, "the stream is there again")
            assert instance.cli(*add, "fish").returncode == 0
            wait_until(lambda: recorded(instance) == {"cats", "birds", "fish"}, 60, "the third rule collects")
            wait_until(lambda: "fish" in told_in_sidecars(instance), 60, "the sidecars are written")

        assert double.project.values() == {"cats", "birds", "fish"} and not double.project.faults


def recorded(instance: Instance) -> set[str]:
    """Return the texts of the posts in the files."""
    lines = [line for path in (instance.root / "data/streams/x").rglob("*.jsonl.gz") for line in lines_in(path)]
    return {json.loads(line)["data"]["text"] for line in lines}


def told_in_sidecars(instance: Instance) -> set[str]:
    """Return the rules that sidecars tell of."""
    sidecars = [json.loads(path.read_text()) for path in (instance.root / "data/streams/x").rglob("*.gz.json")]
    return {rule["value"] for sidecar in sidecars for each in sidecar["connections"] for rule in each["rules"]}


def test_the_threads_end_with_the_stage(tmp_path: Path, own_redis: RedisServer, rules: Any) -> None:
    with Double() as double:
        double.project.hangs.clear()
        with ruled(double, tmp_path, own_redis) as captured:
            captured.until(lambda: double.project.asked == 1)
        names = {thread.name for thread in threading.enumerate()}
        double.project.hangs.set()

    assert not {"rules", "reader", "keeper"} & names
