"""The log files to which the processes of a program write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from aggregator.config import placeholders
from aggregator.config.configuration import Config
from aggregator.config.programs import Program

NO_FILE = ("none", "off", "auto", "syslog")
"""The values of supervisord's `stdout_logfile` for output that goes to no file of ours."""


def log_files(config: Config, program: Program) -> Iterator[Path]:
    """Yield the log file of each process of a program, where it has one."""
    _, text = log_path(config, program)
    if text.lower() in NO_FILE:
        return
    for number in range(program.numprocs):
        yield config.root / os.path.expanduser(placeholders.fill(text, program.section, number))


def log_of(config: Config, program: Program, number: int) -> Path | None:
    """Return the log file of one process; None when its output goes to no file of its own."""
    path = log_path(config, program)[1]
    if path.lower() in NO_FILE or path.startswith("/dev/"):
        return None
    return config.root / os.path.expanduser(placeholders.fill(path, program.section, number))


def log_path(config: Config, program: Program) -> tuple[str, str]:
    """Return the path of the log, as it was written and with variables filled in.

    The process number is added to a path that several processes would share.
    """
    default = f"logs/{program.section}.log"
    written, path = (texts[program.section].get("stdout_logfile", default) for texts in (config.raw, config.texts))
    apart = placeholders.fill(path, "", 0) != placeholders.fill(path, "", 1)
    if program.numprocs == 1 or apart or path.lower() in NO_FILE or path.startswith("/dev/"):
        return written, path
    suffix = os.path.splitext(written)[1]
    if "%" in suffix:
        suffix = ""
    number = f"_%(process_num)d{suffix}"
    return written.removesuffix(suffix) + number, path.removesuffix(suffix) + number
