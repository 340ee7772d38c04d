"""The real captures that the tests of feeds read; tests/data/feeds/SOURCES.md says whose they are."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "feeds"


def capture(name: str) -> bytes:
    """Return one capture, such as `gbfs/station_status.json`."""
    return (DATA / name).read_bytes()


def subway_captures() -> list[tuple[int, bytes]]:
    """Return (header timestamp, body) of 12 consecutive captures, one a minute."""
    files = sorted(DATA.glob("gtfsrt/*.ace.pb"))
    return [(1707397155 + 60 * minute, file.read_bytes()) for minute, file in enumerate(files)]
