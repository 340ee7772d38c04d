"""Names of sections and options that are unknown, misspelt or missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.faults import COPIER, FEEDER, KEEPER, REDIS, SECTIONS, STAGES, Case, problems

FEEDER_OPTIONS = (
    "autorestart, autostart, batch, command, enabled, environment, exitcodes, idletime, numprocs, priority, pushto, "
    "redirect_stderr, stage, stale_after, startretries, startsecs, stdout_logfile, stdout_logfile_backups, "
    "stdout_logfile_maxbytes, stopsignal, stopwaitsecs, user"
)

CASES = [
    Case(
        "unknown section",
        REDIS + "[mirror]\n",
        (f":3 [mirror]: unknown section; allowed: {SECTIONS}",),
    ),
    Case(
        "misspelt section",
        REDIS + "[supervisr]\nport = 9001\n",
        (f":3 [supervisr]: unknown section; allowed: {SECTIONS}; did you mean supervisor?",),
    ),
    Case(
        "misspelt section prefix",
        REDIS + "[wroker_broker]\nstage = broker\n",
        (f":3 [wroker_broker]: unknown section; allowed: {SECTIONS}; did you mean worker_broker?",),
    ),
    Case(
        "section name that supervisord cannot take",
        REDIS + "[worker_a:b]\nstage = broker\n",
        (
            ":3 [worker_a:b]: bad name; allowed: letters, digits, _ . - (1 to 60) after process_, worker_, logger_ or "
            "stream_",
        ),
    ),
    Case(
        "misspelt option",
        REDIS + FEEDER + "pusto = b\n" + COPIER + KEEPER,
        (":6 [logger_in] pusto: unknown option; did you mean pushto?",),
    ),
    Case(
        "unknown option",
        REDIS + FEEDER + "zzz = b\n" + COPIER + KEEPER,
        (f":6 [logger_in] zzz: unknown option; allowed: {FEEDER_OPTIONS}",),
    ),
    Case(
        "unknown option of a plain process",
        REDIS + "[process_a]\ncommand = sleep 1\npiority = 3\n",
        (":5 [process_a] piority: unknown option; did you mean priority?",),
    ),
    Case(
        "unknown option of a core section",
        "[redis]\nhots = localhost\n",
        (":2 [redis] hots: unknown option; did you mean host?",),
    ),
    Case(
        "missing option",
        REDIS + "[logger_in]\nstage = tests.samplestages:Feeder\n",
        (
            ":3 [logger_in] pushto: missing; where lines go; "
            "allowed: a queue name: letters, digits, _ . - and at most @node",
        ),
    ),
    Case(
        "missing stage",
        REDIS + "[worker_a]\nlistento = a\n",
        (f":3 [worker_a] stage: missing; allowed: {STAGES}; or run a program with command = …",),
    ),
    Case(
        "empty stage beside a command",
        REDIS + "[worker_a]\nlistento = a\nstage =\ncommand = ./x.py\n",
        (f":5 [worker_a] stage: missing; allowed: {STAGES}; or run a program with command = …",),
    ),
    Case(
        "missing command",
        REDIS + "[process_a]\n",
        (":3 [process_a] command: missing; allowed: a program and its arguments",),
    ),
    Case(
        "empty command",
        REDIS + "[process_a]\ncommand =\n",
        (":4 [process_a] command: bad command (found ''); allowed: a program and its arguments",),
    ),
    Case(
        "command of quotation marks",
        REDIS + "[process_a]\ncommand = '' x\n",
        (""":4 [process_a] command: bad command (found "'' x"); allowed: a program and its arguments""",),
    ),
    Case(
        "stage and command",
        REDIS + FEEDER + "command = ./in.sh\n" + COPIER + KEEPER,
        (":6 [logger_in] command: stands beside stage; give one of the two",),
    ),
    Case(
        "two sections making the same program",
        REDIS + "[process_a]\ncommand = sleep 1\n[process_A]\ncommand = sleep 1\n",
        (":5 [process_A]: makes the same program as [process_a] in line 3; names must differ in more than case",),
    ),
    Case(
        "unknown option of a plugin's section",
        REDIS + FEEDER + "[worker_ask]\nstage = tests.samplestages:Caller\nlistento = a\n"
        "repository_plugin = tests.sampleplugin\n[sampleplugin]\npatern = x\n[sampleplugin_two]\npattern = y\n",
        (":11 [sampleplugin] patern: unknown option; did you mean pattern?",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    assert problems(case.text, tmp_path) == case.faults
