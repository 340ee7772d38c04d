"""Parsers to read the publications in a bundle again, by their feed's `timestamp` or by their extension alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from aggregator.feeds.reading.fetched import Fetched, Reader
from aggregator.feeds.reading.gtfsrealtime import read_gtfs_realtime
from aggregator.feeds.reading.jsontimes import decode_json
from aggregator.feeds.reading.timestamps import CLOCKLESS, resolve
from aggregator.feeds.reading.xmltimes import texts_in


class Parser(NamedTuple):
    """A way to read the publications of a feed again."""

    read: Reader
    tells_time: bool
    """True when `read` returns the time that is in the publication's name."""


def known_parser(timestamp: str, root: Path) -> Parser | None:
    """Return the parser for a feed's `timestamp` option; None for options that do not look into the body."""
    return None if timestamp in CLOCKLESS else Parser(resolve(timestamp, root), True)


def guessed_parser(extension: str) -> Parser | None:
    """Return the parser for a file extension alone."""
    return _BY_EXTENSION.get(extension.lower())


def _read_json(fetched: Fetched) -> int:
    decode_json(fetched.body)
    return 0


def _read_xml(fetched: Fetched) -> int:
    texts_in(fetched.body, lambda path: False)
    return 0


_BY_EXTENSION = {
    "pb": Parser(read_gtfs_realtime, True),
    "pbf": Parser(read_gtfs_realtime, True),
    "gtfsrt": Parser(read_gtfs_realtime, True),
    "json": Parser(_read_json, False),
    "geojson": Parser(_read_json, False),
    "xml": Parser(_read_xml, False),
    "rss": Parser(_read_xml, False),
    "atom": Parser(_read_xml, False),
}
