"""Supervisord reads in the generated files what the configuration means."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from aggregator.supervision import build
from aggregator.supervision.logpaths import log_files
from tests.supervision.building import build_from, configure


def parse_as_supervisord(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[object]]:
    """Return the processes of each program, as supervisord itself reads the files from any other folder."""
    monkeypatch.chdir("/")
    options = ServerOptions()
    options.realize(["-c", str(root / "supervisord.conf")])
    return {group.name: list(group.process_configs) for group in options.configroot.supervisord.process_group_configs}


@pytest.mark.parametrize(
    ("section", "command", "words"),
    [
        ("process_a", "sleep 5", ["sleep", "5"]),
        ("process_a", "./run.sh 'a b'", ["HERE/../run.sh", "a b"]),
        ("process_a", "bin/run", ["HERE/../bin/run"]),
        ("process_a", "/bin/echo 100% %%", ["/bin/echo", "100%", "%"]),
        ("process_a", "echo 'a # b' # c", ["echo", "a # b", "#", "c"]),
        ("process_a", 'echo "it\'s \\" #"', ["echo", "it's \" #"]),
        ("process_a", "echo a\n  b\n  c", ["echo", "a", "b", "c"]),
        ("process_a", "echo %(program_name)d %(program_name)s", ["echo", "%(program_name)d", "process_a"]),
        ("process_a", "echo %(process_num)99999999999d", ["echo", "%(process_num)99999999999d"]),
        ("process_a", "echo %(ENV_WORD)s '%(here)s'", ["echo", "50%", "off", "HERE/.."]),
        ("process_a", "aggregator demo tracker", ["HERE/../run/aggregator", "demo", "tracker"]),
        ("worker_a", "./run.py", ["HERE/../run.py", "0", "worker_a"]),
        ("logger_a", "run.py -v", ["run.py", "-v", "0", "logger_a"]),
    ],
)
def test_supervisord_reads_a_command_as_it_was_meant(
    section: str, command: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "50% off")
    root = tmp_path / "a b"
    root.mkdir()
    build_from(root, f"[{section}]\ncommand = {command}\n")

    process = parse_as_supervisord(root, monkeypatch)[section][0]

    here = str(root / "workers_enabled")
    assert shlex.split(process.command) == [word.replace("HERE", here) for word in words]
    assert process.directory == f"{here}/.."


@pytest.mark.parametrize(
    ("options", "files", "maxbytes"),
    [
        ("", ["HERE/../logs/process_a.log"], 10 * 1024**2),
        ("numprocs = 2", ["HERE/../logs/process_a_0.log", "HERE/../logs/process_a_1.log"], 10 * 1024**2),
        ("numprocs = 2\nstdout_logfile = x/y", ["HERE/../x/y_0", "HERE/../x/y_1"], 10 * 1024**2),
        ("numprocs = 2\nstdout_logfile = %(process_num)02d/y", ["HERE/../00/y", "HERE/../01/y"], 10 * 1024**2),
        ("stdout_logfile = /dev/stdout", ["/dev/stdout"], 0),
        ("stdout_logfile = %(here)s/z.log\nstdout_logfile_maxbytes = 1MB", ["HERE/../z.log"], 1024**2),
        ("stdout_logfile = 100%/a.log", ["HERE/../100%/a.log"], 10 * 1024**2),
        ("stdout_logfile = %(program_name)d.log", ["HERE/../%(program_name)d.log"], 10 * 1024**2),
        (
            "numprocs = 2\nstdout_logfile = %(process_num)100d.log",
            ["HERE/../%(process_num)100d_0.log", "HERE/../%(process_num)100d_1.log"],
            10 * 1024**2,
        ),
        ("stdout_logfile = none", [None], 10 * 1024**2),
    ],
)
def test_every_process_has_a_log_of_its_own(
    options: str, files: list[str | None], maxbytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_from(tmp_path, f"[process_a]\ncommand = sleep 5\n{options}\n")

    processes = parse_as_supervisord(tmp_path, monkeypatch)["process_a"]

    here = str(tmp_path / "workers_enabled")
    assert [process.stdout_logfile for process in processes] == [file and file.replace("HERE", here) for file in files]
    assert {process.stdout_logfile_maxbytes for process in processes} == {maxbytes}
    assert {process.stdout_logfile_backups for process in processes} == {5}


@pytest.mark.parametrize(
    ("variable", "options", "files"),
    [
        ("ROOT/abs", "stdout_logfile = %(ENV_PLACE)s/x.log", ["ROOT/abs/x.log"]),
        ("rel", "stdout_logfile = %(ENV_PLACE)s/x.log", ["HERE/../rel/x.log"]),
        ("rel/x.log", "numprocs = 2\nstdout_logfile = %(ENV_PLACE)s", ["HERE/../rel/x.log_0", "HERE/../rel/x.log_1"]),
        ("log", "numprocs = 2\nstdout_logfile = x.%(ENV_PLACE)s", ["HERE/../x.log_0", "HERE/../x.log_1"]),
        ("/dev/stdout", "numprocs = 2\nstdout_logfile = %(ENV_PLACE)s", ["/dev/stdout", "/dev/stdout"]),
        ("none", "numprocs = 2\nstdout_logfile = %(ENV_PLACE)s", [None, None]),
        (" rel", "stdout_logfile = %(ENV_PLACE)s/x.log", ["HERE/../ rel/x.log"]),
    ],
)
def test_a_log_may_stand_where_a_variable_says(
    variable: str, options: str, files: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", variable.replace("ROOT", str(tmp_path)))
    config = configure(tmp_path, f"[process_a]\ncommand = sleep 5\n{options}\n")
    build(config)

    processes = parse_as_supervisord(tmp_path, monkeypatch)["process_a"]

    here = str(tmp_path / "workers_enabled")
    wanted = [file and file.replace("HERE", here).replace("ROOT", str(tmp_path)) for file in files]
    assert [process.stdout_logfile for process in processes] == wanted
    ours = [os.path.normpath(file) for file in log_files(config, config.programs["process_a"])]
    assert ours == [os.path.normpath(file) for file in wanted if file]


def test_supervisord_reads_the_options_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_from(
        tmp_path,
        "[process_a]\ncommand = sleep 5\nnumprocs = 2\npriority = 7\nautostart = off\nexitcodes = 0, 2\n"
        "startsecs = 1.5\nstartretries = 3\nstopsignal = INT\nstopwaitsecs = 2m\nuser = root\n"
        'environment = A="%(process_num)d,x",\n  B=%(here)s,C=a%(program_name)s,D="50%"\n',
    )

    first, second = parse_as_supervisord(tmp_path, monkeypatch)["process_a"]

    assert (first.name, second.name) == ("process_a_0", "process_a_1")
    assert (first.priority, first.autostart, first.exitcodes) == (7, False, [0, 2])
    assert (first.startsecs, first.startretries, first.stopsignal, first.stopwaitsecs) == (2, 3, 2, 120)
    assert (first.uid, first.stopasgroup, first.killasgroup, first.redirect_stderr) == (0, True, True, True)
    assert (first.environment["A"], second.environment["A"]) == ("0,x", "1,x")
    assert (first.environment["C"], first.environment["D"]) == ("aprocess_a", "50%")
