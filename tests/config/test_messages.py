"""Sections whose messages the section that reads them cannot take are refused, by what stages accept and emit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from aggregator.config import messagekinds
from aggregator.errors import ConfigError
from aggregator.logs.messages import LogLine
from aggregator.runtime.contract import Stage
from aggregator.runtime.kinds import Kind
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


def readers(root: Path, text: str) -> int:
    """Return how many sections read a queue in a pipeline that is taken, whoever's Redis it runs on."""
    configs = [configure(root, head + text) for head in HEADS]
    [number] = {sum(program.listens is not None for program in config.programs.values()) for config in configs}
    return number


def test_queues_that_were_swapped_are_refused_with_line_and_names(tmp_path: Path) -> None:
    text = FILTER.format("fetched@node", "bundled@node") + ARCHIVE.format("bundled@node")

    assert refusal(tmp_path, text) == (
        ":5 [worker_filter] pushto: sends `filtered` and `missed` messages to bundled@node, and [worker_archive] in "
        "line 8 reads that queue and takes `bundle` and `unite` and `remove` and `recorded` only; were two queues "
        "swapped?"
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
    assert readers(tmp_path, text) == text.count("listento = ")


class Row(msgspec.Struct):
    """Somebody's own view of a line of a log."""

    logline: str
    seen: bool = False


class Numbered(msgspec.Struct):
    service: str
    logline: int


class Longer(msgspec.Struct):
    logline: str
    size: int


class Loose(msgspec.Struct):
    logline: Any
    service: Annotated[Literal["x"] | None, "whatever"] = None


class Listed(msgspec.Struct, array_like=True):
    logline: int


class Renamed(msgspec.Struct, rename="upper"):
    logline: str


class Lost(msgspec.Struct):
    logline: "NowhereToBeFound"  # type: ignore[name-defined] # noqa: F821, UP037 - what a plugin may hold


class Started(Kind, tag="job"):
    job: str


class Job(Kind, tag="job"):
    job: str


class Stopped(Kind, tag="stop"):
    job: str


Impostor = msgspec.defstruct("LogLine", [("text", str)])


@pytest.mark.parametrize("wanted", [LogLine, Row, Loose, Listed, Lost])
def test_a_message_fits_a_view_of_what_is_in_it_and_a_view_of_which_nothing_is_known(wanted: Any) -> None:
    assert messagekinds.misfit(LogLine, wanted) is None


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Numbered, "its `logline` is a text, not a number"),
        (Longer, "it has no `size`"),
        (Impostor, "it has no `text`"),
        (Renamed, "it has no `LOGLINE`"),
    ],
)
def test_a_message_fits_no_view_that_needs_what_is_not_in_it(wanted: Any, why: str) -> None:
    assert messagekinds.misfit(LogLine, wanted) == why


def test_kinds_are_told_apart_by_their_tags() -> None:
    assert messagekinds.misfit(Started, Job) is None
    assert messagekinds.misfit(Stopped, Job) == "it is of another kind"


PLUGIN = """
from collections.abc import Iterator
import msgspec
from typing import Annotated
from aggregator.config.settings import Doc, TargetQueue
from aggregator.logs.messages import LogLine
from aggregator.runtime.contract import ConsumerSettings, Outcome, Stage
from aggregator.runtime.message import Message

class Row(msgspec.Struct):
    {field}: str

class Mine(Stage):
    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where messages go")]

    {declared}

    def handle(self, message: Message) -> Iterator[Outcome]:
        return iter(())
"""
MINE = "[worker_mine]\nstage = {}:Mine\nlistento = lines\npushto = out\n"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module for one test, which no other test has imported."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return "declaring_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name)


def write(root: Path, plugin: str, declared: str, field: str = "logline") -> str:
    """Write a plugin with these declarations. Returns a pipeline with it."""
    (root / f"{plugin}.py").write_text(PLUGIN.format(declared=declared, field=field))
    return TAIL.format("lines") + MINE.format(plugin)


def test_a_plugins_own_view_of_a_line_is_let_through(tmp_path: Path, plugin: str) -> None:
    text = write(tmp_path, plugin, "accepts = (Row,)")

    assert readers(tmp_path, text) == 1


def test_a_plugins_view_of_something_else_is_refused_with_what_is_missing(tmp_path: Path, plugin: str) -> None:
    text = write(tmp_path, plugin, "accepts = (Row,)", field="row")

    assert refusal(tmp_path, text) == (
        ":6 [logger_in] pushto: sends `LogLine` messages to lines, and [worker_mine] in line 9 reads that queue and "
        "takes `Row` only, and it has no `row`; were two queues swapped?"
    )


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("accepts = (LogLine)", "accepts is one class (found LogLine); write (LogLine,) with a comma, a tuple of one"),
        (
            "accepts = (dict,)",
            "accepts has dict in it, which is no msgspec.Struct: declare the fields of the message",
        ),
        ("accepts = None", "accepts is no tuple of structs (found 'None')"),
        (
            "emits = {'pushto': 'smae'}",
            "emits['pushto'] is 'smae'; allowed: SAME, or structs",
        ),
        (
            "emits = {'pushot': (LogLine,)}",
            "emits['pushot'] is for no option that names queues; allowed: pushto; did you mean pushto?",
        ),
        (
            "emits = {'pushto': LogLine}",
            "emits['pushto'] is one class (found LogLine); write (LogLine,) with a comma, a tuple of one",
        ),
        (
            "emits = (LogLine,)",
            "emits is no mapping (found \"(<class 'aggregator.logs.messages.LogLine'>,)\"); "
            'write emits = {"OPTION": (STRUCT,)}',
        ),
    ],
)
def test_a_declaration_that_cannot_be_read_is_told_in_the_line_of_its_stage(
    declared: str, told: str, tmp_path: Path, plugin: str
) -> None:
    text = write(tmp_path, plugin, declared)

    assert refusal(tmp_path, text) == f":8 [worker_mine] stage: {plugin}:Mine: {told}"


def test_a_stage_without_declarations_has_none() -> None:
    assert (messagekinds.accepted(Stage), messagekinds.emitted(Stage, "pushto")) == ((), ())
