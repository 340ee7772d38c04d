"""Ways from one file through a copier into two files: ours, rsyslog's, and the design of PIRUS2.

A way is started on a folder without `input.log`; once this file is there, its lines go to `first.log` and `second.log`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from redis.client import Redis

from benchmarks.instance import PIPELINE, configure, start_worker
from benchmarks.rig import KEYS, spawn, start

RSYSLOGD = Path("/usr/sbin/rsyslogd")

Processes = list[subprocess.Popen[str]]


class Place(NamedTuple):
    """A folder, and a Redis without anything in it."""

    folder: Path
    url: str
    client: Redis


class Way(NamedTuple):
    """How to start a way, and how to see that it waits for lines; `lines` is a number that takes it some seconds."""

    title: str
    lines: int
    start: Callable[[Place], Processes]
    is_ready: Callable[[Place], bool]


def ours(place: Place) -> Processes:
    """Start the four workers of an instance."""
    configure(place.folder, place.url)
    return [start_worker(place.folder, section) for section in PIPELINE]


def ours_is_ready(place: Place) -> bool:
    """True when all four workers have said that they are idle."""
    return all(place.client.hget(KEYS.worker(f"bench:{section}_0"), "state") == b"idle" for section in PIPELINE)


def pirus2(place: Place) -> Processes:
    """Start the four processes of the PIRUS2 design."""
    folder = place.folder
    roles: tuple[tuple[object, ...], ...] = (
        ("tail", place.url, folder / "input.log", "lines"),
        ("broker", place.url, "lines", "first", "second"),
        ("logfile", place.url, "first", folder / "first.log"),
        ("logfile", place.url, "second", folder / "second.log"),
    )
    return [start("benchmarks.pirus2", *role) for role in roles]


def pirus2_is_ready(place: Place) -> bool:
    """True when all four processes are connected to Redis, beside our own connection."""
    return len(place.client.client_list()) > len(PIPELINE)


_RSYSLOG = """\
global(workDirectory="{folder}/work" maxMessageSize="1m" parser.escapeControlCharactersOnReceive="off")
module(load="imfile" mode="inotify")
template(name="line" type="string" string="%msg%\\n")
ruleset(name="copy" {queue}) {{
  action(type="omfile" file="{folder}/first.log" template="line" {output})
  action(type="omfile" file="{folder}/second.log" template="line" {output})
}}
input(type="imfile" file="{folder}/input.log" tag="bench" ruleset="copy" {source})
"""


def rsyslog(place: Place) -> Processes:
    """Start rsyslog with its defaults: messages wait in memory, nothing is synced."""
    return _rsyslog(place, queue="", output="", source="")


def rsyslog_on_disk(place: Place) -> Processes:
    """Start rsyslog so that it may be killed: messages wait on disk, and it notes its progress every 100 lines."""
    queue = 'queue.type="disk" queue.filename="copy" queue.checkpointinterval="100" queue.dequeuebatchsize="100"'
    return _rsyslog(place, queue=queue, output='sync="on"', source='persistStateInterval="100"')


def _rsyslog(place: Place, **parts: str) -> Processes:
    folder = place.folder
    (folder / "work").mkdir(exist_ok=True)
    (folder / "rsyslog.conf").write_text(_RSYSLOG.format(folder=folder, **parts))
    (folder / "pid").unlink(missing_ok=True)  # a pid file of a killed process would stop the next start
    command = [RSYSLOGD, "-n", "-f", folder / "rsyslog.conf", "-i", folder / "pid"]
    return [spawn(command, stderr=subprocess.DEVNULL)]


def rsyslog_is_ready(place: Place) -> bool:
    """True when rsyslog has written its pid file, which it does once its modules are up."""
    return (place.folder / "pid").exists()


OURS = Way("ours", 400_000, ours, ours_is_ready)
PIRUS2 = Way("PIRUS2's design", 20_000, pirus2, pirus2_is_ready)
RSYSLOG = Way("rsyslog, defaults", 400_000, rsyslog, rsyslog_is_ready)
RSYSLOG_ON_DISK = Way("rsyslog, queue on disk, files synced", 100_000, rsyslog_on_disk, rsyslog_is_ready)
