"""Stages and plugins that cannot be had, and pipelines in which they stand in each other's way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from tests import samplestages
from tests.config.faults import COPIER, FEEDER, KEEPER, REDIS, STAGES, TABLES, Case, problems

WRITER = "[logger_out]\nstage = logfile\nlistento = a\nlogfile = out.log\n"

CASES = [
    Case(
        "unknown stage",
        REDIS + "[worker_a]\nstage = brokre\nlistento = a\n",
        (f":4 [worker_a] stage: unknown stage (found 'brokre'); allowed: {STAGES}; did you mean broker?",),
    ),
    Case(
        "stage of a module that is not there",
        REDIS + "[worker_a]\nstage = nowhere.mine:Mine\nlistento = a\n",
        (":4 [worker_a] stage: cannot import nowhere.mine: ModuleNotFoundError: No module named 'nowhere'",),
    ),
    Case(
        "stage whose class is not there",
        REDIS + "[worker_a]\nstage = tests.samplestages:Mine\nlistento = a\n",
        (f":4 [worker_a] stage: tests.samplestages has no class Mine; it was found in {samplestages.__file__}",),
    ),
    Case(
        "stage that is none",
        REDIS + "[worker_a]\nstage = tests.samplestages:NO_STAGE\nlistento = a\n",
        (
            ":4 [worker_a] stage: tests.samplestages:NO_STAGE is no stage; "
            "derive it from Stage or Source of aggregator.runtime.contract",
        ),
    ),
    Case(
        "stage that reads a table which there is not",
        REDIS + COPIER.replace("Copier", "Outdated") + FEEDER,
        (f":4 [worker_copy] stage: tests.samplestages:Outdated reads unknown tables (found feed_); allowed: {TABLES}",),
    ),
    Case(
        "plugin that cannot be imported",
        REDIS + FEEDER + "[worker_ask]\nstage = tests.samplestages:Caller\nlistento = a\n"
        "repository_plugin = plugins.nothere\n[nothere]\nkey = value\n",
        (
            ":9 [worker_ask] repository_plugin: cannot import plugins.nothere: "
            "ModuleNotFoundError: No module named 'plugins.nothere'",
        ),
    ),
    Case(
        "fault that only the stage can see",
        REDIS + FEEDER + "[worker_ask]\nstage = tests.samplestages:Caller\nlistento = a\n"
        "repository_plugin = json\nsuccess_queue = forbidden\n",
        (":10 [worker_ask] success_queue: is a queue that this test forbids",),
    ),
    Case(
        "queue with two readers",
        REDIS + FEEDER + KEEPER.replace("= b", "= a") + KEEPER.replace("= b", "= a").replace("_out", "_too"),
        (
            ":12 [logger_too] listento: [logger_out] in line 8 reads the queue a too; "
            "give each its own queue and feed them by a broker's fanout, or raise numprocs",
        ),
    ),
    Case(
        "stage that feeds itself",
        REDIS + FEEDER + COPIER.replace("= b", "= a"),
        (":9 [worker_copy] fanout: sends to the queue that it reads itself (a)",),
    ),
    Case(
        "file with two writers",
        REDIS + FEEDER + WRITER + WRITER.replace("_out", "_too").replace("= a", "= b").replace("= out", "= ./x/../out"),
        (":13 [logger_too] logfile: [logger_out] in line 9 writes the file ./x/../out.log too; give each its own",),
    ),
    Case(
        "file that is a folder",
        REDIS + FEEDER + WRITER.replace("out.log", "/"),
        (":9 [logger_out] logfile: is a folder (found '/'); allowed: a file",),
    ),
    Case(
        "source with two processes",
        REDIS + FEEDER + "numprocs = 2\n" + COPIER + KEEPER,
        (
            ":6 [logger_in] numprocs: a second process of tests.samplestages:Feeder could only stand in the way; a "
            "source whose processes share the work by leases says so by traits = Traits() (found '2'); allowed: 1",
        ),
    ),
    Case(
        "exclusive stage with two processes",
        REDIS + FEEDER + COPIER + KEEPER + "numprocs = 2\n",
        (
            ":14 [logger_out] numprocs: a second process of tests.samplestages:Keeper could only stand in the way "
            "(found '2'); allowed: 1",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    assert problems(case.text, tmp_path) == case.faults


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("broken_syntax", "def parseline(:\n", "SyntaxError: invalid syntax (broken_syntax.py, line 1)"),
        ("broken_exit", "raise SystemExit('bye')\n", "SystemExit: bye"),
        ("broken_base", "class Stop(BaseException): pass\nraise Stop('now')\n", "Stop: now"),
        ("broken_use", "import json\njson.nothing\n", "AttributeError: module 'json' has no attribute 'nothing'"),
    ],
)
def test_a_broken_plugin_is_told_with_the_last_line_of_its_traceback(
    name: str, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / f"{name}.py").write_text(source)
    file = tmp_path / "loglines.cfg"
    file.write_text(f"{REDIS}[worker_a]\nstage = {name}:Stage\nlistento = a\n")

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    assert raised.value.problems == (f"{file}:4 [worker_a] stage: cannot import {name}: {words}",)
