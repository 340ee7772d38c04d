"""Sockets outside the instance's folder: a copy has its own, and a folder that somebody else made is not used."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.config.configuration import Config
from aggregator.config.identity import fork
from aggregator.config.instance import Instance
from aggregator.config.loading import load
from aggregator.runtime.connection import AWAY, connect
from aggregator.supervision import Control, SupervisorError, build
from tests.security.users import BOB
from tests.servers import free_port, wait_until

LONG = "x" * 90


def configure(root: Path) -> Config:
    """Make an instance whose path is too long for sockets below it, with one process."""
    root.mkdir(parents=True, exist_ok=True)
    head = f"[supervisor]\nport = 127.0.0.1:{free_port()}\n[process_redis]\n"
    (root / "loglines.cfg").write_text(f"{head}[process_a]\ncommand = sleep 1000\n")
    return load(root / "loglines.cfg", root)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders of sockets are made."""
    found = tmp_path / "sockets"
    found.mkdir(mode=0o1777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(found))
    return found


@pytest.fixture
def original(tmp_path: Path, base: Path) -> Iterator[Instance]:
    """An instance that runs."""
    config = configure(tmp_path / "original" / LONG)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aggregator", "-r", str(config.root), "run"], stdout=log, stderr=log, cwd="/"
        )
        try:
            wait_until(lambda: _running(config.instance), 60, "its processes run")
            yield config.instance
        finally:
            process.terminate()
            process.wait(60)


def _running(instance: Instance) -> bool:
    try:
        return {state.state for state in Control(instance.supervisor_socket).states()} == {"RUNNING"}
    except SupervisorError:
        return False


def copy_of(instance: Instance, folder: Path) -> Path:
    """Copy an instance as an operator does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", instance.root, folder], check=True)
    return folder


@pytest.mark.parametrize("place", [f"copy/{LONG}", "short"])
def test_supervisorctl_of_a_copy_does_not_act_on_the_original(place: str, original: Instance, tmp_path: Path) -> None:
    copy = copy_of(original, tmp_path / place)

    ran = subprocess.run(
        [copy / "run/supervisorctl", "stop", "all"], capture_output=True, text=True, timeout=60, check=False
    )

    assert _running(original)
    assert ran.returncode == 2
    assert f"{copy}/supervisord.conf was built for another folder" in ran.stderr
    assert ran.stderr.endswith(f"build it here first: {copy}/run/aggregator config build\n")


def test_a_copy_that_was_built_has_sockets_of_its_own(original: Instance, tmp_path: Path) -> None:
    copy = copy_of(original, tmp_path / "copy" / LONG)
    config = load(copy / "loglines.cfg", copy)
    fork(config.instance)

    build(config)

    ran = subprocess.run([copy / "run/supervisorctl", "pid"], capture_output=True, text=True, timeout=60, check=False)
    assert config.instance.sockets != original.sockets
    assert config.instance.sockets_note.read_text() == f"{config.instance.sockets}\n"
    assert config.redis.url == f"unix://{config.instance.sockets}/redis.sock"
    assert ran.stdout == f"unix://{config.instance.supervisor_socket} no such file\n"


def test_the_note_is_followed_where_the_environment_says_otherwise(
    original: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")

    assert Instance(original.root).sockets == original.sockets


def test_supervisord_does_not_serve_another_folders_sockets(tmp_path: Path, base: Path) -> None:
    config = configure(tmp_path / "original" / LONG)
    build(config)
    copy = copy_of(config.instance, tmp_path / "copy" / LONG)
    program = "from aggregator.supervision.supervisord import main; main()"

    ran = subprocess.run(
        [sys.executable, "-c", program, "-n", "-c", copy / "supervisord.conf"],
        capture_output=True, text=True, cwd="/", timeout=60, check=False,
    )  # fmt: skip

    assert ran.returncode == 78
    assert f"{copy}/supervisord.conf was built for another folder" in ran.stderr


@pytest.fixture
def squatted(tmp_path: Path, base: Path) -> Iterator[Config]:
    """An instance the folder of whose sockets was removed, and made anew by somebody who listens there."""
    config = configure(tmp_path / "original" / LONG)
    build(config)
    sockets = config.instance.sockets
    shutil.rmtree(sockets)
    sockets.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as redis, socket.socket(socket.AF_UNIX) as supervisor:
        for listener, path in ((redis, config.instance.redis_socket), (supervisor, config.instance.supervisor_socket)):
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)
        os.chown(sockets, BOB, BOB)
        yield config
        for listener in (redis, supervisor):
            with pytest.raises(BlockingIOError):
                listener.accept()  # nobody has connected


def test_nothing_is_said_to_a_redis_in_a_folder_that_somebody_else_made(squatted: Config) -> None:
    with connect(squatted.redis.url, timeout_s=0.5) as client, pytest.raises(AWAY, match="somebody took its place"):
        client.ping()


def test_nothing_is_asked_of_a_supervisord_in_a_folder_that_somebody_else_made(squatted: Config) -> None:
    with pytest.raises(SupervisorError, match=f"found: user {BOB}, mode 0755.*: somebody took its place"):
        Control(squatted.instance.supervisor_socket).states()


@pytest.mark.parametrize("command", ["supervisorctl status", "aggregator redis"])
def test_nothing_is_served_or_asked_in_a_folder_that_somebody_else_made(command: str, squatted: Config) -> None:
    ran = subprocess.run(
        [squatted.root / "run" / command.split()[0], command.split()[1]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert ran.returncode in (2, 78)
    assert "somebody took its place; remove it, and build and start again" in ran.stderr
