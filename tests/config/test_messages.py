"""Sections whose messages the section that reads them cannot take are refused, by what stages accept and emit."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.errors import ConfigError
from tests.config.configuring import configure

HEADS = ("[redis]\n", "[process_redis]\n")
TAIL = "[logger_in]\nstage = tail\nlogfile = a.log\nservicename = x\npushto = {}\n"
BROKER = "[worker_copy]\nstage = broker\nlistento = {}\nfanout = {}\n"
FILTER = "[worker_filter]\nstage = filter\nlistento = {}\npushto = {}\n"
COMPRESS = "[worker_compress]\nstage = compress\nlistento = {}\npushto = {}\n"
ARCHIVE = "[worker_archive]\nstage = archive\nlistento = {}\nstore = s\n[store_s]\nurl = file:///srv/x\n"


def refusal(root: Path, text: str) -> str:
    """Return why a pipeline is refused, whoever's Redis it runs on."""
    told = set()
    for head in HEADS:
        with pytest.raises(ConfigError) as refused:
            configure(root, head + text)
        [problem] = refused.value.problems
        told.add(problem.removeprefix(f"{root}/loglines.cfg"))
    [only] = told
    return only


def test_queues_that_were_swapped_are_refused_with_line_and_names(tmp_path: Path) -> None:
    text = FILTER.format("fetched@node", "bundled@node") + ARCHIVE.format("bundled@node")

    assert refusal(tmp_path, text) == (
        ":5 [worker_filter] pushto: sends `filtered` and `missed` messages to bundled@node, and [worker_archive] in "
        "line 8 reads that queue and takes `bundle` and `unite` and `remove` only; were two queues swapped?"
    )


def test_what_is_sent_on_as_it_came_is_known_through_brokers(tmp_path: Path) -> None:
    text = TAIL.format("lines") + BROKER.format("lines", "all, other") + FILTER.format("other", "out")

    assert refusal(tmp_path, text).startswith(":10 [worker_copy] fanout: sends `LogLine` messages to other, and")


def test_brokers_in_a_circle_are_looked_at_once_around(tmp_path: Path) -> None:
    circle = BROKER.format("one", "two") + BROKER.replace("copy", "back").format("two", "one, end")
    text = TAIL.format("one") + circle + COMPRESS.format("end", "out")

    assert "sends `LogLine` messages to end" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        FILTER.format("fetched@node", "published@node") + COMPRESS.format("published@node", "out@node"),
        TAIL.format("lines")
        + BROKER.format("lines", "all")
        + "[worker_out]\nstage = logfile\nlistento = all\nlogfile = b\n",
        "[worker_own]\nstage = tests.samplestages:Copier\nlistento = a\nfanout = b\n" + FILTER.format("b", "c"),
    ],
    ids=["fits", "takes anything", "says nothing"],
)
def test_what_fits_or_is_not_known_is_let_through(tmp_path: Path, text: str) -> None:
    [configure(tmp_path, head + text) for head in HEADS]
