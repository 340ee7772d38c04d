"""Talk to the supervisord of an instance, over its private socket."""

from __future__ import annotations

import http.client
import socket
import time
import xmlrpc.client
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aggregator.config.instance import foreign_sockets
from aggregator.errors import AggregatorError

ANSWER_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 600.0
"""Long, because supervisord answers only when the processes have ended, each within its own `stopwaitsecs`."""


class SupervisorError(AggregatorError):
    """supervisord does not answer, or refuses a request."""


class ProcessState(NamedTuple):
    """One process as supervisord sees it; times are Unix seconds, 0 for an event that never happened."""

    program: str
    name: str
    state: str
    """STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN."""
    pid: int
    """0 when there is no process."""
    started_at: int
    now: int
    exit_code: int
    description: str


class Changes(NamedTuple):
    """The programs whose files differ from the running configuration."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Control:
    """The supervisord that listens on a socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def running(self) -> bool:
        """True when supervisord answers, and is not about to end."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except SupervisorError:
            return False

    def states(self) -> list[ProcessState]:
        """Return the state of every process, in the order of their names."""
        return [
            ProcessState(
                program=info["group"],
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                started_at=info["start"],
                now=info["now"],
                exit_code=info["exitstatus"],
                description=info["spawnerr"] or info["description"],
            )
            for info in self._call("getAllProcessInfo")
        ]

    def start(self, program: str) -> None:
        """Start the processes of a program that do not run, and wait until they do."""
        self._call("startProcessGroup", program)

    def stop(self, program: str) -> None:
        """Stop every process of a program, and wait until they have ended."""
        self._call("stopProcessGroup", program)

    def reread(self) -> Changes:
        """Let supervisord read its files again, and return the programs that differ; none is started or stopped."""
        added, changed, removed = self._call("reloadConfig")[0]
        return Changes(tuple(added), tuple(changed), tuple(removed))

    def update(self, programs: Collection[str] | None = None) -> Iterator[str]:
        """Start, restart and stop programs to match their files, and yield a line for each change.

        With `programs`, only these are considered. Programs whose files have not changed keep running.
        """
        changes = self.reread()
        added, changed, removed = (
            [name for name in names if programs is None or name in programs] for names in changes
        )
        for name in (*removed, *changed):
            self._call("stopProcessGroup", name, False)
        for name in (*removed, *changed):
            self._wait_for_end(name)
            self._call("removeProcessGroup", name)
            if name in removed:
                yield f"{name}: removed"
        # supervisord listed the programs in the order of their priorities
        for name in changed:
            self.add(name)
            yield f"{name}: restarted"
        for name in added:
            self.add(name)
            yield f"{name}: added"

    def add(self, program: str) -> None:
        """Add a program whose file supervisord has read, and start it."""
        self._call("addProcessGroup", program)

    def remove(self, program: str) -> None:
        """Stop a program and forget it until the files are read again."""
        self.stop(program)
        self._call("removeProcessGroup", program)

    def _wait_for_end(self, program: str) -> None:
        """Wait until the processes of a program that was asked to stop have ended.

        A second request to stop would not wait for processes that are stopping already.
        """
        # this wait ends: supervisord kills a process that does not end within its `stopwaitsecs`
        while any(state.program == program and state.state == "STOPPING" for state in self.states()):
            time.sleep(0.05)

    def _call(self, method: str, *arguments: Any) -> Any:
        if words := foreign_sockets(self.socket.parent):
            raise SupervisorError(f"nothing is asked of the supervisord on {self.socket}: {words}")
        # A transport that has met an error stays broken, so each call has its own.
        transport = _Transport(
            self.socket, STOP_TIMEOUT_S if method.startswith(("start", "stop")) else ANSWER_TIMEOUT_S
        )
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            kind, _, words = fault.faultString.partition(": ")
            if kind == "CANT_REREAD":
                words = f"it cannot read its files: {words}"
            asked = " ".join([method, *map(str, arguments)])
            raise SupervisorError(f"supervisord refuses {asked}: {words or kind}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise SupervisorError(f"no supervisord answers on {self.socket}: {error}") from error
        finally:
            transport.close()


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket with a timeout, which supervisor's own transport lacks."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self.path = path
        self.timeout_s = timeout_s

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        # The inherited method sends the request a second time when the first answer does not come.
        return self.single_request(host, handler, request_body, verbose)

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _Connection(self.path, self.timeout_s)
        self._connection = host, connection  # close() closes this connection
        return connection


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))
