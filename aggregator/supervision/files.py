"""The text of every generated file.

Program files hold no path of this machine and no secret, so that they can be kept and compared elsewhere;
supervisord.conf and redis.conf are for their owner alone.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aggregator import __version__
from aggregator.config import graph, placeholders, safepath, standins
from aggregator.config.builds import BuildFacts, Builds, digest_of
from aggregator.config.configuration import Config
from aggregator.config.parsing import options_of
from aggregator.config.programs import Program
from aggregator.config.sections import ProgramSettings
from aggregator.runtime.keys import resolve
from aggregator.supervision.redisserver import quoted

MARK = "Written by create_supervisord_config.py from loglines.cfg: edit that instead."
NOT_ENABLED = "; enabled = no"
STOP_WAIT_S = 30
_REDIS_STOP_WAIT_S = 60
_NO_FILE = ("none", "off", "auto", "syslog")


class GeneratedFile(NamedTuple):
    """A file as it must be."""

    path: Path
    text: str
    mode: int


def is_ours(text: str) -> bool:
    """True for a text that this program wrote."""
    return any(MARK in line for line in text.split("\n", 3)[:3])


def files(config: Config, password: str) -> Iterator[GeneratedFile]:
    """Yield every generated file but those of workers_enabled; `password` opens the web pages."""
    instance = config.instance
    yield GeneratedFile(instance.supervisord_conf, supervisord_conf(config, password), 0o600)
    yield GeneratedFile(
        instance.launcher, launcher(None if config.file == config.root / "loglines.cfg" else config.file), 0o755
    )
    yield GeneratedFile(instance.supervisorctl, _script(safepath.python(safepath.SUPERVISORCTL), '"$root"'), 0o755)
    if any(program.kind == "redis" for program in config.programs.values()):
        yield GeneratedFile(instance.redis_conf, redis_conf(config), 0o600)
    own = {
        name: standins.note(program, config.raw[name]) for name, program in config.programs.items() if program.is_own
    }
    if own:
        yield GeneratedFile(instance.stages, standins.write_notes(MARK, own), 0o644)
    priorities = graph.priorities(config.programs)
    for program in config.programs.values():
        path = instance.available / f"{program.section}.conf"
        yield GeneratedFile(path, program_file(config, program, priorities[program.section]), 0o644)


def supervisord_conf(config: Config, password: str) -> str:
    """Return supervisord.conf."""
    instance, supervisor = config.instance, config.supervisor
    if instance.sockets == instance.run:
        socket = "%(here)s/run/supervisor.sock"
    else:
        socket = str(instance.supervisor_socket).replace("%", "%%")
    if not password.startswith("{SHA}"):
        # supervisord knows no better hash, and takes this one for its servers.
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


def launcher(settings: Path | None = None) -> str:
    """Return run/aggregator: with run/supervisorctl the one place where this machine's Python stands.

    It finds its instance by where it lies, so that a copy of the folder has its own. `settings` is the file that it was
    built from, if that is not its own loglines.cfg.
    """
    named = f" -s {shlex.quote(str(settings))}" if settings is not None else ""
    return _script(safepath.python(safepath.COMMAND_LINE), f'-r "$root"{named}')


def _script(command: list[str], arguments: str) -> str:
    """Return a script that runs a command for the instance it lies in."""
    return f"""#!/bin/sh
# {MARK}
here=$(PATH="/usr/bin:/bin:$PATH" readlink -f "$0") && root=$(cd "${{here%/*}}/.." && pwd) || exit 1
if [ -n "${{PYTHONPATH+x}}" ]; then
    # Python takes an empty entry for the working folder, whose files would be executed
    kept=; set -f; IFS=:
    for entry in $PYTHONPATH; do [ -z "$entry" ] || kept="$kept${{kept:+:}}$entry"; done
    set +f; unset IFS
    PYTHONPATH=$kept
    [ -n "$kept" ] || unset PYTHONPATH
fi
exec {shlex.join(command)} {arguments} "$@"
"""


def redis_conf(config: Config) -> str:
    """Return the configuration of our own Redis: private, durable, and it never throws anything away."""
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


def program_file(config: Config, program: Program, priority: int) -> str:
    """Return the file of one program."""
    settings = program.program
    lines = [f"; {MARK}"]
    if not settings.enabled:
        lines.append(NOT_ENABLED)
    # A worker that ends unasked is started again whatever its exit code: a plugin may have called os._exit(0).
    autorestart = settings.autorestart or ("unexpected" if program.kind == "command" else "true")
    lines += [
        f"[program:{program.section}]",
        f"command = {_command(config, program)}",
        "directory = %(here)s/..",
        f"process_name = {program.section}_%(process_num)d",
        f"numprocs = {settings.numprocs}",
        f"priority = {priority}",
        f"autostart = {_word(settings.autostart)}",
        f"autorestart = {autorestart}",
        f"exitcodes = {','.join(map(str, settings.exitcodes))}",
        f"startsecs = {math.ceil(settings.startsecs)}",
        f"startretries = {settings.startretries}",
        f"stopsignal = {settings.stopsignal}",
        f"stopwaitsecs = {_stop_wait(program)}",
    ]
    if program.kind == "command":
        # A shell script's children end with it.
        lines += ["stopasgroup = true", "killasgroup = true"]
    if settings.user is not None:
        lines.append(f"user = {settings.user}")
    lines.append(f"environment = {_environment(config, program)}")
    lines.append(f"redirect_stderr = {_word(settings.redirect_stderr)}")
    lines += _log(config, program)
    return "\n".join(lines) + "\n"


def log_files(config: Config, program: Program) -> Iterator[Path]:
    """Yield the log file of each process of a program, where it has one."""
    _, text = _log_path(config, program)
    if text.lower() in _NO_FILE:
        return
    for number in range(program.numprocs):
        yield config.root / os.path.expanduser(placeholders.fill(text, program.section, number))


def _command(config: Config, program: Program) -> str:
    ours = '"%(here)s/../run/aggregator"'
    if program.kind == "redis":
        return f"{ours} redis"
    if program.kind == "stage":
        return f"{ours} work {program.section} %(process_num)d"
    raw = config.raw[program.section]["command"].replace("\n", " ")
    text = placeholders.for_supervisord(raw, _here(config)).strip()
    first, _, rest = text.partition(" ")
    if first == "aggregator":
        text = f"{ours} {rest}".strip()
    elif "/" in first and first[0] not in "/%~\"'":
        # supervisord looks for the command before it changes to `directory`.
        text = f'"%(here)s/../{first.removeprefix("./")}" {rest}'.strip()
    if re.search(r"\s[;#]", text):
        text = " ".join(_quoted(word) for word in shlex.split(text))
    return text if program.section.startswith("process_") else f"{text} %(process_num)d {program.section}"


def _quoted(word: str) -> str:
    """Return a word that the shell's rules read as it is, without ` ;` or ` #`: these start comments in a .conf."""
    return re.sub(r"(\s)(?=[;#])", r"\1''", shlex.quote(word))


def _stop_wait(program: Program) -> int:
    if program.program.stopwaitsecs is not None:
        return math.ceil(program.program.stopwaitsecs)
    if program.kind == "redis":
        return _REDIS_STOP_WAIT_S
    # A batch in hand is finished first, and its longest wait is for somebody else's answer.
    timeout = getattr(program.settings, "timeout", 0.0)
    return max(STOP_WAIT_S, math.ceil(timeout) + 10)


def _environment(config: Config, program: Program) -> str:
    own = config.raw[program.section].get("environment", "")
    text = placeholders.for_supervisord(own.replace("\n", " ").strip().rstrip(","), _here(config))
    return ",".join(part for part in (text, f'AGGREGATOR_DIGEST="{_digest(config, program)}"') if part)


def _digest(config: Config, program: Program) -> str:
    """Return a mark of everything the program reads elsewhere, so that `supervisorctl update` restarts it when due.

    Eight hexadecimal digits: too few to tell a password from others.
    """
    options = {option.name for option in options_of(ProgramSettings)}
    own = {name: text for name, text in config.raw[program.section].items() if name not in options}
    parts: list[object] = [__version__, own]
    if program.kind == "redis":
        parts.append(redis_conf(config).replace(str(config.root), ""))
    elif not program.section.startswith("process_"):
        parts += [config.raw.get("redis"), config.raw.get("aggregator"), config.redis.url.startswith("unix:")]
        parts += [config.depth_limit(queue) for queue in program.feeds]
        parts += [config.tables.digest(kind) for kind in program.traits.tables]
        for name in program.plugins:
            parts += [raw for section, raw in config.raw.items() if section == name or section.startswith(f"{name}_")]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def new_build(config: Config) -> BuildFacts | None:
    """Return what a build of this configuration would be; None when the current one is the same."""
    builds, file = Builds(config.instance), config.file
    if file.is_relative_to(config.root):
        file = file.relative_to(config.root)
    digest = digest_of(__version__, str(file), config.source, config.tables.copies())
    current = builds.current()
    if current is not None and current.facts.digest == digest and current.is_whole():
        return None
    return BuildFacts(
        number=builds.next_number(),
        digest=digest,
        version=__version__,
        built_at=time.time(),
        file=str(file),
        node=config.node,
        namespace=config.redis.namespace,
        programs={program.section: _digest(config, program) for program in config.programs.values()},
        queues={resolve(queue, config.node): section for queue, section in config.consumers.items()},
        belongings=belongings(config),
        entries=config.tables.live(),
    )


def belongings(config: Config) -> dict[str, tuple[str, ...]]:
    """Return what the cursors of each section are about, of those that have any.

    Nothing of a stage that was not imported, as commands that look do.
    """
    found = {program.section: _belongings(config, program) for program in config.programs.values()}
    return {section: names for section, names in found.items() if names}


def _belongings(config: Config, program: Program) -> tuple[str, ...]:
    found = getattr(program.stage_class, "belongings", None)
    return tuple(found(program.settings, config.root)) if found else ()


def _log(config: Config, program: Program) -> list[str]:
    settings = program.program
    written, path = _log_path(config, program)
    # supervisord fills in this option twice
    text = placeholders.for_supervisord(written, _here(config)).replace("%%", "%%%%")
    maxbytes = settings.stdout_logfile_maxbytes
    if path.startswith("/dev/"):
        maxbytes = 0
    elif path.lower() not in _NO_FILE and path[0] not in "/~":
        text = f"%(here)s/../{text}"
    return [
        f"stdout_logfile = {text}",
        f"stdout_logfile_maxbytes = {maxbytes}",
        f"stdout_logfile_backups = {settings.stdout_logfile_backups}",
    ]


def _log_path(config: Config, program: Program) -> tuple[str, str]:
    """Return the path of the log as it was written, and with variables filled in; no two processes share one file."""
    default = f"logs/{program.section}.log"
    written, path = (texts[program.section].get("stdout_logfile", default) for texts in (config.raw, config.texts))
    apart = placeholders.fill(path, "", 0) != placeholders.fill(path, "", 1)
    if program.numprocs == 1 or apart or path.lower() in _NO_FILE or path.startswith("/dev/"):
        return written, path
    suffix = os.path.splitext(written)[1]
    if "%" in suffix:
        suffix = ""
    number = f"_%(process_num)d{suffix}"
    return written.removesuffix(suffix) + number, path.removesuffix(suffix) + number


def log_of(config: Config, program: Program, number: int) -> Path | None:
    """Return where the output of one process goes; None where that is no file of its own."""
    path = _log_path(config, program)[1]
    if path.lower() in _NO_FILE or path.startswith("/dev/"):
        return None
    return config.root / os.path.expanduser(placeholders.fill(path, program.section, number))


def _here(config: Config) -> str:
    """Return what stands for the folder of loglines.cfg in a program file."""
    return "%(here)s/.." if config.file.parent == config.root else str(config.file.parent).replace("%", "%%")


def _word(flag: bool) -> str:
    return "true" if flag else "false"
