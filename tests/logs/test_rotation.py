"""Rotated files are read in the order in which they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.logs.following.listing import Entry, oldest_first


@pytest.mark.parametrize(
    "names",
    [
        ["a.log.10.gz", "a.log.9", "a.log.2", "a.log.1"],
        ["a.log-20251231.gz", "a.log-20260101", "a.log-20260101-2", "a.log-20261122"],
        ["a-2026-11-21.log", "a-2026-11-22.log"],
        ["a.2026-11-21.9.log", "a.2026-11-21.10.log", "a.2026-11-22.0.log"],
        ["@400000005f2b1c0a1f2e3d4c.s", "@400000005f2b1c0a2f2e3d4c.s", "@400000006a2b1c0a1f2e3d4c.s"],
    ],
)
def test_rotated_names_are_put_in_order_whatever_their_times_are(names: list[str]) -> None:
    entries = [Entry(Path(name), 1, 1, 1, 0.0) for name in names]
    assert oldest_first(reversed(entries)) == entries


def test_numbers_and_dates_together_are_put_in_the_order_of_their_times() -> None:
    entries = [Entry(Path(name), 1, 1, 1, time) for time, name in enumerate(["a.log.1", "a.log-20261122", "a.log.2"])]
    assert oldest_first(reversed(entries)) == entries
