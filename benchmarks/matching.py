"""The speed of matching 400 rules against real tweets: ours, and Traptor's way, a loop over rules and texts."""

from __future__ import annotations

import gzip
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from aggregator.streams.rules.annotation import annotate
from aggregator.streams.rules.matching import Matcher
from aggregator.streams.rules.names import LIMITS, SetName
from aggregator.streams.rules.rule import Rule, rule_of
from aggregator.streams.rules.tweets import Tweet, hashtags, keyword_texts, read_tweet
from benchmarks.report import Table, median
from benchmarks.rig import ROOT

ROUNDS = 5
REPEATS = 4
"""How often a round takes all of the tweets."""
NAME = SetName("track", 0)


def run() -> Iterator[Table]:
    """Measure; the ways take turns in each round."""
    raws = [bytes(line["tweet"]) for line in _lines()]
    rules = _rules(raws)
    tweets = [tweet for tweet in map(read_tweet, raws) if tweet]
    matcher, pattern = Matcher(NAME.type, rules), _one_pattern(rules)
    assert all(matcher.matches(tweet) == _loop(rules, tweet) for tweet in tweets), "the ways find different rules"

    find: dict[str, Callable[[], object]] = {
        "ours: one pass of Aho-Corasick": lambda: [matcher.matches(tweet) for tweet in tweets],
        "one compiled alternation": lambda: [pattern(tweet) for tweet in tweets],
        "Traptor's way: a loop over rules and texts": lambda: [_loop(rules, tweet) for tweet in tweets],
    }
    whole: dict[str, Callable[[], object]] = {
        "ours: read, match, put in the rules": lambda: [_ours(matcher, raw) for raw in raws],
        "Traptor's way: json, loop, json": lambda: [_traptors(rules, raw) for raw in raws],
    }
    matched = sum(map(len, map(matcher.matches, tweets))) / len(tweets)
    notes = (
        f"Medians of {ROUNDS} rounds; {len(raws)} tweets of {sum(map(len, raws)) // len(raws):,} bytes on average, "
        f"{len(rules)} rules, of which {matched:.1f} match a tweet. One process, without Redis.",
    )
    yield Table("Which of 400 rules does a tweet match?", _COLUMNS, _measure(find, len(raws)), notes)
    # reading the texts of Traptor's way a second time, by our reader, is a hundredth of it
    yield Table("From the text of a tweet to its text with its rules", _COLUMNS, _measure(whole, len(raws)), notes)


_COLUMNS = ("way", "tweets/s", "microseconds a tweet", "ours/its")


def _lines() -> list[dict[str, msgspec.Raw]]:
    text = gzip.decompress((ROOT / "tests" / "data" / "streams" / "tweets.jsonl.gz").read_bytes())
    return [msgspec.json.decode(line, type=dict[str, msgspec.Raw]) for line in text.splitlines()]


def _rules(raws: list[bytes]) -> list[Rule]:
    """Return as many rules as a connection takes: words of the tweets and words of none, pairs of words, hashtags."""
    picked = random.Random(1)
    texts = {text for raw in raws for text in keyword_texts(_read(raw))}
    words = sorted({word for text in texts for word in re.findall(r"\w{4,20}", text)})
    made = []
    for number in range(LIMITS["track"]):
        word, other = picked.sample(words, 2)
        value, orig_type = word, "keyword"
        if number % 4 == 1:
            value = f"{word[::-1]}{number}"  # as most rules match nothing of a given moment
        elif number % 4 == 2:
            value = f"{word} {other}"
        elif number % 8 == 3:
            orig_type = "hashtag"
        made.append(rule_of({"rule_id": str(number), "value": value, "orig_type": orig_type, "tag": "bench"}))
    return made


def _read(raw: bytes) -> Tweet:
    tweet = read_tweet(raw)
    assert tweet is not None
    return tweet


def _loop(rules: list[Rule], tweet: Tweet) -> list[Rule]:
    """Find the rules as Traptor does: for each rule its terms, for each term the texts."""
    texts, tags = keyword_texts(tweet), hashtags(tweet)
    found = []
    for rule in rules:
        terms = rule.value.lower().split(" ")
        if rule.orig_type == "keyword":
            if all(any(term in text for text in texts) for term in terms):
                found.append(rule)
        elif all(term in tags for term in terms):
            found.append(rule)
    return found


def _one_pattern(rules: list[Rule]) -> Callable[[Tweet], object]:
    """Return a search by one regular expression; it finds the longest term at each place, which is not yet enough."""
    terms = {term for rule in rules if rule.orig_type == "keyword" for term in rule.normal_value.split(" ")}
    alternatives = "|".join(map(re.escape, sorted(terms, key=len, reverse=True)))
    find = re.compile(f"(?=({alternatives}))").findall
    return lambda tweet: (set(find("\n".join(keyword_texts(tweet)))), hashtags(tweet))


def _ours(matcher: Matcher, raw: bytes) -> bytes:
    tweet = _read(raw)
    return annotate(raw, tweet, NAME, matcher.matches(tweet))


def _traptors(rules: list[Rule], raw: bytes) -> str:
    tweet: dict[str, Any] = json.loads(raw)
    found = _loop(rules, _read(raw))
    listed = [{**rule.fields, "rule_tag": rule.fields["tag"], "rule_value": rule.value} for rule in found]
    tweet["traptor"] = {"id_str": tweet["id_str"], "collection_rules": listed}
    return json.dumps(tweet)


def _measure(ways: dict[str, Callable[[], object]], tweets: int) -> list[tuple[Any, ...]]:
    seconds: dict[str, list[float]] = {title: [] for title in ways}
    for _ in range(ROUNDS):
        for title, way in ways.items():
            began = time.perf_counter()
            for _ in range(REPEATS):
                way()
            seconds[title].append((time.perf_counter() - began) / REPEATS / tweets)
    medians = {title: median(found) for title, found in seconds.items()}
    ours = next(iter(medians.values()))
    return [(title, 1 / each, each * 1e6, each / ours) for title, each in medians.items()]
