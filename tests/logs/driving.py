"""Write logs, and drive a stage as its worker would, with commits that happen or do not."""

from __future__ import annotations

import gzip
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import simplejson

from aggregator.config.parsing import parse_settings
from aggregator.logs.tail import Tail
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Send, Source, Stage

_Component = TypeVar("_Component", Stage, Source)


def real_lines() -> list[str]:
    """Return the lines of the access log that comes with the demo, without their ends."""
    packed = files("aggregator.demo").joinpath("access.log.gz").read_bytes()
    return gzip.decompress(packed).decode("utf-8", "backslashreplace").splitlines()


def write(path: Path, *lines: str) -> None:
    """Append lines to a log."""
    with path.open("ab") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def numbered(start: int, stop: int) -> list[str]:
    """Return log lines that tell where they are from."""
    lines = real_lines()
    return [f"{number} {lines[number % len(lines)]}" for number in range(start, stop)]


def open_in(folder: Path) -> int:
    """Return how many files of a folder this process has open; what else it opens and closes does not count."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is closed again
            found += Path(os.readlink(f"/proc/self/fd/{number}")).is_relative_to(folder)
    return found


@contextmanager
def nobody() -> Iterator[None]:
    """Give up root's right to read everything, if there is one."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def descriptors(most: int) -> Iterator[None]:
    """Let no more than so many files be open; with 0 none can be opened, not even by root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def make(
    stage: type[_Component],
    root: Path,
    cursors: dict[str, str] | None = None,
    *,
    section: str = "worker_test",
    state: str = "state",
    clock: Callable[[], float] = time.time,
    **options: Any,
) -> _Component:
    """Return a stage with these options, not yet started."""
    texts = {name.rstrip("_"): str(value) for name, value in options.items()}
    settings, faults = parse_settings(stage.Settings, texts)
    assert not faults, faults
    context = Context(
        section=section, number=0, node="here", root=root, cursors=cursors or {}, state_id=state, clock=clock
    )
    return stage(settings, context)


RUNNING: list[Tailing] = []
"""What `tests.logs.conftest` stops after each test."""


class Tailing:
    """A tail whose commits are kept; `restart` goes back to them."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.options = {"servicename": "web", "pushto": "lines", "logfile": "access.log", **options}
        self.cursors: dict[str, str] = {}
        self.lines: list[str] = []
        self.counts: dict[str, int] = {}
        self.now = 1000.0
        self.tail = self.start()
        RUNNING.append(self)

    def start(self) -> Tail:
        """Start from what was committed."""
        self.tail = make(Tail, self.root, dict(self.cursors), **self.options)
        self.tail.start()
        return self.tail

    def restart(self) -> None:
        """End as a killed process does, and start anew from what was committed."""
        self.tail.stop()
        self.start()

    def poll(self, *, commits: int | None = None) -> int:
        """Poll once, a second later, and commit at cursors. Returns the lines taken.

        With `commits` the poll is broken off behind so many; with 0 nothing is committed, and the tail must be
        restarted.
        """
        self.now += 1.0
        pending: list[str] = []
        taken = 0
        for outcome in self.tail.poll(self.now):
            if isinstance(outcome, Send):
                body = simplejson.loads(outcome.body)
                assert list(body) == ["service", "logline"]
                pending.append(body["logline"])
                continue
            assert isinstance(outcome, Cursor)
            if commits == 0:
                return taken
            self._commit(outcome, pending)
            taken += len(pending)
            pending = []
            if commits is not None:
                commits -= 1
                if not commits:
                    return taken
        assert not pending, "lines without a cursor behind them"
        self.counts = dict(self.tail.context.counts)
        return taken

    def _commit(self, cursor: Cursor, lines: list[str]) -> None:
        self.lines += lines
        if cursor.value is None:
            self.cursors.pop(cursor.name, None)
        else:
            self.cursors[cursor.name] = cursor.value

    def drain(self, quiet: int = 8) -> list[str]:
        """Poll until nothing came for some seconds; return all lines so far."""
        idle = 0
        while idle < quiet:
            idle = 0 if self.poll() else idle + 1
        return self.lines
