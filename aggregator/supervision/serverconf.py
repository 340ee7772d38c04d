"""The text of supervisord.conf and of redis.conf."""

from __future__ import annotations

import hashlib

from aggregator.config.configuration import Config
from aggregator.supervision.generated import MARK
from aggregator.supervision.redisserver import quoted


def supervisord_conf(config: Config, password: str) -> str:
    """Return the text of supervisord.conf."""
    instance, supervisor = config.instance, config.supervisor
    if instance.sockets == instance.run:
        socket = "%(here)s/run/supervisor.sock"
    else:
        socket = str(instance.supervisor_socket).replace("%", "%%")
    if not password.startswith("{SHA}"):
        # supervisord knows no better hash than SHA-1 for the passwords of its servers.
        password = "{SHA}" + hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()
    return f"""; {MARK}
[unix_http_server]
file = {socket}
chmod = 0700

[inet_http_server]
port = {supervisor.port}
username = {supervisor.username.replace("%", "%%")}
password = {password}

[supervisord]
identifier = aggregator
directory = %(here)s
logfile = %(here)s/logs/supervisord.log
logfile_maxbytes = 10MB
logfile_backups = 5
pidfile = %(here)s/run/supervisord.pid
childlogdir = %(here)s/logs
nocleanup = true
minfds = 4096

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{socket}

[include]
files = workers_enabled/*.conf
"""


def redis_conf(config: Config) -> str:
    """Return the text of redis.conf, for a Redis that is private and durable and never evicts a key."""
    instance = config.instance
    return f"""# {MARK}
port 0
unixsocket {quoted(instance.redis_socket)}
unixsocketperm 700
protected-mode yes
daemonize no
databases 1
dir {quoted(instance.redis_data)}
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
save ""
maxmemory-policy noeviction
"""
