"""The paths of an instance: everything it needs to run is below its root folder, sockets included where they fit."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
import stat
from pathlib import Path

SOCKET_PATH_LIMIT = 90
"""The longest path of a socket. The kernel takes 104 to 108 bytes, and supervisord first binds a name that has its
process id at the end."""
_SOCKET_FOLDER = re.compile(r"aggregator-(\d+)-([0-9a-f]{12})")
"""The name has two parts: the user id of the folder's maker, and a mark of the instance's folder."""
_LINE_LIMIT = 4096


class Instance:
    """The paths of one instance. Nothing here creates anything."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = root / "run"
        self.logs = root / "logs"
        self.redis_data = root / "data" / "redis"
        self.available = root / "workers_available"
        self.enabled = root / "workers_enabled"
        self.supervisord_conf = root / "supervisord.conf"
        self.supervisord_pid = self.run / "supervisord.pid"
        self.redis_conf = self.run / "redis.conf"
        self.launcher = self.run / "aggregator"
        self.supervisorctl = self.run / "supervisorctl"
        self.password = self.run / "password"
        self.node = self.run / "node"
        self.identity = root / "data" / "instance"
        self.built = self.run / "built"
        self.build_lock = self.run / "build.lock"
        self.sockets_note = self.run / "sockets"
        self.stages = self.run / "stages.json"
        self.sockets = self._sockets()
        self.redis_socket = self.sockets / "redis.sock"
        self.supervisor_socket = self.sockets / "supervisor.sock"

    def command(self) -> str:
        """Return how a shell calls this instance from any folder: by its launcher, if there is one already."""
        if self.launcher.is_file():
            return shlex.quote(str(self.launcher))
        return f"aggregator -r {shlex.quote(str(self.root))}"

    def unreadable(self) -> str | None:
        """Return why supervisord could not run the instance in this folder; None when it can."""
        # the last four characters form patterns in [include], which could find another instance's programs
        found = next((character for character in '%"\\\n\r[]*?' if character in str(self.root)), None)
        return found and f"the instance's folder has {found!r} in its path, which supervisord cannot read"

    def foreign_sockets(self) -> str | None:
        """Return why nobody may trust the servers in the folder of the sockets; None when there is no reason."""
        return None if self.sockets == self.run else foreign_sockets(self.sockets)

    def _sockets(self) -> Path:
        """Return the folder of the sockets: ``run``, or a private one elsewhere when its path is too long.

        The choice of the first build is written down, because XDG_RUNTIME_DIR is set in a login and not under cron, and
        both must find the same sockets. A note that came with a copy of another instance's folder is not followed,
        because it leads to the sockets of that instance.
        """
        if len(os.fsencode(self.run / "supervisor.sock")) <= SOCKET_PATH_LIMIT:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        noted = Path(read_line(self.sockets_note) or "")
        name = _SOCKET_FOLDER.fullmatch(noted.name)
        if noted.is_absolute() and name and name[2] == digest:
            return noted
        base = os.environ.get("XDG_RUNTIME_DIR", "/tmp")
        return Path(base, f"aggregator-{os.getuid()}-{digest}")


def foreign_sockets(folder: Path) -> str | None:
    """Return why a server in a folder may be somebody else's; None when there is no reason to think so.

    Anybody may make a folder in /tmp anew that the operating system has removed. The folder's name says whose it is.
    """
    name = _SOCKET_FOLDER.fullmatch(folder.name)
    if not name:
        return None
    try:
        found = folder.lstat()
    except OSError:
        return None  # connecting will say what is wrong
    if stat.S_ISDIR(found.st_mode) and found.st_uid == int(name[1]) and not found.st_mode & 0o022:
        return None
    owner = f"user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
    wanted = f"a folder of user {name[1]} that nobody else writes to"
    return f"{folder} is not {wanted} (found: {owner}): somebody took its place; remove it, and build and start again"


def read_line(file: Path) -> str | None:
    """Return the first line of a small file, without white space around it; None when there is no file or no text."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        text = os.read(handle, _LINE_LIMIT).decode(errors="replace")
    finally:
        os.close(handle)
    return text.strip().partition("\n")[0].strip() or None


def shown(path: Path) -> str:
    """Return a path as a user reads it: relative to the working folder, if it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def host_node() -> str:
    """Return this host's name as a node name: letters, digits, _ . - only."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:80] or "node"
