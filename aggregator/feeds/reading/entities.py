"""Turn a GTFS-realtime message into rows: one for each entity, with the fields that analysts ask for.

Times inside a feed are kept as Unix seconds, as feeds contain impossible times too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aggregator.feeds.query.rowfiles import Row
from aggregator.feeds.reading.fetched import Corrupt
from aggregator.feeds.reading.protobuf import PIECE, BadMessage, Fields, gtfs_realtime

KINDS = ("trip_update", "vehicle", "alert", "shape", "stop", "trip_modifications")

_MAX_INT = 2**63 - 1
_ENTITY = 2
"""The number of `entity` in FeedMessage, gtfs-realtime.proto."""

TRIP = ("trip_id", "route_id", "direction_id", "start_date", "start_time", "schedule_relationship")
VEHICLE = ("id", "label", "license_plate", "wheelchair_accessible")
POSITION = ("latitude", "longitude", "bearing", "odometer", "speed")
STATUS = ("current_stop_sequence", "stop_id", "current_status", "congestion_level", "occupancy_status")


LARGEST_ENTITY = 1024 * 1024
"""The most bytes of one entity; a larger entity takes too much memory as a row."""


class Decoder:
    """Turn messages into rows."""

    def __init__(self) -> None:
        self._parser = gtfs_realtime()

    def rows(self, body: bytes) -> Iterator[Row]:
        """Return one row for each entity. Raises Corrupt before the first row when the body is not GTFS-realtime."""
        try:
            # a small body is one piece, which is parsed only once
            pieces = list(self._pieces(body)) if len(body) <= PIECE else None
            header_at, has_header = None, False
            for piece in pieces or self._pieces(body):
                has_header |= piece.HasField("header")
                header_at = _given(piece.header).get("timestamp", header_at)
            fields = Fields(body).between(0, len(body)) if pieces is None else ()
            too_large = any(field.number == _ENTITY and field.end - field.start > LARGEST_ENTITY for field in fields)
        except BadMessage as error:
            raise Corrupt(f"no GTFS-realtime message: {error}") from error
        if not has_header:
            raise Corrupt("no GTFS-realtime message: it has no header")
        if too_large:
            raise Corrupt(f"an entity of more than {LARGEST_ENTITY} bytes")
        return ({"header_at": header_at, **_entity(e)} for piece in pieces or self._pieces(body) for e in piece.entity)

    def _pieces(self, body: bytes) -> Iterator[Any]:
        return self._parser.pieces(body, LARGEST_ENTITY)


def _entity(entity: Any) -> Row:
    given = _given(entity)
    update, vehicle = _given(given.get("trip_update")), _given(given.get("vehicle"))
    # an entity may be of several kinds: the vehicle may have fields that the trip update lacks
    trip = _given(vehicle.get("trip")) | _given(update.get("trip"))
    carrier = _given(vehicle.get("vehicle")) | _given(update.get("vehicle"))
    position = _given(vehicle.get("position"))
    return {
        "entity_id": given.get("id", ""),
        "kind": "+".join(kind for kind in KINDS if kind in given),
        "is_deleted": given.get("is_deleted", False),
        **{name: trip.get(name) for name in TRIP},
        **{f"vehicle_{name.removeprefix('vehicle_')}": carrier.get(name) for name in VEHICLE},
        "timestamp": update.get("timestamp", vehicle.get("timestamp")),
        "delay": update.get("delay"),
        "stop_time_updates": [_stop_time(_given(stop)) for stop in update.get("stop_time_update", ())],
        **{name: position.get(name) for name in POSITION},
        **{name: vehicle.get(name) for name in STATUS},
        "occupancy_percentage": vehicle.get("occupancy_percentage"),
        **_alert(_given(given.get("alert"))),
    }


def _stop_time(stop: Row) -> Row:
    arrival, departure = _given(stop.get("arrival")), _given(stop.get("departure"))
    return {
        "stop_sequence": stop.get("stop_sequence"),
        "stop_id": stop.get("stop_id"),
        "arrival_time": arrival.get("time"),
        "arrival_delay": arrival.get("delay"),
        "departure_time": departure.get("time"),
        "departure_delay": departure.get("delay"),
        "schedule_relationship": stop.get("schedule_relationship"),
    }


def _alert(alert: Row) -> Row:
    periods = [_given(period) for period in alert.get("active_period", ())]
    return {
        "cause": alert.get("cause"),
        "effect": alert.get("effect"),
        "severity_level": alert.get("severity_level"),
        "header_text": _text(alert.get("header_text")),
        "description_text": _text(alert.get("description_text")),
        "url": _text(alert.get("url")),
        "active_periods": [{"start": period.get("start"), "end": period.get("end")} for period in periods],
        "informed_entities": [_informed(_given(selector)) for selector in alert.get("informed_entity", ())],
    }


def _informed(selector: Row) -> Row:
    names = ("agency_id", "route_id", "route_type", "stop_id")
    trip = _given(selector.get("trip"))
    return {**{name: selector.get(name) for name in names}, "trip_id": trip.get("trip_id")}


def _text(translated: Any) -> str | None:
    """Return a text in its first language."""
    first = next(iter(_given(translated).get("translation", ())), None)
    return None if first is None else _given(first).get("text", "")


def _given(part: Any) -> Row:
    """Return the fields that are set in a message, by name, enumerations as words; none when the message is None.

    One call returns all set fields, which is faster than asking for each possible field.
    """
    if part is None:
        return {}
    return {field.name: _plain(field, value) for field, value in part.ListFields()}


def _plain(field: Any, value: Any) -> Any:
    """Return a value that fits into every table, as unsigned integers may be too large and texts not UTF-8."""
    if isinstance(value, int):
        if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            return known.name if known else str(value)
        return None if value > _MAX_INT else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
