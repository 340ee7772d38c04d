"""The limits of the filters of Twitter, v1.1, and of Jetstream.

Source: "POST statuses/filter" and "Standard stream parameters" (developer.twitter.com, archived); Jetstream, README.md
(github.com/bluesky-social/jetstream).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MOST_PHRASES = 400
MOST_IDS = 5000
MOST_BOXES = 25
MOST_PHRASE_BYTES = 60
MOST_COLLECTIONS = 100
MOST_DIDS = 10_000
_COLLECTION = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*(\.[a-zA-Z0-9-]+)+(\.\*)?")
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]+")
_COMMAS = re.compile("[,،]")
"""The Arabic comma separates too: it is what an Arabic keyboard gives."""


def split(text: str | None) -> list[str]:
    """Return the parts between the commas of an option, without those that are blank; line breaks are blanks."""
    return [word for part in _COMMAS.split(text or "") if (word := " ".join(part.split()))]


def faults_of_filters(settings: Any) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for each filter that the platform would refuse, or cut in silence."""
    filters = {name: split(getattr(settings, name)) for name in ("track", "follow", "locations")}
    endpoint = settings.endpoint or "sample"
    if endpoint == "filter" and not any(filters.values()) and settings.rules is None:
        yield "endpoint", "a filter without track, follow, locations and rules; give at least one of them"
    if endpoint == "sample":
        yield from ((name, "means nothing without endpoint = filter") for name, parts in filters.items() if parts)
    yield from faults_of_track(filters["track"])
    yield from faults_of_follow(filters["follow"])
    yield from faults_of_locations(filters["locations"])


def faults_of_track(phrases: list[str]) -> Iterator[tuple[str, str]]:
    """Yield ("track", fault) for phrases that are too many or too long."""
    if len(phrases) > MOST_PHRASES:
        yield "track", f"more than {MOST_PHRASES} phrases (found {len(phrases)})"
    for phrase in phrases:
        size = len(phrase.encode())
        if size > MOST_PHRASE_BYTES:
            yield "track", f"{phrase[:70]!r} has {size} bytes of UTF-8; allowed: {MOST_PHRASE_BYTES}"


def faults_of_follow(ids: list[str]) -> Iterator[tuple[str, str]]:
    """Yield ("follow", fault) for ids that are too many or are none."""
    if len(ids) > MOST_IDS:
        yield "follow", f"more than {MOST_IDS} accounts (found {len(ids)})"
    for text in ids:
        if not re.fullmatch("[0-9]{1,20}", text):
            yield "follow", f"{text[:40]!r} is no id; accounts are followed by their numbers, not by their names"


def faults_of_locations(numbers: list[str]) -> Iterator[tuple[str, str]]:
    """Yield ("locations", fault) for boxes that are too many, incomplete, out of range, or turned round."""
    try:
        values = [float(text) for text in numbers]
    except ValueError:
        yield "locations", "only numbers with commas between are allowed"
        return
    if len(values) % 4:
        yield "locations", f"four numbers make a box: west, south, east, north (found {len(values)} numbers)"
        return
    if len(values) // 4 > MOST_BOXES:
        yield "locations", f"more than {MOST_BOXES} boxes (found {len(values) // 4})"
    for index in range(0, len(values), 4):
        west, south, east, north = values[index : index + 4]
        box = ",".join(numbers[index : index + 4])
        if not (-180 <= west <= 180 and -180 <= east <= 180):
            yield "locations", f"{box}: a longitude (first and third number) is not between -180 and 180"
        elif not (-90 <= south <= 90 and -90 <= north <= 90):
            yield "locations", f"{box}: a latitude (second and fourth number) is not between -90 and 90"
        elif west >= east or south >= north:
            yield "locations", f"{box}: the south-west corner comes first, then the north-east one"


def faults_of_jetstream(settings: Any) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for each filter that Jetstream would refuse."""
    for option, most, form, example in (
        ("collections", MOST_COLLECTIONS, _COLLECTION, "app.bsky.feed.post or app.bsky.graph.*"),
        ("follow", MOST_DIDS, _DID, "did:plc:z72i7hdynmk6r22z27h6tvur"),
    ):
        values = split(getattr(settings, option))
        if len(values) > most:
            yield option, f"more than {most:,} of them (found {len(values):,})"
        wrong = next((value for value in values if not form.fullmatch(value)), None)
        if wrong is not None:
            yield option, f"{wrong[:60]!r} is none; they look like {example}"
