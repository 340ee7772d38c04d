"""Archived GTFS-realtime becomes tables that say the same as the feeds did."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from google.transit import gtfs_realtime_pb2

from aggregator.errors import Unavailable
from aggregator.feeds.query.catalogue import Span, find_bundles
from aggregator.feeds.query.export import Exported, Target, export
from aggregator.feeds.query.rowfiles import COLUMNS, FORMATS, Format, open_rows
from aggregator.feeds.reading.entities import Decoder
from aggregator.feeds.reading.fetched import Corrupt
from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.feeds.archives import CAPTURES, START, folder_store, manifest, published, store_bundle, store_hour, ticks_of
from tests.feeds.bundles import MemoryBody
from tests.feeds.captures import capture
from tests.processes import PROJECT
from tests.stores.servers import Moto, Proxy


def run(
    store: Store, path: Path, format_name: Format, *, span: Span | None = None, is_folder: bool = False
) -> list[Exported]:
    """Export everything a store has."""
    return list(export(store, find_bundles(store, ""), span, Target(path, format_name, is_folder=is_folder)))


def read(path: Path) -> list[dict[str, Any]]:
    """Read a table of any format."""
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def message(*entities: Any, timestamp: int = START) -> bytes:
    """Return a GTFS-realtime message."""
    made = gtfs_realtime_pb2.FeedMessage(entity=entities)
    made.header.gtfs_realtime_version = "2.0"
    made.header.timestamp = timestamp
    data: bytes = made.SerializeToString()
    return data


def entity(**parts: Any) -> Any:
    return gtfs_realtime_pb2.FeedEntity(id="1", **parts)


# --- rows ---


def test_every_entity_of_real_captures_is_a_row(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    entities = [gtfs_realtime_pb2.FeedMessage.FromString(data).entity for _, data in CAPTURES]

    (result,) = run(store, tmp_path / "out.jsonl", "jsonl")

    rows = read(tmp_path / "out.jsonl")
    assert [row["entity_id"] for row in rows] == [one.id for some in entities for one in some]
    assert (result.publications, result.rows, result.problems) == (11, len(rows), ())
    assert list(rows[0]) == list(COLUMNS)


def test_a_row_says_where_and_when_it_comes_from(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)

    run(store, tmp_path / "out.jsonl", "jsonl")

    row = read(tmp_path / "out.jsonl")[0]
    assert {name: row[name] for name in ("feed", "source_url", "publication", "fetched_at", "header_at")} == {
        "feed": "nyct",
        "source_url": "https://example.org/nyct.pb",
        "publication": "nyct-2024-02-08T130015Z.pb",
        "fetched_at": "2024-02-08T13:00:20.500Z",
        "header_at": "2024-02-08T13:00:15.000Z",
    }


def test_a_header_in_milliseconds_is_the_moment_it_means(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    body = message(entity(), timestamp=1707397215250)
    store_bundle(store, [MemoryBody(published()[0].name, body)])

    run(store, tmp_path / "out.jsonl", "jsonl")

    assert read(tmp_path / "out.jsonl")[0]["header_at"] == "2024-02-08T13:00:15.250Z"


def test_what_was_fetched_in_the_next_hour_has_its_fetch_time_too(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    bodies = published()
    store_bundle(store, bodies, [manifest([])])
    late = [tick for tick in ticks_of(bodies) if tick.planned_ms > 0]
    store_bundle(store, [], [manifest(late, start=START + 3600)], start=START + 3600)

    run(store, tmp_path / "out.jsonl", "jsonl")

    assert all(row["fetched_at"] for row in read(tmp_path / "out.jsonl"))


@pytest.mark.parametrize("hour", [-1, 1])
def test_what_was_fetched_beside_the_time_asked_for_has_its_fetch_time_too(tmp_path: Path, hour: int) -> None:
    """The feed's clock is fast, or its last publication came after the hour."""
    store = folder_store(tmp_path)
    bodies = published()
    store_bundle(store, bodies, [manifest([])], prefix="p")
    beside = START + hour * 3600
    store_bundle(store, [], [manifest(ticks_of(bodies), start=beside)], start=beside, prefix="p")
    store_bundle(store, [], [manifest([])], feed="other", prefix="p")
    (bundle,) = [one for one in find_bundles(store, "p") if (one.feed, one.start) == ("nyct", START)]

    list(export(store, [bundle], None, Target(tmp_path / "out.jsonl", "jsonl", is_folder=False)))

    assert {row["source_url"] for row in read(tmp_path / "out.jsonl")} == {"https://example.org/nyct.pb"}
    assert all(row["fetched_at"] for row in read(tmp_path / "out.jsonl"))


def test_a_damaged_bundle_beside_the_time_asked_for_is_no_problem(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    (bundle,) = find_bundles(store, "")
    store.put(store_bundle(store, [], start=START + 3600), b"BZh9 nonsense")

    (result,) = export(store, [bundle], None, Target(tmp_path / "out.jsonl", "jsonl", is_folder=False))

    assert (result.publications, result.problems) == (11, ())


def test_each_bundle_is_fetched_once(tmp_path: Path, proxy: Proxy, prefix: str) -> None:
    store = open_store(**proxy.options(prefix))
    for hour in range(4):
        start = START + 3600 * hour
        store_bundle(
            store, [MemoryBody(f"nyct-{hour}", message(entity()), start)], [manifest([], start=start)], start=start
        )
    bundles = find_bundles(store, "")
    proxy.seen.clear()

    assert len(list(export(store, bundles, None, Target(tmp_path / "out.csv", "csv", is_folder=False)))) == 4

    assert sum(line.startswith("GET") and "tar.zst" in line and "list-type" not in line for line in proxy.seen) == 4
    store.close()


def test_trip_updates_vehicles_and_stops_are_read_out() -> None:
    update = gtfs_realtime_pb2.TripUpdate(timestamp=START - 5, delay=-30)
    update.trip.trip_id, update.trip.route_id, update.trip.start_date = "T", "R", "20240208"
    stop = update.stop_time_update.add(stop_sequence=3, stop_id="S")
    stop.arrival.delay, stop.departure.time = 60, START + 100
    vehicle = gtfs_realtime_pb2.VehiclePosition(stop_id="S", current_status=1, occupancy_percentage=40)
    vehicle.vehicle.id, vehicle.vehicle.label = "V", "bus"
    vehicle.position.latitude, vehicle.position.longitude = 1.5, -2.25

    one, two, both = Decoder().rows(
        message(entity(trip_update=update), entity(vehicle=vehicle), entity(trip_update=update, vehicle=vehicle))
    )

    assert (one["kind"], two["kind"], both["kind"]) == ("trip_update", "vehicle", "trip_update+vehicle")
    assert (one["trip_id"], one["route_id"], one["start_date"], one["delay"]) == ("T", "R", "20240208", -30)
    assert one["stop_time_updates"] == [
        {
            "stop_sequence": 3,
            "stop_id": "S",
            "arrival_time": None,
            "arrival_delay": 60,
            "departure_time": START + 100,
            "departure_delay": None,
            "schedule_relationship": None,
        }
    ]
    assert (two["vehicle_id"], two["latitude"], two["longitude"], two["current_status"]) == (
        "V",
        1.5,
        -2.25,
        "STOPPED_AT",
    )
    assert (two["trip_id"], two["occupancy_percentage"]) == (None, 40)
    assert (both["trip_id"], both["vehicle_label"], both["timestamp"]) == ("T", "bus", START - 5)


def test_alerts_are_read_out() -> None:
    alert = gtfs_realtime_pb2.Alert(cause=3, effect=1)
    alert.header_text.translation.add(text="Störung", language="de")
    alert.header_text.translation.add(text="Trouble", language="en")
    alert.active_period.add(start=START)
    alert.informed_entity.add(agency_id="A", stop_id="S").trip.trip_id = "T"

    (row,) = Decoder().rows(message(entity(alert=alert)))

    assert (row["kind"], row["cause"], row["effect"], row["header_text"]) == (
        "alert",
        "TECHNICAL_PROBLEM",
        "NO_SERVICE",
        "Störung",
    )
    assert row["active_periods"] == [{"start": START, "end": None}]
    assert row["informed_entities"] == [
        {"agency_id": "A", "route_id": None, "route_type": None, "stop_id": "S", "trip_id": "T"}
    ]


@pytest.mark.parametrize("format_name", FORMATS)
def test_impossible_numbers_of_a_feed_do_no_harm(tmp_path: Path, format_name: Format) -> None:
    vehicle = gtfs_realtime_pb2.VehiclePosition(timestamp=2**64 - 1)
    vehicle.position.latitude, vehicle.position.longitude = float("nan"), float("inf")
    store = folder_store(tmp_path)
    body = message(entity(vehicle=vehicle, is_deleted=True), timestamp=2**63 + 5)
    store_bundle(
        store,
        [
            MemoryBody(published()[0].name, body),
            MemoryBody(published()[1].name, capture("gtfsrt-bad/11-out-of-range-times.pb")),
        ],
    )

    (result,) = run(store, tmp_path / f"out.{format_name}", format_name)

    rows = read(tmp_path / f"out.{format_name}")
    assert (len(rows), result.problems) == (3, ())
    assert (rows[0]["timestamp"] or None, rows[0]["header_at"] or None) == (None, None)


@pytest.mark.parametrize("name", ["gtfsrt-bad/html-challenge-instead-of-pb.html", "gtfsrt-bad/14-empty-file.pb"])
def test_what_is_no_message_is_refused(name: str) -> None:
    with pytest.raises(Corrupt, match="no GTFS-realtime message"):
        Decoder().rows(capture(name))


def test_text_that_is_no_utf_8_is_kept_as_far_as_it_can_be_read() -> None:
    body = message(entity(vehicle=gtfs_realtime_pb2.VehiclePosition(stop_id="ABCD"))).replace(b"ABCD", b"A\xff\xfeD")

    (row,) = Decoder().rows(body)

    assert row["stop_id"] == "A\ufffd\ufffdD"


# --- files ---


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)

    for format_name in FORMATS:
        run(store, tmp_path / f"out.{format_name}", format_name)

    from_json, from_parquet, from_csv = (read(tmp_path / f"out.{name}") for name in ("jsonl", "parquet", "csv"))
    for row, twin, cells in zip(from_json, from_parquet, from_csv, strict=True):
        for name, kind in COLUMNS.items():
            value = row[name]
            if kind == "time":
                assert twin[name].isoformat(timespec="milliseconds") == value.replace("Z", "+00:00")
            else:
                assert twin[name] == value
            if isinstance(kind, dict):
                assert json.loads(cells[name] or "[]") == value
            else:
                words = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
                assert cells[name] == words


def test_parquet_has_types_and_is_small(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    for format_name in FORMATS:
        run(store, tmp_path / f"out.{format_name}", format_name)

    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")

    assert str(schema.field("fetched_at").type) == "timestamp[ms, tz=UTC]"
    assert str(schema.field("stop_time_updates").type).startswith("list<element: struct<stop_sequence: int64")
    assert (tmp_path / "out.parquet").stat().st_size < (tmp_path / "out.csv").stat().st_size / 20


def test_many_rows_make_several_row_groups(tmp_path: Path) -> None:
    file = open_rows(tmp_path / "out.parquet", "parquet")
    for number in range(104_001):
        file.write({"feed": "f", "delay": number})
    file.close()

    table = pyarrow.parquet.ParquetFile(tmp_path / "out.parquet")

    assert (table.metadata.num_rows, table.metadata.num_row_groups) == (104_001, 3)
    assert table.read(["delay"])["delay"].to_pylist() == list(range(104_001))


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_rows_make_an_empty_table(tmp_path: Path, format_name: Format) -> None:
    open_rows(tmp_path / f"out.{format_name}", format_name).close()

    assert read(tmp_path / f"out.{format_name}") == []


def test_a_folder_gets_a_file_for_each_feed_and_day(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store_hour(store, "other")
    later = START + 86_400
    body = MemoryBody(f"nyct-{'2024-02-09T130000Z'}.pb", message(entity()), later)
    store_bundle(store, [body], start=later)

    run(store, tmp_path / "out", "csv", is_folder=True)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "nyct-2024-02-08.csv",
        "nyct-2024-02-09.csv",
        "other-2024-02-08.csv",
    ]
    assert {row["feed"] for row in read(tmp_path / "out" / "other-2024-02-08.csv")} == {"other"}


def test_another_part_of_a_day_does_not_take_the_place_of_the_first(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    midnight = START // 86_400 * 86_400

    for span in (Span(0, START + 60), Span(START + 60, midnight + 86_400), Span(midnight, midnight + 86_400)):
        target = Target(tmp_path / "out", "csv", is_folder=True, span=span)
        list(export(store, find_bundles(store, "", span), span, target))

    rows = {path.name: len({row["publication"] for row in read(path)}) for path in (tmp_path / "out").iterdir()}
    assert rows == {
        "nyct-2024-02-08.000000-130100.csv": 1,
        "nyct-2024-02-08.130100-240000.csv": 10,
        "nyct-2024-02-08.csv": 11,
    }


def test_only_publications_of_the_span_are_taken(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)

    (result,) = run(store, tmp_path / "out.csv", "csv", span=Span(START + 60, START + 180))

    assert {row["publication"] for row in read(tmp_path / "out.csv")} == {
        "nyct-2024-02-08T130115Z.pb",
        "nyct-2024-02-08T130215Z.pb",
    }
    assert result.publications == 2


def test_a_publication_in_several_objects_is_taken_once(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store_bundle(store, published(), format_name="bz2")

    (result,) = run(store, tmp_path / "out.csv", "csv")

    assert result.publications == 11


def test_what_cannot_be_read_is_said_and_the_rest_comes(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, [MemoryBody(published()[0].name, b"<html>"), *published()[1:3]])
    key = store_hour(store, "damaged")
    store.put(key, b"BZh9 nonsense")

    damaged, result = run(store, tmp_path / "out.csv", "csv")

    assert (result.publications, len(result.problems)) == (2, 1)
    assert result.problems[0].startswith(f"{published()[0].name}: no GTFS-realtime message")
    assert damaged.problems[0].startswith(key)


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    path = tmp_path / "out.csv"
    path.write_text("before")
    going = export(store, find_bundles(store, ""), None, Target(path, "csv", is_folder=False))

    next(going)
    going.close()

    assert path.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_without_pyarrow_parquet_says_what_to_install_and_csv_works(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
from aggregator.errors import AggregatorError
from aggregator.feeds.query.rowfiles import open_rows
open_rows(Path(sys.argv[1]), "csv").close()
try:
    open_rows(Path(sys.argv[2]), "parquet")
except AggregatorError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a.csv"), str(tmp_path / "a.parquet")]

    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)

    assert done.stdout == (
        f"Parquet needs pyarrow, which is not here: {sys.executable} -m pip install pyarrow, or choose csv or jsonl\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_store_that_goes_away_ends_the_export_and_leaves_no_table(tmp_path: Path) -> None:
    with Moto(tmp_path / "moto") as server:
        store = open_store(**server.options("p"))
        store_hour(store, "a")
        store_hour(store, "b")
        target = Target(tmp_path / "out.csv", "csv", is_folder=False)
        going = export(store, find_bundles(store, ""), None, target)
        next(going)
        server.kill()

        with pytest.raises(Unavailable):
            next(going)
        store.close()

    assert not (tmp_path / "out.csv").exists()
