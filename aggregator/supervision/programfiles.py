"""The text of a program file, which tells supervisord about one program."""

from __future__ import annotations

import math
import re
import shlex

from aggregator.config import placeholders
from aggregator.config.configuration import Config
from aggregator.config.programs import Program
from aggregator.supervision.digests import digest_of_program
from aggregator.supervision.generated import MARK
from aggregator.supervision.logpaths import NO_FILE, log_path

NOT_ENABLED = "; enabled = no"
"""The line that tells the next build that the configuration said `enabled = no`."""
STOP_WAIT_S = 30
_REDIS_STOP_WAIT_S = 60


def program_file(config: Config, program: Program, priority: int) -> str:
    """Return the text of one program's file."""
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
        # Signals go to the whole process group, so that a shell script's children end with it.
        lines += ["stopasgroup = true", "killasgroup = true"]
    if settings.user is not None:
        lines.append(f"user = {settings.user}")
    lines.append(f"environment = {_environment(config, program)}")
    lines.append(f"redirect_stderr = {_word(settings.redirect_stderr)}")
    lines += _log(config, program)
    return "\n".join(lines) + "\n"


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
    """Return a word quoted by the shell's rules, without ` ;` or ` #` in it, which start comments in a .conf file."""
    return re.sub(r"(\s)(?=[;#])", r"\1''", shlex.quote(word))


def _stop_wait(program: Program) -> int:
    if program.program.stopwaitsecs is not None:
        return math.ceil(program.program.stopwaitsecs)
    if program.kind == "redis":
        return _REDIS_STOP_WAIT_S
    # A worker finishes its batch first, and the longest wait in a batch is for another server's answer.
    timeout = getattr(program.settings, "timeout", 0.0)
    return max(STOP_WAIT_S, math.ceil(timeout) + 10)


def _environment(config: Config, program: Program) -> str:
    own = config.raw[program.section].get("environment", "")
    text = placeholders.for_supervisord(own.replace("\n", " ").strip().rstrip(","), _here(config))
    return ",".join(part for part in (text, f'AGGREGATOR_DIGEST="{digest_of_program(config, program)}"') if part)


def _log(config: Config, program: Program) -> list[str]:
    settings = program.program
    written, path = log_path(config, program)
    # supervisord expands this option twice
    text = placeholders.for_supervisord(written, _here(config)).replace("%%", "%%%%")
    maxbytes = settings.stdout_logfile_maxbytes
    if path.startswith("/dev/"):
        maxbytes = 0
    elif path.lower() not in NO_FILE and path[0] not in "/~":
        text = f"%(here)s/../{text}"
    return [
        f"stdout_logfile = {text}",
        f"stdout_logfile_maxbytes = {maxbytes}",
        f"stdout_logfile_backups = {settings.stdout_logfile_backups}",
    ]


def _here(config: Config) -> str:
    """Return the text that names the folder of loglines.cfg in a program file."""
    return "%(here)s/.." if config.file.parent == config.root else str(config.file.parent).replace("%", "%%")


def _word(flag: bool) -> str:
    return "true" if flag else "false"
