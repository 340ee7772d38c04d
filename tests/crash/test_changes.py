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


def faults(outcomes: list[Outcome]) -> list[str]:
    """Return the rows in which nothing went in, something was lost, or something came twice that may not or untold."""

    def is_right(outcome: Outcome) -> bool:
        is_told = outcome.change in MAY_REPEAT and "another_state" in outcome.told
        return outcome.went_in > 0 and outcome.lost == 0 and (is_told or not outcome.twice)

    return [outcome.row() for outcome in outcomes if not is_right(outcome)]


def run_all(names: list[str], at_once: int) -> list[Outcome]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run, names))


@pytest.mark.timeout(600)
def test_no_line_is_lost_or_silently_doubled_whatever_is_renamed_respelt_or_lost() -> None:
    assert faults(run_all(list(LOG_CHANGES), 3)) == []


@pytest.mark.timeout(900)
def test_no_publication_is_lost_when_queues_feeds_or_redis_change() -> None:
    assert faults(run_all(list(SHORT_FEEDS), 4)) == []


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_no_publication_is_lost_whatever_changes() -> None:
    assert faults(run_all([name for name in FEED_CHANGES if name not in SHORT_FEEDS], 4)) == []


def test_the_table_of_changes_is_the_one_that_is_tested() -> None:
    text = OPERATIONS.read_text().partition("## When state is identified otherwise")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)[1:]

    assert [row for row in rows if not row.startswith("---")] == list(DOCUMENTED)
    assert {name for names in DOCUMENTED.values() for name in names} <= {*LOG_CHANGES, *FEED_CHANGES}
