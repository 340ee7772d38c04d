"""Nothing is lost when what identifies state changes, and what may come twice is said."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.changes import DOCUMENTED, FEED_CHANGES, LOG_CHANGES, MAY_REPEAT, Outcome, run

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
SHORT_FEEDS = (
    "1 a feed missing while download restarts",
    "2 download's queue renamed",
    "3 data/redis deleted, another namespace",
    "8 bundled queue renamed, archive stopped",
)
"""What the short round runs of the feeds: one of each rule."""


def check(outcomes: list[Outcome]) -> None:
    """Fail unless nothing was lost, and what came twice was told."""
    assert [outcome.row() for outcome in outcomes if outcome.lost] == []
    doubled = {outcome.change: outcome.told for outcome in outcomes if outcome.twice}
    assert doubled.keys() <= MAY_REPEAT
    assert all("another_state" in told for told in doubled.values())


def run_all(names: list[str], at_once: int) -> list[Outcome]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run, names))


@pytest.mark.timeout(600)
def test_no_line_is_lost_or_silently_doubled_whatever_is_renamed_respelt_or_lost() -> None:
    check(run_all(list(LOG_CHANGES), 3))


@pytest.mark.timeout(900)
def test_no_publication_is_lost_when_queues_feeds_or_redis_change() -> None:
    check(run_all(list(SHORT_FEEDS), 4))


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_no_publication_is_lost_whatever_changes() -> None:
    check(run_all([name for name in FEED_CHANGES if name not in SHORT_FEEDS], 4))


def test_the_table_of_changes_is_the_one_that_is_tested() -> None:
    text = OPERATIONS.read_text().partition("## When state is identified otherwise")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)[1:]

    assert [row for row in rows if not row.startswith("---")] == list(DOCUMENTED)
    assert {name for names in DOCUMENTED.values() for name in names} <= {*LOG_CHANGES, *FEED_CHANGES}
