"""Whoever executes something of an instance executes no stranger's; whoever only looks executes nothing of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aggregator.cli import main
from aggregator.config.loading import load
from aggregator.config.ownership import TRUST
from aggregator.errors import ConfigError
from aggregator.supervision import build, plan
from aggregator.supervision.redisserver import find_server
from tests.security.users import ALICE, BOB, STAFF, acting_as, give
from tests.servers import RedisServer, free_port, redis_binaries

CONFIG = """
[redis]
url = {url}
[supervisor]
port = 127.0.0.1:{port}
[worker_mine]
stage = plugins.mine:Mine
listento = lines
fanout = kept
[worker_report]
stage = openurl
listento = kept
repository_plugin = plugins.mine
endpoint_url = http://127.0.0.1:9/
[worker_download]
stage = download
pushto = fetched@node
[worker_archive]
stage = archive
listento = bundled@node
store = here
[store_here]
url = file://%(here)s/data/archive
[feed_mine]
url = http://127.0.0.1:9/x
extension = pb
timestamp = plugins.mine:moment
"""
PLUGIN = """
from pathlib import Path
from typing import Annotated
from aggregator.config.traits import Traits
from aggregator.runtime.contract import ConsumerSettings, Stage
from aggregator.config.settings import Doc, Duration, TargetQueues
Path({executed!r}).touch()
class Mine(Stage):
    traits = Traits(tables=("feed",))
    overview = "plugins.mine:OVERVIEW"
    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        fanout: Annotated[TargetQueues, Doc("x")]
        timeout: Annotated[Duration, Doc("x")] = 77.0
def moment(path):
    return 1
def parseline(message):
    return {{}}
def get_openurl_params(c, section, terms):
    return {{}}
"""


class Trap:
    """An instance whose plugins note that they were executed."""

    def __init__(self, folder: Path, url: str) -> None:
        self.root = folder / "root"
        self.file = self.root / "loglines.cfg"
        self.mark = folder / "executed"
        (self.root / "plugins").mkdir(parents=True)
        for path in (self.root, self.root / "plugins"):
            path.chmod(0o755)
        (self.root / "plugins/__init__.py").touch()
        (self.root / "plugins/mine.py").write_text(PLUGIN.format(executed=str(self.mark)))
        self.file.write_text(CONFIG.format(url=url, port=free_port()))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on it, as a process: what was imported by another test does not count."""
        command = [sys.executable, "-m", "aggregator", "-r", str(self.root), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=False)

    @property
    def executed(self) -> bool:
        """True when a plugin was."""
        return self.mark.exists()


@pytest.fixture
def trap(tmp_path: Path, redis_server: RedisServer) -> Trap:
    """An instance of root's."""
    return Trap(tmp_path, redis_server.url)


LOOKING = (
    "status",
    "health",
    "ledger",
    "queues",
    "graph",
    "dead list",
    "feeds list",
    "feeds coverage",
    "feeds verify",
    "disable worker_mine",
    "config reference",
)
EXECUTING = (
    "config check",
    "config build",
    "run",
    "work worker_mine 0",
    "work worker_download 0",
    "download --limit 1",
    "testrun",
    "redis",
)


@pytest.mark.parametrize("words", LOOKING)
def test_a_command_that_looks_imports_nothing_of_the_user(words: str, trap: Trap) -> None:
    (trap.root / "workers_available").mkdir()
    (trap.root / "workers_available/worker_mine.conf").touch()
    give(trap.root, ALICE)

    ran = trap.run(*words.split())

    assert not trap.executed
    assert ran.returncode in (0, 1), ran.stderr


@pytest.mark.parametrize("words", EXECUTING)
def test_root_executes_nothing_of_another_users_instance(words: str, trap: Trap) -> None:
    built = trap.run("config", "build", "--yes")
    assert built.returncode == 0, built.stderr
    trap.mark.unlink()
    (trap.root / "run/redis.conf").touch()
    give(trap.root, ALICE)

    ran = trap.run(*words.split())

    assert not trap.executed
    assert ran.returncode in (2, 78)
    told = f"{trap.root} belongs to user {ALICE}, who could have root execute anything by what stands in it"
    advice = f"run this as user {ALICE}, or give the folder to root with chown, or set {TRUST}={ALICE}"
    assert f"{told}; {advice}" in ran.stdout + ran.stderr


def test_root_builds_nothing_in_another_users_folder(trap: Trap, tmp_path: Path) -> None:
    victim, other = tmp_path / "victim", tmp_path / "other"
    victim.write_text("root's own\n")
    other.mkdir()
    (trap.root / "run").mkdir()
    (trap.root / "run/build.lock").symlink_to(victim)
    (trap.root / "workers_available").symlink_to(other)
    give(trap.root, ALICE)

    code = main(["-r", str(trap.root), "config", "build"])

    assert code == 2
    assert victim.read_text() == "root's own\n"
    assert list(other.iterdir()) == []


def test_what_a_build_knows_of_a_stage_is_known_without_importing_it(trap: Trap) -> None:
    built = trap.run("config", "build")
    trap.mark.unlink()

    ran = trap.run("health")
    looked = load(trap.file, trap.root, reading=True)

    assert built.returncode == 0, built.stderr
    assert "create  run/stages.json" in built.stdout
    assert not trap.executed
    assert "files" not in ran.stdout, ran.stdout
    assert not plan(looked).changes
    assert looked.programs["worker_mine"].targets == (("fanout", "kept"),)
    # and what has changed since is stale
    trap.file.write_text(trap.file.read_text().replace("fanout = kept", "fanout = kept, more"))
    assert plan(load(trap.file, trap.root, reading=True)).changes


def test_notes_of_a_build_that_are_damaged_are_passed_over(trap: Trap) -> None:
    (trap.root / "run").mkdir()
    (trap.root / "run/stages.json").write_text('{"sections": {"worker_mine": 5}}')

    assert load(trap.file, trap.root, reading=True).programs["worker_mine"].listens == "lines"


OPEN = ("loglines.cfg", "plugins", "plugins/mine.py", ".", "feeds.csv", "run", "workers_enabled")


@pytest.mark.parametrize("name", OPEN)
def test_what_everybody_can_write_to_is_not_executed_and_told_of(name: str, trap: Trap) -> None:
    (trap.root / "feeds.csv").touch()
    for folder in ("run", "workers_enabled"):
        (trap.root / folder).mkdir()
    trap.file.write_text(trap.file.read_text() + "[aggregator]\nfeeds_file = feeds.csv\n")
    path = trap.root / name
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o002)

    refused = trap.run("config", "build")
    looked = trap.run("queues")

    assert refused.returncode == 2
    assert "can be written to by everybody" in refused.stderr
    assert "chmod o-w it" in refused.stderr
    assert not trap.executed
    assert looked.returncode == 0
    assert looked.stderr.startswith(f"warning: {path.resolve()} can be written to by everybody")


@pytest.mark.parametrize("name", ["loglines.cfg", "plugins", "plugins/mine.py"])
def test_what_belongs_to_a_third_user_is_not_executed(name: str, trap: Trap) -> None:
    os.chown(trap.root / name, BOB, BOB)

    with pytest.raises(ConfigError, match=f"belongs to user {BOB}, and what stands in it is executed"):
        load(trap.file, trap.root)


@pytest.mark.parametrize("name", ["run/built", "run/built/current", "run/built/1", "run/built/1/loglines.cfg"])
def test_a_build_that_another_can_change_is_not_executed(name: str, trap: Trap) -> None:
    assert trap.run("config", "build").returncode == 0
    trap.mark.unlink()
    path = trap.root / name

    os.chown(path, BOB, BOB)
    refused = trap.run("work", "worker_mine", "0")
    assert f"{path.resolve()} belongs to user {BOB}" in refused.stdout

    os.chown(path, 0, 0)
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o002)
    assert "can be written to by everybody" in trap.run("work", "worker_mine", "0").stdout
    assert f"warning: {path.resolve()} can be written to by everybody" in trap.run("health").stderr
    assert not trap.executed


def test_a_feeds_file_may_be_another_users_work(trap: Trap) -> None:
    (trap.root / "feeds.csv").touch()
    os.chown(trap.root / "feeds.csv", BOB, BOB)
    trap.file.write_text(trap.file.read_text() + "[aggregator]\nfeeds_file = feeds.csv\n")

    assert f"belongs to user {BOB}" in "\n".join(load(trap.file, trap.root, only="worker_download").warnings)


def test_a_users_own_instance_may_have_a_configuration_of_roots(trap: Trap, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.cfg"
    trap.file.rename(file)
    give(trap.root, ALICE)

    with acting_as(ALICE):
        config = load(file, trap.root, only="worker_download")

    assert config.warnings == ()


def test_a_folder_that_a_group_shares_is_worth_a_warning(trap: Trap) -> None:
    give(trap.root, ALICE, STAFF)
    trap.root.chmod(0o775)

    with acting_as(BOB, STAFF):
        config = load(trap.file, trap.root, only="worker_download")

    told = "\n".join(config.warnings)
    assert f"{trap.root} belongs to user {ALICE} and is shared with user {BOB}" in told
    assert f"{trap.root} can be written to by the group {STAFF} (mode 0775)" in told


def test_a_group_of_the_owners_alone_is_no_matter(trap: Trap) -> None:
    give(trap.root, ALICE)
    for path in (trap.root, trap.root / "plugins", trap.file):
        path.chmod(0o775)

    with acting_as(ALICE):
        assert load(trap.file, trap.root, only="worker_download").warnings == ()


def test_whom_the_environment_trusts_may_own_what_is_executed(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    give(trap.root, ALICE)
    monkeypatch.setenv(TRUST, f"nobody, {ALICE}")

    assert load(trap.file, trap.root, only="worker_download").warnings == ()


def test_another_users_instance_is_not_told_what_the_environment_holds(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_ROOT", "xyzzy")
    trap.file.write_text("[redis]\nhost = 127.0.0.1\npassword = %(ENV_SECRET_OF_ROOT)s\n")
    own = load(trap.file, trap.root, reading=True)
    give(trap.root, ALICE)

    assert "xyzzy" in own.redis.url
    assert "xyzzy" not in load(trap.file, trap.root, reading=True).redis.url


def test_a_lock_that_is_a_link_is_not_opened(trap: Trap, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("root's own\n")
    (trap.root / "run").mkdir()
    (trap.root / "run/build.lock").symlink_to(victim)

    code = main(["-r", str(trap.root), "config", "build"])

    assert code == 2
    assert "run/build.lock: is a link, where only a file can be; remove it" in capsys.readouterr().err
    assert victim.read_text() == "root's own\n"


def test_a_folder_that_another_user_links_elsewhere_is_not_filled(trap: Trap, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    give(trap.root, ALICE, STAFF)
    trap.root.chmod(0o775)
    (trap.root / "logs").symlink_to(other)
    os.lchown(trap.root / "logs", ALICE, STAFF)
    os.chown(other, BOB, BOB)

    with acting_as(BOB, STAFF):
        config = load(trap.file, trap.root, only="worker_download")
        with pytest.raises(ConfigError, match=f"logs is a link of user {ALICE} to what is not that user's"):
            build(config)


def test_a_file_below_data_is_not_executed_for_being_noted(tmp_path: Path) -> None:
    file, mark = tmp_path / "loglines.cfg", tmp_path / "executed"
    file.write_text("[process_redis]\n")
    config = load(file, tmp_path)
    script = config.instance.redis_data / "valkey-server"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\ntouch {mark}\necho v=99.0\n")
    script.chmod(0o755)
    for noted in (str(script), f"valkey-server 99.0 {script}"):
        (config.instance.redis_data / "server").write_text(f"{noted}\n")

        assert find_server(config.instance) in redis_binaries().values()

    assert not mark.exists()
    assert oct(script.stat().st_mode) == "0o100755"


def test_a_server_on_a_relative_path_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, mark = tmp_path / "redis-server", tmp_path / "executed"
    script.write_text(f"#!/bin/sh\ntouch {mark}\necho v=99.0\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    (tmp_path / "loglines.cfg").write_text("[process_redis]\n")

    find_server(load(tmp_path / "loglines.cfg", tmp_path).instance)

    assert not mark.exists()


def test_the_redis_of_a_copied_folder_does_not_open_the_data_of_the_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    (original / "loglines.cfg").write_text(f"[supervisor]\nport = 127.0.0.1:{free_port()}\n[process_redis]\n")
    build(load(original / "loglines.cfg", original))
    subprocess.run(["cp", "-a", original, copy], check=True)

    ran = subprocess.run([copy / "run/aggregator", "redis"], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 78
    assert "redis.conf was built for another folder, whose data it names" in ran.stderr
    assert not (original / "data/redis").exists()
