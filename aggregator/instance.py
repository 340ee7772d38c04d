"""Where an instance keeps what it needs to run: everything below its root folder, sockets included where they fit."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path

SOCKET_PATH_LIMIT = 90
"""The kernel takes 104 to 108 bytes, and supervisord first binds a name that has its process id at the end."""


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
        self.sockets = self._sockets()
        self.redis_socket = self.sockets / "redis.sock"
        self.supervisor_socket = self.sockets / "supervisor.sock"

    def unreadable(self) -> str | None:
        """Return why supervisord could not run the instance in this folder, None when it can."""
        # the last four are a pattern in [include], which could find another instance's programs
        found = next((character for character in '%"\\\n\r[]*?' if character in str(self.root)), None)
        return found and f"the instance's folder has {found!r} in its path, which supervisord cannot read"

    def _sockets(self) -> Path:
        """Return the folder of the sockets: ``run``, or a private one elsewhere when its path is too long.

        The choice of the first build is written down: XDG_RUNTIME_DIR is set in a login and not under cron, and
        both must find the same sockets.
        """
        if len(os.fsencode(self.run / "supervisor.sock")) <= SOCKET_PATH_LIMIT:
            return self.run
        noted = read_line(self.sockets_note)
        if noted:
            return Path(noted)
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        base = os.environ.get("XDG_RUNTIME_DIR", "/tmp")
        return Path(base, f"aggregator-{os.getuid()}-{digest}")


def read_line(file: Path) -> str | None:
    """Return the first line of a small file, without white space around it; None when there is no file or no text."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return text.strip().partition("\n")[0].strip() or None


def shown(path: Path) -> str:
    """Return a path as a user reads it: from the working folder, if it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def host_node() -> str:
    """Return this host's name as a node name: letters, digits, _ . - only."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:80] or "node"
