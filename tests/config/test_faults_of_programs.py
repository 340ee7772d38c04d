"""What supervisord could not run or would read otherwise: commands, environments, logs, users."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from tests.config.faults import REDIS, Case, problems

CASES = [
    Case(
        "bad environment",
        REDIS + "[process_a]\ncommand = sleep 1\nenvironment = A\n",
        (""":5 [process_a] environment: bad environment (found 'A'); allowed: NAME="VALUE",OTHER="VALUE\"""",),
    ),
    Case(
        "percent sign without quotation marks, which supervisord refuses",
        REDIS + "[process_a]\ncommand = sleep 1\nenvironment = A=50%\n",
        (""":5 [process_a] environment: bad environment (found 'A=50%'); allowed: NAME="VALUE",OTHER="VALUE\"""",),
    ),
    Case(
        "command without its closing quotation",
        REDIS + "[process_a]\ncommand = echo 'a\n",
        (""":4 [process_a] command: No closing quotation (found "echo 'a")""",),
    ),
    Case(
        "log that is a folder",
        REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = logs/\n",
        (
            ":5 [process_a] stdout_logfile: names a folder; bad path (found 'logs/'); "
            "allowed: a path; a relative one starts at the instance's folder",
        ),
    ),
    Case(
        "log that is a home",
        REDIS + "[process_a]\ncommand = sleep 1\nnumprocs = 2\nstdout_logfile = ~root\n",
        (
            ":6 [process_a] stdout_logfile: names a folder; bad path (found '~root'); "
            "allowed: a path; a relative one starts at the instance's folder",
        ),
    ),
    Case(
        "white space that is none to supervisord",
        REDIS + "[process_a]\ncommand = sleep 1\nenvironment = A=\u2028a\n",
        (""":5 [process_a] environment: bad environment (found 'A=\\u2028a'); allowed: NAME="VALUE",OTHER="VALUE\"""",),
    ),
    Case(
        "placeholders that supervisord fills in however they are written",
        REDIS
        + "[process_a]\ncommand = echo %%(here)s %%(process_num)d\nenvironment = A='%%(here)s'\n"
        + "stdout_logfile = %%(process_num)d.log\n[process_b]\ncommand = sleep 1\nstdout_logfile = %%(here)s.log\n",
        (
            ":4 [process_a] command: supervisord fills in %%(here) all the same; take it out",
            ":5 [process_a] environment: supervisord fills in %%(here) all the same; take it out",
            ":6 [process_a] stdout_logfile: supervisord fills in %%(process_num) all the same; take it out",
            ":9 [process_b] stdout_logfile: supervisord fills in %%(here) all the same; take it out",
        ),
    ),
    Case(
        "log with the folder of the file inside its path",
        REDIS
        + "[process_a]\ncommand = sleep 1\nstdout_logfile = %%/%(here)s/a.log\n"
        + "[process_b]\ncommand = sleep 1\nstdout_logfile = %(here)s.log\n",
        (
            ":5 [process_a] stdout_logfile: %(here)s can only stand in front of a / at the beginning",
            ":8 [process_b] stdout_logfile: %(here)s can only stand in front of a / at the beginning",
        ),
    ),
    Case(
        "value that supervisord would cut",
        REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = logs/a #1.log\n",
        (":5 [process_a] stdout_logfile: supervisord takes # after a space for a comment (found 'logs/a #1.log')",),
    ),
    Case(
        "no such user",
        REDIS + "[process_a]\ncommand = sleep 1\nuser = nobodyatall\n",
        (":5 [process_a] user: no such user on this machine (found 'nobodyatall')",),
    ),
    Case(
        "user that is a number to nobody",
        REDIS + "[process_a]\ncommand = sleep 1\nuser = ²\n",
        (":5 [process_a] user: no such user on this machine (found '²')",),
    ),
    Case(
        "log in the folder of a user that is not there",
        REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = ~nobodyatall/a.log\n",
        (":5 [process_a] stdout_logfile: no such user on this machine (found '~nobodyatall')",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    assert problems(case.text, tmp_path) == case.faults


def test_a_variable_that_would_break_a_list_of_variables_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTED", 'a"b')
    file = tmp_path / "loglines.cfg"
    file.write_text(REDIS + '[process_a]\ncommand = sleep 1\nenvironment = A="%(ENV_QUOTED)s"\n')

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    words = """bad environment (found 'A="%(ENV_QUOTED)s"'); allowed: NAME="VALUE",OTHER="VALUE\""""
    assert raised.value.problems == (f"{file}:5 [process_a] environment: {words}",)


def test_a_variable_that_would_break_the_path_of_a_log_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER", "a%b")
    file = tmp_path / "loglines.cfg"
    file.write_text(REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = logs/%(ENV_FOLDER)s/100%.log\n")

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    words = "supervisord cannot read a % in the value of the variable FOLDER here; write it out"
    assert raised.value.problems == (f"{file}:5 [process_a] stdout_logfile: {words}",)
