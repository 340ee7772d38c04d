"""The stage `match` as a worker process: what it writes into tweets, and how it follows its rules."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from aggregator.config.parsing import parse_settings
from aggregator.config.sections import RulesSettings
from aggregator.errors import Unavailable
from aggregator.runtime.connection import connect
from aggregator.runtime.context import Context
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message
from aggregator.streams.match import Match
from aggregator.streams.messages import Event, Gap
from tests.servers import RedisServer, wait_until
from tests.streams.conftest import Matching, event
from tests.streams.tweets import FOLDER, samples, tweet

HAPPY = b'{"id_str":"%d","text":"happy"}'


def tweets(count: int, text: str = "happy", *, step_ms: int = 0) -> list[bytes]:
    """Return tweets, received so many milliseconds apart."""
    raws = [b'{"id_str":"%d","text":%b}' % (n, json.dumps(text).encode()) for n in range(count)]
    return [event(raw, 1_700_000_000_000 + n * step_ms) for n, raw in enumerate(raws)]


def test_a_tweet_gets_its_rules_and_keeps_all_of_its_bytes(matching: Matching) -> None:
    raws = [sample.raw for sample in samples()]
    matching.write("7", "Happy", description="d", unknown="kept", notice=False)
    matching.desk.push("in", *(event(raw) for raw in raws))

    matching.start()

    wait_until(lambda: len(matching.out()) == len(raws))
    for raw, sent in zip(raws, matching.desk.waiting("out"), strict=True):
        assert b'"traptor":' in raw or raw[:-1] + b',"traptor":{' in sent
    first = matching.out()[0]["event"]["traptor"]
    assert first == {
        "id_str": "701580888455389187",
        "created_at_iso": "2016-02-22T01:34:53+00:00",
        "collection_rules": [
            {"rule_id": "7", "value": "Happy", "orig_type": "keyword", "tag": "t", "description": "d"}
            | {"unknown": "kept", "rule_tag": "t", "rule_value": "Happy"}
        ],
    }


def test_a_tweet_that_no_rule_matches_names_the_set(matching: Matching) -> None:
    matching.write("7", "nothing like it", notice=False)
    matching.desk.push("in", event(tweet("traptor/locations_tweet.json")))

    matching.start()

    wait_until(matching.out)
    assert matching.out()[0]["event"]["traptor"] == {
        "id_str": "701950328078348288",
        "created_at_iso": "2016-02-23T02:02:54+00:00",
        "collection_rules": [],
        "rule_type": "track",
        "id": matching.name.id,
        "rule_tag": "Not Found",
        "rule_value": "Not Found",
    }


def test_gaps_control_messages_and_foreign_events_pass_unchanged_whatever_the_rules(matching: Matching) -> None:
    gap = encode(Gap(stream="s", from_ms=1, to_ms=2, cause="stall"))
    control = [event(line) for line in (FOLDER / "control.jsonl").read_bytes().splitlines()]
    others = [event(b'{"data":{"id":"1"}}'), event(b"[1.10]"), encode(Event(stream="s", received_ms=1, text="no JSON"))]
    matching.desk.push("in", gap, *control, *others)

    matching.start()

    wait_until(lambda: len(matching.out()) == 11)
    assert matching.desk.waiting("out") == [gap, *control, *others]


def test_numbers_blanks_and_odd_texts_stay_as_they_were_sent(matching: Matching) -> None:
    raw = b'{ "id_str": "1", "id": 123456789012345678901234567890, "f": 1.10, "g": 1e999, "text": "\\u0048appy" } '
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", event(raw))

    matching.start()

    wait_until(matching.out)
    assert raw.rstrip()[:-1] + b',"traptor":' in matching.desk.waiting("out")[0]
    assert matching.matched() == [["1"]]


def test_a_tweet_that_was_matched_before_is_matched_anew(matching: Matching) -> None:
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", event(b'{"traptor":{"old":1},"id_str":"1","text":"happy","n":1.10}'))

    matching.start()

    wait_until(matching.out)
    assert b'{"id_str":"1","text":"happy","n":1.10,"traptor":{"id_str"' in matching.desk.waiting("out")[0]
    assert b"old" not in matching.desk.waiting("out")[0]


def test_without_rules_tweets_wait_until_there_are_some(matching: Matching) -> None:
    matching.desk.push("in", *tweets(3))
    matching.start()
    wait_until(lambda: "there are no rules" in matching.findings().get("rules_away", ""))

    matching.write("1", "happy")

    wait_until(lambda: matching.matched() == [["1"]] * 3)
    wait_until(lambda: "rules_away" not in matching.findings())
    assert matching.desk.books().dead == 0


def test_a_notice_of_this_set_has_the_rules_read_again_and_no_message_is_lost(matching: Matching) -> None:
    matching.configure(rule_check=3600)
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", *tweets(50))
    matching.start()
    wait_until(lambda: len(matching.out()) == 50)

    matching.rules.publish("traptor-notify", "nonsense without a colon")
    matching.write("2", "birthday", notice=False)
    matching.rules.publish("traptor-notify", "track:0")
    matching.desk.push("in", *tweets(1, "happy birthday"))
    wait_until(lambda: len(matching.out()) == 51)
    assert matching.matched()[-1] == ["1"]  # neither text meant this set
    matching.rules.publish("traptor-notify", str(matching.name))
    wait_until(lambda: "rules set=" in read_log(matching) and read_log(matching).count("rules set=") == 2)
    matching.desk.push("in", *tweets(1, "happy birthday"))

    wait_until(lambda: len(matching.out()) == 52)
    assert matching.matched()[-1] == ["1", "2"]


def read_log(matching: Matching) -> str:
    return (matching.root / "worker_0.log").read_text()


def test_a_change_without_a_notice_is_found_by_the_periodic_check(matching: Matching) -> None:
    matching.configure(rule_check=1)
    matching.write("1", "happy", notice=False)
    matching.start()
    wait_until(lambda: read_log(matching).count("rules set=") == 1)

    matching.write("2", "birthday", notice=False)

    wait_until(lambda: read_log(matching).count("rules set=") == 2)


def test_faulty_rules_are_reported_and_the_others_are_used(matching: Matching) -> None:
    matching.write("1", "happy", notice=False)
    matching.rules.hset(matching.name.key("2"), mapping={"rule_id": "2", "orig_type": "keyword"})
    matching.rules.hset(matching.name.key("3"), mapping={"rule_id": "3", "value": b"\xff"})
    matching.rules.set(matching.name.key("4"), "no hash")
    matching.desk.push("in", *tweets(1))

    matching.start()

    wait_until(lambda: matching.matched() == [["1"]])
    wait_until(lambda: "rules_faulty" in matching.findings())
    text = matching.findings()["rules_faulty"]
    assert text.startswith("3 rules cannot be used: ")
    assert f"{matching.name.key('2')} has no value; {matching.name.key('3')} " in text


def test_tweets_wait_while_the_redis_of_the_rules_is_away(matching: Matching, own_redis: RedisServer) -> None:
    matching.configure(rules_url=own_redis.url)
    rule = {"rule_id": "1", "value": "happy", "orig_type": "keyword"}
    own_redis.kill()
    matching.desk.push("in", *tweets(2))
    matching.start()
    wait_until(lambda: "is away" in matching.findings().get("rules_away", ""))
    own_redis.start()
    matching.rules.hset(matching.name.key("other"), mapping=rule)  # in the other Redis: nobody reads it
    with connect(own_redis.url) as client:
        client.hset(matching.name.key("1"), mapping=rule)
    wait_until(lambda: matching.matched() == [["1"]] * 2)

    own_redis.kill()
    wait_until(lambda: "is away" in matching.findings().get("rules_away", ""))
    matching.desk.push("in", *tweets(3))
    own_redis.start()

    wait_until(lambda: matching.matched() == [["1"]] * 5)
    assert matching.desk.books().dead == 0


def test_each_tweet_is_sent_on_once_across_sigkill(matching: Matching) -> None:
    matching.configure(maxdeliveries=1000, batch=10)
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", *tweets(2000))
    process = matching.start()
    for part in (200, 600, 1000):
        wait_until(lambda part=part: len(matching.desk.waiting("out")) >= part)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = matching.start()

    wait_until(lambda: len(matching.desk.waiting("out")) == 2000)
    assert Counter(sent["event"]["id_str"] for sent in matching.out()).most_common(1)[0][1] == 1


@pytest.mark.parametrize("processes", [1, 3])
def test_a_value_over_its_rate_thins_out_its_tweets_over_all_processes(matching: Matching, processes: int) -> None:
    # ten seconds of tweets, which takes less time by the clock, or that would count
    matching.configure(processes=processes, ratelimit=1, ratelimit_capacity=10, batch=5)
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", *tweets(100, step_ms=100))
    for number in range(processes):
        matching.start(number)

    wait_until(lambda: sum(matching.desk.books().dropped.values()) + len(matching.out()) == 100, 60)

    # while other processes hold a batch each, the first tweet that is handled may be one of a second later
    assert 20 - (processes > 1) <= len(matching.out()) <= 22
    assert matching.desk.books().dropped == {"rate_limited": 100 - len(matching.out())}


def test_a_tweet_passes_while_any_of_its_values_has_tokens_or_none_matches(matching: Matching) -> None:
    matching.configure(ratelimit=1, ratelimit_capacity=4, ratelimit_cost=2)
    matching.write("1", "happy", notice=False)
    matching.write("2", "birthday", notice=False)
    matching.desk.push("in", *tweets(5, "happy"), *tweets(5, "happy birthday"), *tweets(5, "neither"))

    matching.start()

    wait_until(lambda: sum(matching.desk.books().dropped.values()) + len(matching.out()) == 15)
    assert matching.matched() == [["1"]] * 2 + [["1", "2"]] * 2 + [[]] * 5


def test_matches_are_counted_when_that_is_wanted(matching: Matching) -> None:
    matching.configure(stats_window=900)
    matching.write("1", "happy", notice=False)
    matching.desk.push("in", *tweets(7))

    matching.start()

    wait_until(lambda: matching.rules.zcard(f"stats:{matching.name}:1") == 7)


def test_rules_that_come_back_between_looking_and_handling_count_no_try(matching: Matching, redis_url: str) -> None:
    texts = {"listento": "in", "pushto": "out", "rules": str(matching.name), "ratelimit": "1"}
    settings, _ = parse_settings(Match.Settings, texts)
    context = Context(section="s", number=0, node="n", root=matching.root, rules=RulesSettings(url=redis_url))
    stage = Match(settings, context)
    raw = tweets(1)[0]
    message = Message(raw, raw)
    with pytest.raises(Unavailable, match="no rules"):
        stage.needs(message)
    matching.write("1", "happy")

    wait_until(lambda: "a moment ago" in refusal(stage, message))

    stage.stop()


def refusal(stage: Match, message: Message) -> str:
    with pytest.raises(Unavailable) as raised:
        list(stage.handle(message))
    return str(raised.value)
