"""A GTFS-realtime message as rows: one for each entity, with everything in it that analysts ask for.

Times inside a feed stay the Unix seconds that they are, as feeds hold impossible ones too.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from aggregator.feeds.rowfiles import Row
from aggregator.feeds.timestamps import Corrupt

KINDS = ("trip_update", "vehicle", "alert", "shape", "stop", "trip_modifications")

_MAX_INT = 2**63 - 1

TRIP = ("trip_id", "route_id", "direction_id", "start_date", "start_time", "schedule_relationship")
VEHICLE = ("id", "label", "license_plate", "wheelchair_accessible")
POSITION = ("latitude", "longitude", "bearing", "odometer", "speed")
STATUS = ("current_stop_sequence", "stop_id", "current_status", "congestion_level", "occupancy_status")


class Decoder:
    """Turn messages into rows."""

    def __init__(self) -> None:
        # Imported late: 30 ms and 8 MB that only exports pay.
        self._message: Any = importlib.import_module("google.transit.gtfs_realtime_pb2").FeedMessage
        self._error: Any = importlib.import_module("google.protobuf.message").DecodeError

    def rows(self, body: bytes) -> list[Row]:
        """Return an entity a row. Raises Corrupt when it is no GTFS-realtime message."""
        message = self._message()
        try:
            message.ParseFromString(body)
            header_at = _given(message.header, "timestamp")
            rows = [{"header_at": header_at, **_entity(entity)} for entity in message.entity]
        except self._error as error:
            raise Corrupt(f"no GTFS-realtime message: {error}") from error
        if not message.HasField("header"):
            raise Corrupt("no GTFS-realtime message: it has no header")
        return rows


def _entity(entity: Any) -> Row:
    kinds = [kind for kind in KINDS if kind in entity.DESCRIPTOR.fields_by_name and entity.HasField(kind)]
    update, vehicle = entity.trip_update, entity.vehicle
    # one entity may be several things: what a trip update does not say, the vehicle may
    trips = [part.trip for part in (update, vehicle) if part.HasField("trip")]
    vehicles = [part.vehicle for part in (update, vehicle) if part.HasField("vehicle")]
    row: Row = {
        "entity_id": _plain(entity.id),
        "kind": "+".join(kinds),
        "is_deleted": entity.is_deleted,
        **{name: _first(trips, name) for name in TRIP},
        **{f"vehicle_{name.removeprefix('vehicle_')}": _first(vehicles, name) for name in VEHICLE},
        "timestamp": _first([update, vehicle], "timestamp"),
        "delay": _given(update, "delay"),
        "stop_time_updates": [_stop_time(stop) for stop in update.stop_time_update],
        **{name: _given(vehicle.position, name) for name in POSITION},
        **{name: _given(vehicle, name) for name in STATUS},
        "occupancy_percentage": _given(vehicle, "occupancy_percentage"),
    }
    return row | _alert(entity.alert if entity.HasField("alert") else None)


def _stop_time(stop: Any) -> Row:
    return {
        "stop_sequence": _given(stop, "stop_sequence"),
        "stop_id": _given(stop, "stop_id"),
        "arrival_time": _given(stop.arrival, "time"),
        "arrival_delay": _given(stop.arrival, "delay"),
        "departure_time": _given(stop.departure, "time"),
        "departure_delay": _given(stop.departure, "delay"),
        "schedule_relationship": _given(stop, "schedule_relationship"),
    }


def _alert(alert: Any | None) -> Row:
    if alert is None:
        names = ("cause", "effect", "severity_level", "header_text", "description_text", "url")
        return {**dict.fromkeys(names), "active_periods": [], "informed_entities": []}
    return {
        "cause": _given(alert, "cause"),
        "effect": _given(alert, "effect"),
        "severity_level": _given(alert, "severity_level"),
        "header_text": _text(alert.header_text),
        "description_text": _text(alert.description_text),
        "url": _text(alert.url),
        "active_periods": [
            {"start": _given(period, "start"), "end": _given(period, "end")} for period in alert.active_period
        ],
        "informed_entities": [_informed(selector) for selector in alert.informed_entity],
    }


def _informed(selector: Any) -> Row:
    names = ("agency_id", "route_id", "route_type", "stop_id")
    return {**{name: _given(selector, name) for name in names}, "trip_id": _given(selector.trip, "trip_id")}


def _text(translated: Any) -> str | None:
    """Return a text in its first language."""
    return next((_plain(translation.text) for translation in translated.translation), None)


def _first(parts: Iterable[Any], name: str) -> Any:
    return next((value for part in parts if (value := _given(part, name)) is not None), None)


def _given(part: Any, name: str) -> Any:
    """Return a field's value, words for enumerations; None when the producer did not give it."""
    field = part.DESCRIPTOR.fields_by_name.get(name)
    if field is None or not part.HasField(name):
        return None
    value = getattr(part, name)
    if field.enum_type is None:
        return _plain(value)
    known = field.enum_type.values_by_number.get(value)
    return known.name if known else str(value)


def _plain(value: Any) -> Any:
    """Return a value that every table takes: unsigned integers may be too large, and texts no UTF-8."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if isinstance(value, int) and value > _MAX_INT else value
