"""What a platform is asked for because of rules, and which values may be rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aggregator.streams.rules.filters import build_filter
from aggregator.streams.rules.values import check_value, read_geography
from tests.streams.tweets import rule, table


@pytest.mark.parametrize("case", table("filter-string-cases.json"), ids=lambda case: case.get("type", "track"))
def test_the_phrases_are_those_of_traptor(case: Any) -> None:
    type_ = case.get("type", "track")

    built = build_filter(type_, [rule(*each) for each in case["rules"]])

    assert sorted(built.phrases) == sorted(case[f"{type_}_set"])
    assert built.text == ",".join(built.phrases)


def test_phrases_keep_the_order_of_the_rules_and_each_comes_once() -> None:
    rules = [rule("1", "Zebra"), rule("2", "ant, bee"), rule("3", "zebra"), rule("4", "usa", ""), rule("5", "#x", "")]

    assert build_filter("track", rules).text == "zebra,ant,bee,usa,#x"


@pytest.mark.parametrize(("type_", "most"), [("track", 400), ("follow", 5000), ("locations", 25)])
def test_what_is_beyond_the_limit_is_named(type_: str, most: int) -> None:
    value = "{0}" if type_ != "locations" else "{0},{0},{0}.5,{0}.5"
    orig_type = {"track": "keyword", "follow": "userid", "locations": "geo"}[type_]
    rules = [rule(str(n), value.format(n), orig_type) for n in range(most + 2)]
    rules.append(rule("again", value.format(0), orig_type))

    built = build_filter(type_, rules)

    assert len(built.phrases) == most
    assert [(out.rule_id, out.why) for out in built.left_out] == [
        (str(n), f"beyond the {most} that one connection may ask for") for n in (most, most + 1)
    ]


def test_what_cannot_be_sent_is_named() -> None:
    tracked = build_filter("track", [rule("1", "\N{GREEK SMALL LETTER ALPHA}" * 31), rule("2", "a" * 60)])
    followed = build_filter("follow", [rule("1", "someone", "username"), rule("2", "123", "userid")])

    assert (tracked.text, followed.text) == ("a" * 60, "123")
    assert [out.why for out in tracked.left_out] == ["a phrase of 62 bytes; at most 60 bytes of UTF-8 are allowed"]
    assert "looked up first" in followed.left_out[0].why


@pytest.mark.parametrize("case", table("validate-cases.json"), ids=lambda case: str(case["in"])[:40])
def test_values_are_checked_as_the_managers_api_does(case: Any) -> None:
    value = case["in"]["value"]
    if value == "61 bytes of UTF-8":
        value = "\N{GREEK SMALL LETTER ALPHA}" * 30 + "a"
    text = value if isinstance(value, str) else json.dumps(value)

    if case["code"] != 200:
        with pytest.raises(ValueError, match=case.get("error", "61 bytes")):
            check_value(case["in"]["type"], text)
        return
    check_value(case["in"]["type"], text)
    assert read_geography(text).form == case["geo_type"]


def test_an_open_ring_is_closed_and_repeated_points_go() -> None:
    ring = [[100.0, -80.0], [101.0, 0.0], [101.0, 0.0], [101.0, 1.0], [100.0, 1.0]]
    value = json.dumps({"type": "Polygon", "coordinates": [ring]})

    found = read_geography(value)

    assert json.loads(found.value)["coordinates"] == [[ring[0], ring[1], ring[3], ring[4], ring[0]]]
    assert [str(box) for box in found.boxes] == ["100,-80,101,1"]


@pytest.mark.parametrize(
    ("orig_type", "value", "words"),
    [
        ("geo", "1,2,3", "4 numbers"),
        ("geo", "3,2,1,4", "south-west corner comes first"),
        ("geo", "1,4,3,2", "south-west corner comes first"),
        ("geo", "1,2,3,nan", "out of range"),
        ("geo", "-181,2,3,4", "out of range: 2, -181"),
        ("geo", "1,2,3,x", "no box"),
        ("geo", '{"type":"Point"}', "no GeoJSON Polygon"),
        ("geo", '{"type":"Polygon","coordinates":[[[1,2],[3,4],[1,2]]]}', "at least 4 points"),
        ("geo", '{"type":"Polygon","coordinates":[[[1,"2"]]]}', "a point is"),
        ("geo", '{"type":"Polygon","coordinates":7}', "without coordinates"),
        ("geo", "{", "no GeoJSON"),
        ("userid", "12a", "no user id"),
        ("username", "@someone", "without @"),
        ("keyword", " ", "no value"),
        ("word", "x", "unknown type"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(orig_type: str, value: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_value(orig_type, value)
