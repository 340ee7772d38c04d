"""Each kind of feed says when it was published, and what does not say so is corrupt."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.transit import gtfs_realtime_pb2

from aggregator.feeds.reading.dates import read_moment
from aggregator.feeds.reading.fetched import Corrupt, Fetched
from aggregator.feeds.reading.gtfsrealtime import entity_hash
from aggregator.feeds.reading.timestamps import resolve
from aggregator.feeds.reading.xmltext import MAX_TEXT, find_texts, path_matcher
from tests.feeds.captures import capture, subway_captures

SUBWAY = "gtfsrt/1707397157.ace.pb"


def read(name: str, body: bytes, headers: Mapping[str, str] | None = None, root: Path = Path(".")) -> int | float:
    return resolve(name, root)(Fetched(body, headers or {}, fetched_at=1800000000.25))


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("gtfs-realtime", SUBWAY, 1707397155),
        ("gtfs-realtime", "gtfsrt/mbta-2023-05-22-vehiclepositions.pb", 1684798815),
        ("gtfs-realtime", "gtfsrt-bad/11-out-of-range-times.pb", 1699999980),
        ("gtfs-realtime", "gtfsrt-bad/25-header-went-back.pb", 1700000050),
        ("gbfs", "gbfs/station_status.json", 1751437263),
        ("siri", "siri/sirilike-empty.xml", 1470219053.5273844),
        ("rss", "rss/pet_atom.xml", 1356633157),
        ("rss", "rss/encoding_ISO-8859-1.xml", 1540730941),
        ("rss", "rss/DuplicateContentAtomFeed.xml", 1405970079),
        ("json:/header/timestamp", "json/vehicle_position_1683740698.json", 1683740698),
        ("json:/timestamp", "json/nginxplus-status-first-line.json", 1446249499.322),
        ("xml:/Siri/VehicleMonitoringDelivery/ValidUntil", "siri/sirilike-empty.xml", 1470219063.5273844),
        ("xml:VehicleActivity/RecordedAtTime", "siri/sirilike-empty.xml", 1470219053.5273844),
        ("none", "gtfsrt-bad/14-empty-file.pb", 1800000000.25),
    ],
)
def test_a_real_capture_tells_when_it_was_published(name: str, file: str, expected: float) -> None:
    assert read(name, capture(file)) == pytest.approx(expected, abs=1e-6)


def texts_of(body: bytes, path: str) -> list[str]:
    texts: list[str] = []
    find_texts(body, path_matcher(path), lambda _, text: texts.append(text))
    return texts


def test_twelve_captures_in_a_row_are_a_minute_apart() -> None:
    assert [read("gtfs-realtime", body) for _, body in subway_captures()] == [at for at, _ in subway_captures()]


@pytest.mark.parametrize(
    ("name", "file", "reason"),
    [
        ("gtfs-realtime", "gtfsrt-bad/14-empty-file.pb", "an empty body"),
        ("gtfs-realtime", "gtfsrt-bad/13-truncated.pb", "no GTFS-realtime message"),
        ("gtfs-realtime", "gtfsrt-bad/header-without-timestamp.pb", "without header.timestamp"),
        ("gtfs-realtime", "gtfsrt-bad/html-challenge-instead-of-pb.html", "(an HTML page)"),
        ("gtfs-realtime", "gtfsrt-bad/derived-nyct-ace.pb.gz", "(a gzip file whose headers do not say so)"),
        ("gbfs", "gtfsrt-bad/html-challenge-instead-of-pb.html", "no JSON"),
        ("gbfs", "json/vehicle_position_1683740698.json", "JSON without /last_updated"),
        ("siri", "rss/pet_atom.xml", "XML without ResponseTimestamp"),
        ("rss", "rss/InvalidDateFormat.xml", "no XML: no element found"),
        ("rss", "siri/sirilike-empty.xml", "no date of a feed or of an item"),
        ("http", SUBWAY, "neither Last-Modified nor Date"),
    ],
)
def test_a_body_without_a_time_is_corrupt_for_a_stated_reason(name: str, file: str, reason: str) -> None:
    with pytest.raises(Corrupt, match=re.escape(reason)):
        read(name, capture(file))


@pytest.mark.parametrize("cut", [1, 2, 1000, 66040, 132070])
def test_a_cut_gtfs_realtime_body_is_corrupt_though_its_header_is_whole(cut: int) -> None:
    with pytest.raises(Corrupt):
        read("gtfs-realtime", capture(SUBWAY)[:-cut])


NO_ZONES = ("CET", "BST", "JST", "AEST", "AST", "A", "GMT+0100", "+2", "somewhere", "GMT GMT")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1751437263, 1751437263),
        (1751437263.5, 1751437263.5),
        (1751437263500, 1751437263.5),
        (1751437263500000, 1751437263.5),
        ("1751437263", 1751437263),
        ("2025-07-02T06:21:03Z", 1751437263),
        ("2025-07-02T06:21:03.25+00:00", 1751437263.25),
        ("2025-07-02T08:21:03.308988123+02:00", 1751437263.308988),
        ("2025-07-02 06:21:03", 1751437263),
        ("2025-07-02T01:51-0430", 1751437260),
        ("2016-12-31T23:59:60Z", 1483228800),
        (20250702062103, 1751437263),
        ("20250702062103", 1751437263),
        (20250702062103.25, 1751437263.25),
        ("20250702062103.25", 1751437263.25),
        (20250702062103250, 1751437263.25),
        ("20250702062103250000", 1751437263.25),
        (202507020621, 1751437260),
        ("20250702T062103Z", 1751437263),
        ("20250702T0621Z", 1751437260),
        ("20250702 082103+0200", 1751437263),
        ("20250702062103Z", 1751437263),
        (1751437263500000000, 1751437263.5),
        (946684800000, 946684800),
        ("Wed, 02 Jul 2025 06:21:03 GMT", 1751437263),
        ("Wed, 02 Jul 2025 08:21:03 +0200", 1751437263),
        ("\n  2025-07-02T06:21:03Z\n", 1751437263),
        ("Wed, 02 Jul 2025 06:21:03", 1751437263),
        ("Wed, 02 Jul 2025 06:21:03 Z", 1751437263),
        ("Wed, 02 Jul 2025 06:21:03 UT", 1751437263),
        ("02 Jul 2025 06:21:03 utc", 1751437263),
        ("Wed, 02 Jul 2025 06:21:03 -0000", 1751437263),
        ("Wed, 02 Jul 2025 08:21:03 +02:00", 1751437263),
        ("Wed, 02 Jul 2025 08:21:03 +0200 (CEST)", 1751437263),
        ("Wed, 02 Jul 2025 06:21 GMT", 1751437260),
        ("Wednesday, 02-Jul-25 06:21:03 GMT", 1751437263),
        ("Wed Jul  2 06:21:03 2025", 1751437263),
        ("Wed Jul  2 06:21:03 UTC 2025", 1751437263),
    ],
)
def test_every_way_of_writing_a_moment_is_read(value: object, expected: float) -> None:
    assert read_moment(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("zone", "hours"),
    [*(("EST", -5), ("EDT", -4), ("CST", -6), ("CDT", -5)), *(("MST", -7), ("MDT", -6), ("PST", -8), ("pdt", -7))],
)
def test_the_zones_of_the_us_are_known_by_name(zone: str, hours: int) -> None:
    assert read_moment(f"Wed, 02 Jul 2025 06:21:03 {zone}") == 1751437263 - hours * 3600


def test_a_zone_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"no known zone \(found 'CET'\); known: UT UTC GMT Z EST .* PDT, \+hhmm"):
        read_moment("Wed, 02 Jul 2025 06:21:03 CET")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, [], {}, "", "soon", 0, -1, "-1", 10**30, 10**400, float("nan"), float("inf")),
        *(f"Wed, 02 Jul 2025 06:21:03 {zone}" for zone in NO_ZONES),
        *(
            "Wed Jul  2 06:21:03 CET 2025",
            "Wednesday, 02-Jul-25 06:21:03 JST",
            "Wed, 02 Jul 2025 06.21.03 CET",
            "Wed, 02 Jul 2025 06:21:03 +9999",
        ),
        *(20251302062103, "20250230062103", 20250702246103, 99991231235959, 20251302062103000, "2025070206210Z"),
        *("2025-07-02" + " " * 500 + "06:21", "9" * 500),
        *("2025-02-30T00:00:00Z", "2025-07-02T06:21:61Z", "2025-07-02T25:00Z", "1969-12-31T23:59:59Z"),
    ],
)
def test_what_is_no_moment_is_refused_and_never_replaced_by_now(value: object) -> None:
    with pytest.raises(ValueError):
        read_moment(value)


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000])
def test_a_gtfs_realtime_header_may_be_in_milliseconds_or_microseconds(factor: int) -> None:
    message: Any = gtfs_realtime_pb2.FeedMessage.FromString(capture(SUBWAY))  # type: ignore[attr-defined]
    message.header.timestamp *= factor

    assert read("gtfs-realtime", message.SerializeToString()) == 1707397155


def test_gbfs_3_writes_its_time_as_text() -> None:
    assert read("gbfs", b'{"last_updated":"2025-07-02T06:21:03Z","ttl":0}') == 1751437263


def test_siri_lite_may_be_json() -> None:
    body = b'{"Siri":{"ServiceDelivery":{"ResponseTimestamp":"2025-07-02T06:21:03+00:00"}}}'
    assert read("siri", body) == 1751437263


def test_a_json_pointer_goes_through_lists_and_escaped_names() -> None:
    assert read("json:/a~1b/1/m~0n", b'{"a/b":[0,{"m~n":1751437263}]}') == 1751437263


@pytest.mark.parametrize(
    ("pointer", "body"),
    [
        ("/a/0", b'{"a":[1751437263]}'),
        ("/0/a", b' [{"a":1751437263},{}]'),
        ("/0", b'{"0":1751437263}'),
        ("/é", '{"é":1751437263}'.encode()),
        ("/a", b'{"\\u0061":1751437263}'),
        ("/", b'{"":1751437263}'),
        ("/a", b'{"a":1,"a":1751437263}'),
        ("/a", b'{"b":"\xe9","a":1751437263}'),
        ("/999", b"[" + b"0," * 999 + b"1751437263]"),
    ],
)
def test_a_json_pointer_leads_to_one_value(pointer: str, body: bytes) -> None:
    assert read(f"json:{pointer}", body) == 1751437263


@pytest.mark.parametrize(
    ("pointer", "body", "words"),
    [
        ("/1", b"[1751437263]", "JSON without /1"),
        ("/-1", b"[1751437263]", "JSON without /-1"),
        ("/a/b", b'{"a":1751437263}', "JSON without /a/b"),
        ("/a", b'{"a":{}}', "/a: no time (found an object)"),
        ("/a", b'{"a":[1]}', "/a: no time (found a list)"),
        ("/a", b'{"a":null}', "/a: no time (found NoneType)"),
        ("/a", b'{"a":true}', "/a: no time (found bool)"),
        ("/a", b'{"a":"\xff"}', "/a: 'utf-8' codec"),
        ("/a", b'{"a":1e999}', "/a: Number out of range"),
        ("/a", b'{"a":1', "no JSON"),
        ("/a", b"", "no JSON"),
    ],
)
def test_where_a_json_pointer_leads_to_no_time_the_reason_is_told(pointer: str, body: bytes, words: str) -> None:
    with pytest.raises(Corrupt, match=re.escape(words)):
        read(f"json:{pointer}", body)


def test_an_xml_path_finds_attributes_and_ignores_namespaces() -> None:
    body = b'<n:root xmlns:n="u"><n:vehicle/><n:lastTime n:time="1751437263500"/></n:root>'
    assert read("xml:lastTime/@time", body) == 1751437263.5


@pytest.mark.parametrize("depth", [1, 400])
def test_a_text_in_half_a_million_pieces_is_read_as_quickly_as_any(depth: int) -> None:
    # each piece used to cost as much as all those before it: half an hour
    body = b"<date>" * depth + b"1751437263" + b" <b/>" * 500_000 + b"</date>" * depth

    assert read("xml:date", body) == 1751437263


def test_of_a_text_no_more_is_kept_than_a_date_could_need() -> None:
    texts = texts_of(b"<a><t>12" + b"<t>x</t>" * 3 + b"3" * 4 * MAX_TEXT + b"</t><t>45</t></a>", "t")

    assert texts == ["x", "x", "x", ("12xxx" + "3" * MAX_TEXT)[:MAX_TEXT], "45"]


def test_a_text_of_megabytes_takes_no_memory() -> None:
    body = b"<t>" + b"3333<b/>" * 300_000 + b"</t>"

    tracemalloc.start()
    [text] = texts_of(body, "t")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert text == "3" * MAX_TEXT
    assert peak < 2 * len(body)


def test_an_empty_line_before_the_xml_declaration_is_forgiven() -> None:
    assert read("rss", b"\n" + capture("rss/pet_atom.xml")) == 1356633157


def test_an_rss_channel_without_a_date_takes_its_newest_item() -> None:
    items = "".join(f"<item><pubDate>{day} Oct 2017 15:10:00 +0000</pubDate></item>" for day in (16, 18, 17))
    body = f"<rss><channel><lastBuildDate>bad</lastBuildDate>{items}</channel></rss>".encode()
    assert read("rss", body) == 1508339400


def test_http_prefers_last_modified_to_date_whatever_the_case_of_the_names() -> None:
    date, modified = "Wed, 02 Jul 2025 06:21:10 GMT", "Wed, 02 Jul 2025 06:21:03 GMT"
    assert read("http", b"", {"date": date}) == 1751437270
    assert read("http", b"", {"DATE": date, "last-modified": modified}) == 1751437263


LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 9))


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE r [<!ENTITY l0 "ha">' + LAUGHS + b"]><r><pubDate>&l8;</pubDate></r>",
        b'<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd">]><r><updated>&f;</updated></r>',
        b'<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:1/">%p;]><r/>',
        b"<a>" * 100_000 + b"</a>" * 100_000,
    ],
)
def test_hostile_xml_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt, match=r"entity|nested"):
        read("xml:updated", body)


def test_deeply_nested_json_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="no JSON"):
        read("gbfs", b"[" * 1_000_000)


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """Write a plugin module of a name that no other test uses; return that name."""
    name = f"plugin_{re.sub('[^a-z0-9]', '_', str(tmp_path).lower())}"
    text = """
        def size(path): return 1751437263 + __import__('os').path.getsize(path)
        def minus_one(path): return -1
        def broken(path): raise KeyError('vehicle')
        def nothing(path): return None
        constant = 3
    """
    (tmp_path / f"{name}.py").write_text(re.sub("(?m)^ +", "", text))
    return name


def test_a_plugin_is_given_the_path_of_the_body(plugin: str, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"12345")
    reader = resolve(f"{plugin}:size", tmp_path)
    assert reader(Fetched(b"12345", {}, 1.0, file)) == 1751437268
    assert reader(Fetched(b"123", {}, 1.0)) == 1751437266


@pytest.mark.parametrize(
    ("callable_name", "reason"),
    [("minus_one", "found -1"), ("broken", "KeyError: 'vehicle'"), ("nothing", "returned no number")],
)
def test_a_plugin_says_corrupt_by_minus_one_or_any_exception(
    plugin: str, tmp_path: Path, callable_name: str, reason: str
) -> None:
    with pytest.raises(Corrupt, match=re.escape(reason)):
        read(f"{plugin}:{callable_name}", b"x", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gtfs-realtme", "unknown timestamp (found 'gtfs-realtme'); allowed: gtfs-realtime, gbfs, siri, "),
        ("gtfs-realtme", "did you mean gtfs-realtime?"),
        ("json:", "unknown timestamp"),
        ("json:t", "did you mean json:/t?"),
        ("xml:a//b", "bad XML path"),
        ("no_such_module:timestamp", "cannot import no_such_module"),
        ("math:nothing", "math has no callable nothing"),
    ],
)
def test_a_wrong_timestamp_option_is_explained(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        resolve(name, Path("."))


def test_the_entity_hash_ignores_the_header_and_nothing_else() -> None:
    message: Any = gtfs_realtime_pb2.FeedMessage()  # type: ignore[attr-defined]
    message.ParseFromString(capture(SUBWAY))
    message.header.timestamp += 30
    later = message.SerializeToString()
    message.entity[100].is_deleted = True
    assert entity_hash(later) == entity_hash(capture(SUBWAY)) and later != capture(SUBWAY)
    assert entity_hash(message.SerializeToString()) != entity_hash(later)


def test_two_feeds_under_one_clock_have_different_entities() -> None:
    first, second = (capture(f"gtfsrt/nyct_subways_gtfs_rt.2024-03-19T00-35-{s}-04-00.pb") for s in (46, 49))
    assert read("gtfs-realtime", first) == read("gtfs-realtime", second) == 1710822946
    assert entity_hash(first) != entity_hash(second)


def test_the_entities_of_what_is_no_protocol_buffer_are_corrupt() -> None:
    with pytest.raises(Corrupt):
        entity_hash(capture("gtfsrt-bad/html-challenge-instead-of-pb.html"))
