"""Filters are checked as Social Feed Manager's were, without its holes: its cases, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError

TABLE = Path(__file__).parents[1] / "data/streams/filter-validation.tsv"
HEAD = "[redis]\n[credential_one]\nbearer_token = x\n[credential_two]\nbearer_token = y\n"
FILTER = "[stream_tested]\ntype = twitter_v1\nendpoint = filter\npushto = events\n"
OTHER = "[stream_other]\ntype = twitter_v1\npushto = events\ncredential = one\n"
BOXES = ",".join(["-74,40,-73,41"] * 26)


class Case(NamedTuple):
    """A line of the table."""

    field: str
    value: str
    active: str
    old: str
    wanted: str


def cases() -> list[Case]:
    """Return the lines of the table."""
    lines = TABLE.read_text().splitlines()
    return [Case(*line.split("\t")) for line in lines if not line.startswith("#")]


SECTIONS = {
    ("locations", "26 boxes"): f"locations = {BOXES}\ncredential = one\n",
    ("words", "401 phrases"): f"track = {','.join(f'w{n}' for n in range(401))}\ncredential = one\n",
    ("words", "one phrase of 61 bytes"): f"track = {'é' * 30}x\ncredential = one\n",
    ("all", "empty"): "credential = one\n",
    ("user", "the streamsample account"): f"track = nasa\ncredential = one\n{OTHER}endpoint = sample\n",
    ("user", "account of another active filter"): (
        f"track = nasa\ncredential = one\n{OTHER}endpoint = filter\ntrack = esa\n"
    ),
    ("any", "anything invalid"): "locations = a,b\ntrack =\nfollow = nasa esa\nenabled = no\n",
}
"""The sections of the cases that the table tells in words."""
OPTIONS = {"locations": "locations", "words": "track", "people": "follow"}
WORDS = {
    "locations -74,40,-73": "four numbers make a box",
    "locations -74,95,-73,96": "a latitude",
    "locations a,b,c,d": "only numbers",
    "locations -73,41,-74,40": "the south-west corner comes first",
    "locations 26 boxes": "more than 25 boxes (found 26)",
    "words 401 phrases": "more than 400 phrases (found 401)",
    "words one phrase of 61 bytes": "61 bytes of UTF-8; allowed: 60",
    "all empty": "give at least one of them",
    "user the streamsample account": "[stream_tested] and [stream_other] use it",
    "user account of another active filter": "[stream_tested] and [stream_other] use it",
}
"""What is told of the cases that are refused. Names of people are refused always: only ids can be followed, as the
platform's look-up of names is sold."""


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.field} {case.value}")
def test_a_filter_is_taken_or_refused_as_it_should_be(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "loglines.cfg"
    own = SECTIONS.get((case.field, case.value))
    file.write_text(HEAD + FILTER + (own or f"{OPTIONS[case.field]} = {case.value}\ncredential = one\n"))

    if case.wanted == "ok" and case.field != "people":
        load(file, tmp_path)
        return
    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    wanted = WORDS.get(f"{case.field} {case.value}", "is no id; accounts are followed by their numbers")
    assert any("[stream_tested]" in problem and wanted in problem for problem in raised.value.problems)


def test_every_active_case_is_right_as_a_draft_too(tmp_path: Path) -> None:
    file = tmp_path / "loglines.cfg"
    for case in cases():
        own = SECTIONS.get((case.field, case.value)) or f"{OPTIONS[case.field]} = {case.value}\ncredential = one\n"
        file.write_text(HEAD + FILTER + ("enabled = no\n" if "enabled" not in own else "") + own)

        config = load(file, tmp_path)

        told = [warning for warning in config.warnings if "[stream_tested]" in warning]
        assert set(config.drafts.get("stream_tested", ())) <= set(told)
        assert "stream_tested" in config.programs or told


def test_the_arabic_comma_separates_phrases(tmp_path: Path) -> None:
    file = tmp_path / "loglines.cfg"
    file.write_text(HEAD + FILTER + f"credential = one\ntrack = {'،'.join(['x' * 40] * 400)}\n")

    load(file, tmp_path)
