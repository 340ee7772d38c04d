"""Which rules a tweet matches: as Traptor's own functions said, and where ours differs on purpose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aggregator.errors import Reject
from aggregator.streams.rules.matching import Matcher
from aggregator.streams.rules.rule import rule_of
from aggregator.streams.rules.tweets import read_tweet
from tests.streams.tweets import rule, samples, table, tweet

ORACLE = table("match-oracle.json")
OURS = {("tweet_parser-original_format_examples.ndjson:4", "track"): "t06"}
"""In Traptor a hashtag rule that is written with # never matched; here it does."""


def matched(type_: str, event: Any, *rules: Any) -> list[str]:
    """Return the ids of the rules that a tweet matches."""
    read = read_tweet(json.dumps({"id_str": "1", **event}).encode())
    assert read
    return [found.id for found in Matcher(type_, rules).matches(read)]


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: case["id_str"])
@pytest.mark.parametrize("type_", ["track", "follow"])
def test_it_finds_the_rules_that_traptor_finds(case: Any, type_: str) -> None:
    rules = [rule_of(fields) for fields in ORACLE["rules"][type_]]
    event = json.loads(tweet(case["tweet"]))

    found = matched(type_, event, *rules)

    assert event["id_str"] == case["id_str"]
    assert found == sorted([*case["expected"][type_], *filter(None, [OURS.get((case["tweet"], type_))])])


def test_hashtags_that_only_the_quoted_tweet_has_are_found() -> None:
    rules = [rule_of(fields) for fields in ORACLE["rules"]["track"]]
    event = json.loads(tweet("tweet_parser-original_format_examples.ndjson:3"))

    assert matched("track", event, *rules) == ["t03", "t04", "t05", "t06", "t07", "t08"]


@pytest.mark.parametrize("type_", ["track", "follow"])
def test_one_pass_finds_what_a_straightforward_loop_finds(type_: str) -> None:
    words = sorted({word.lower() for sample in samples() for word in json.loads(sample.raw)["text"].split()})
    rules = [rule_of(fields) for fields in ORACLE["rules"][type_]]
    if type_ == "track":
        rules += [rule(f"w{n}", f"{word} {words[-n]}" if n % 7 == 0 else word) for n, word in enumerate(words[:400])]
    matcher = Matcher(type_, rules)

    for sample in samples():
        event, read = json.loads(sample.raw), read_tweet(sample.raw)
        assert read
        assert matcher.matches(read) == [each for each in rules if straightforwardly(each, event)], sample.source


def straightforwardly(wanted: Any, event: Any) -> bool:
    """Say whether a rule matches, written down as the words of the table of PARITY say it."""
    parts = [event, event.get("retweeted_status") or {}, event.get("quoted_status") or {}]
    views = [view for part in parts for view in (part, part.get("extended_tweet") or {})]
    entities = [view.get("entities") or {} for view in views]
    people = [p for e in entities for p in e.get("user_mentions") or []] + [part.get("user") or {} for part in parts]
    links = [link for e in entities for kind in ("urls", "media") for link in e.get(kind) or []]
    texts = [view.get(field) for view in parts for field in ("text",)]
    texts += [view.get("full_text") for view in views[1::2]] + [event["user"]["screen_name"]]
    texts += [link.get(field) for link in links for field in ("expanded_url", "display_url")]
    values = {
        "keyword": [text.lower() for text in texts if text],
        "hashtag": [tag["text"].lower() for e in entities for tag in e.get("hashtags") or []],
        "userid": [person.get("id_str") for person in people],
        "username": [(person.get("screen_name") or "").lower() for person in people],
    }.get(wanted.fields.get("orig_type", ""), [])
    terms = wanted.value.lower().split(" ")
    if wanted.orig_type == "keyword":
        return all(any(term in value for value in values) for term in terms)
    if wanted.orig_type == "hashtag":
        terms = [term.removeprefix("#") for term in terms]
    return all(term in values for term in terms) and bool(values)


@pytest.mark.parametrize("value", ["#cats", "CATS", "#Cats #dogs", "dogs cats"])
def test_a_hashtag_counts_with_and_without_its_sign(value: str) -> None:
    event = {"entities": {"hashtags": [{"text": "Cats"}, {"text": "dogs"}]}}

    assert matched("track", event, rule("1", value, "hashtag")) == ["1"]


@pytest.mark.parametrize("event", ['{"id_str": 7}', '{"id": 7}', "[1]", "null", '"id_str"', "7"])
def test_what_has_no_id_as_a_text_is_no_tweet(event: str) -> None:
    assert read_tweet(event.encode()) is None


@pytest.mark.parametrize("event", [b"", b"{", b"[" * 100_000, b'{"id_str": "1", "text": "\xff"}'])
def test_what_is_no_json_is_rejected(event: bytes) -> None:
    with pytest.raises(Reject):
        read_tweet(event)


def test_terms_may_lie_in_different_texts_and_overlap() -> None:
    event = {"text": "Regular CATS", "quoted_status": {"text": "dogs"}}
    rules = [rule("1", "dogs cat"), rule("2", "ular"), rule("3", "regular"), rule("4", "gula"), rule("5", "catsdogs")]

    assert matched("track", event, *rules) == ["1", "2", "3", "4"]


def test_the_empty_term_of_two_blanks_is_in_every_text_and_is_no_hashtag() -> None:
    event = {"text": "first second", "entities": {"hashtags": [{"text": "first"}, {"text": "second"}]}}

    rules = [rule("1", "first  second"), rule("2", " "), rule("3", "first  second", "hashtag")]

    assert matched("track", event, *rules) == ["1", "2"]


@pytest.mark.parametrize("broken", [None, 7, "text", [None, 3, {"text": None}], {"hashtags": None, "urls": {"a": 1}}])
def test_nulls_and_other_types_count_as_missing(broken: Any) -> None:
    names = ("retweeted_status", "quoted_status", "extended_tweet", "entities", "user")
    event = {"text": "happy", **dict.fromkeys(names, broken)}
    kinds = {"track": ("keyword", "hashtag"), "follow": ("userid", "username")}

    for type_, orig_types in kinds.items():
        rules = [rule(orig_type, "happy", orig_type) for orig_type in orig_types]
        assert matched(type_, event, *rules) == (["keyword"] if type_ == "track" else [])


def test_a_long_text_is_searched_in_pieces_that_overlap() -> None:
    event = {"text": "x" * 4090 + "needle is here" + "y" * 9000 + "end"}

    assert matched("track", event, rule("1", "needle here"), rule("2", "dle"), rule("3", "yend")) == [
        "1",
        "2",
        "3",
    ]


def test_all_rules_of_locations_are_put_on_every_tweet() -> None:
    assert matched("locations", {"text": "a"}, rule("1", "1,2,3,4", "geo"), rule("2", "5,6,7,8", "")) == ["1", "2"]


@pytest.mark.parametrize("orig_type", ["", "track", "userid"])
def test_a_rule_of_another_type_never_matches(orig_type: str) -> None:
    assert matched("track", {"text": "happy", "user": {"id_str": "happy"}}, rule("1", "happy", orig_type)) == []
