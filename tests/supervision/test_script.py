"""The generator's command and its script."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.commands.generator import main
from aggregator.config.loading import load
from aggregator.supervision import plan
from tests.processes import PROJECT
from tests.supervision.building import PIPELINE, TWO, configure, snapshot

SCRIPT = PROJECT / "create_supervisord_config.py"


def test_the_command_tells_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path, TWO)
    options = ["-r", str(tmp_path)]

    assert main([*options, "--check"]) == 1
    assert main([*options, "--dry-run"]) == 0
    assert main(options) == 0
    assert main([*options, "--check"]) == 0
    capsys.readouterr()

    (tmp_path / "loglines.cfg").write_text("[wrong]\n")
    before = snapshot(tmp_path)
    code = main(options)

    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert told.err.splitlines()[-1] == "nothing was changed"
    assert len(told.err.splitlines()) == 3
    assert snapshot(tmp_path) == before


def test_the_script_is_the_command(tmp_path: Path) -> None:
    configure(tmp_path, TWO)

    done = subprocess.run([sys.executable, SCRIPT, "-r", tmp_path, "-q"], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert (tmp_path / "supervisord.conf").exists()


def test_a_reader_of_the_script_that_goes_away_is_no_error(tmp_path: Path) -> None:
    configure(tmp_path, TWO)
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        [sys.executable, SCRIPT, "-r", tmp_path, "--dry-run"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)

    assert b"Traceback" not in done.stderr


def test_the_script_finds_the_python_that_everything_was_installed_for(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    shutil.copy(SCRIPT, tmp_path)
    configure(tmp_path, TWO)
    command = [tmp_path / "bare/bin/python", tmp_path / "create_supervisord_config.py", "-r", tmp_path, "-q"]

    without = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    subprocess.run(command, check=True, cwd=tmp_path)

    assert "`make run` installs what is needed" in without.stderr
    assert (tmp_path / "supervisord.conf").exists()


def test_two_builds_at_the_same_time_are_as_good_as_one(tmp_path: Path) -> None:
    configure(tmp_path, TWO + PIPELINE)
    command = [sys.executable, SCRIPT, "-r", tmp_path, "-q"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}

    running = [subprocess.Popen(command, env=environment) for _ in range(3)]

    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert not plan(load(tmp_path / "loglines.cfg", tmp_path)).changes
    password = (tmp_path / "run/password").read_text().strip()
    assert "{SHA}" + hashlib.sha1(password.encode()).hexdigest() in (tmp_path / "supervisord.conf").read_text()
