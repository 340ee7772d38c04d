"""Say whether a rule's value can be looked for, and bring geography into the form that is kept.

Source: Traptor's manager API (`/validate`), and the limits of Twitter's statuses/filter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from aggregator.config.hints import shorten

MOST_BYTES = 60
"""The longest phrase to track, in bytes of UTF-8."""
LONGEST_X_RULE = 2048
"""The longest rule that any contract with X allows, in characters."""


class Box(NamedTuple):
    """A part of the world, in degrees."""

    west: float
    south: float
    east: float
    north: float

    def __str__(self) -> str:
        return ",".join(f"{degrees:g}" if degrees == int(degrees) else repr(degrees) for degrees in self)


class Geography(NamedTuple):
    """A geographic value."""

    form: str
    """`legacy` for boxes as numbers, `geo_json` for a polygon."""
    value: str
    """The value as it is kept: repeated points of a polygon removed, its rings closed."""
    boxes: tuple[Box, ...]
    """What a platform is asked for: the boxes, or the box around the polygon."""


def check_value(orig_type: str, value: str) -> str:
    """Return the value as it is kept. Raises ValueError, which says what is wrong with it."""
    if orig_type not in _CHECKS:
        raise ValueError(f"unknown type {shorten(orig_type)}; allowed: {', '.join(_CHECKS)}")
    if not value.strip():
        raise ValueError("no value")
    return _CHECKS[orig_type](value)


def phrase_of(orig_type: str, value: str) -> str:
    """Return what the platform is asked for: in lower case, with # before a hashtag's terms; X's rules as they are."""
    if orig_type == "x_rule":
        return value.strip()
    if orig_type != "hashtag":
        return value.lower()
    return " ".join(f"#{term.removeprefix('#')}" for term in value.lower().split())


def infer_type(type_: str, value: str) -> str:
    """Return what a value of a rule set's type most likely is, when nothing is said about it."""
    if type_ == "track":
        return "hashtag" if value.startswith("#") else "keyword"
    if type_ == "follow":
        return "userid" if value.isascii() and value.isdecimal() else "username"
    return "x_rule" if type_ == "x" else "geo"


def read_geography(value: str) -> Geography:
    """Return boxes `west,south,east,north` or a GeoJSON polygon. Raises ValueError."""
    if not value.lstrip().startswith("{"):
        boxes = _boxes(value)
        return Geography("legacy", value, boxes)
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no GeoJSON: {error}") from None
    geometry = document.get("geometry") if document.get("type") == "Feature" else document
    if not isinstance(geometry, dict) or geometry.get("type") != "Polygon":
        raise ValueError("no GeoJSON Polygon, nor a Feature with one")
    rings = geometry.get("coordinates")
    if not isinstance(rings, list) or not rings:
        raise ValueError("a polygon without coordinates")
    geometry["coordinates"] = [_ring(ring) for ring in rings]
    longitudes, latitudes = zip(*((point[0], point[1]) for point in geometry["coordinates"][0]), strict=True)
    around = Box(min(longitudes), min(latitudes), max(longitudes), max(latitudes))
    return Geography("geo_json", json.dumps(document, separators=(",", ":")), (around,))


def _check_phrase(orig_type: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        for phrase in phrase_of(orig_type, value).split(","):
            size = len(phrase.strip().encode())
            if size > MOST_BYTES:
                raise ValueError(f"a phrase of {size} bytes; at most {MOST_BYTES} bytes of UTF-8 are allowed")
        return value

    return check


def _check_user_id(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,20}", value):
        raise ValueError(f"no user id (found {shorten(value)}); allowed: digits. A name must be looked up first")
    return value


def _check_user_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,15}", value):
        raise ValueError(f"no user name (found {shorten(value)}); allowed: at most 15 letters, digits and _, without @")
    return value


def check_x_rule(value: str, longest: int = LONGEST_X_RULE) -> str:
    """Return a rule of X's filtered stream without blanks around it. Raises ValueError; its syntax only X can judge."""
    rule = value.strip()
    if not rule:
        raise ValueError("no value")
    if len(rule) > longest:
        raise ValueError(f"a rule of {len(rule):,} characters; at most {longest:,} are allowed")
    return rule


def _check_geography(value: str) -> str:
    return read_geography(value).value


_CHECKS: dict[str, Callable[[str], str]] = {
    "keyword": _check_phrase("keyword"),
    "hashtag": _check_phrase("hashtag"),
    "userid": _check_user_id,
    "username": _check_user_name,
    "geo": _check_geography,
    "x_rule": check_x_rule,
}


def _boxes(value: str) -> tuple[Box, ...]:
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        raise ValueError(f"no box (found {shorten(value)}); allowed: west,south,east,north in degrees") from None
    if len(numbers) % 4:
        raise ValueError(f"a box has 4 numbers: west,south,east,north (found {len(numbers)})")
    words = value.split(",")
    boxes = []
    for at in range(0, len(numbers), 4):
        for longitude in (at, at + 2):
            _check_point(numbers[longitude], numbers[longitude + 1], words[longitude], words[longitude + 1])
        box = Box(*numbers[at : at + 4])
        if box.west > box.east or box.south > box.north:
            raise ValueError(f"the south-west corner comes first: west,south,east,north (found {box})")
        boxes.append(box)
    return tuple(boxes)


def _ring(ring: Any) -> list[list[float]]:
    """Return a ring of a polygon without repeated points, and closed."""
    points: list[list[float]] = []
    for point in ring if isinstance(ring, list) else ():
        if not (isinstance(point, list) and len(point) >= 2 and all(type(each) in (int, float) for each in point)):
            raise ValueError(f"a point is [longitude, latitude] (found {shorten(str(point))})")
        _check_point(point[0], point[1], point[0], point[1])
        if point not in points:
            points.append(point)
    if len(points) < 3:
        raise ValueError("a ring of a polygon has at least 4 points, the last of which is the first")
    return [*points, points[0]]


def _check_point(longitude: float, latitude: float, longitude_text: Any, latitude_text: Any) -> None:
    # written so that NaN is out of range too
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise ValueError(f"Lat/lon out of range: {latitude_text}, {longitude_text}")
