"""Find options that supervisord could not read or run: one bad program file keeps it from reading any program."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Mapping

from aggregator.config import placeholders
from aggregator.config.hints import shorten
from aggregator.config.ini import Document
from aggregator.config.sections import ProgramSettings

COMMAND_WORDS = "a program and its arguments"


def check_user(document: Document, section: str, program: ProgramSettings) -> None:
    """Refuse a user whom this machine does not know."""
    if program.user is None:
        return
    try:
        pwd.getpwuid(int(program.user)) if program.user.isdecimal() else pwd.getpwnam(program.user)
    except KeyError:
        document.fault(section, "user", f"no such user on this machine (found {shorten(program.user)})")


def check_words(document: Document, section: str, texts: Mapping[str, str]) -> None:
    """Refuse texts that supervisord could not read: one bad program file keeps it from reading any program."""
    if "command" in texts:
        found = f"found {shorten(texts['command'])}"
        try:
            if not any(shlex.split(texts["command"])[:1]):
                document.fault(section, "command", f"bad command ({found}); allowed: {COMMAND_WORDS}")
        except ValueError as error:
            document.fault(section, "command", f"{error} ({found})")
    for option in ("environment", "stdout_logfile"):
        if re.search(r"\s#", texts.get(option, "")):
            found = f"found {shorten(texts[option])}"
            document.fault(section, option, f"supervisord takes # after a space for a comment ({found})")
    for option in ("command", "environment", "stdout_logfile"):
        # supervisord replaces %(here)s before it looks at percent signs, and fills in the path of a log twice.
        filled = ("here", "process_num", "program_name") if option == "stdout_logfile" else ("here",)
        for name in placeholders.doubled(_written(document, section, option)):
            if name in filled:
                words = f"supervisord fills in %%({name}) all the same; take it out"
                document.fault(section, option, words)
    _check_log(document, section, texts.get("stdout_logfile", ""), _written(document, section, "stdout_logfile"))


def _check_log(document: Document, section: str, text: str, written: str) -> None:
    home = text.strip().partition("/")[0]
    if home.startswith("~") and os.path.expanduser(home) == home:
        document.fault(section, "stdout_logfile", f"no such user on this machine (found {shorten(home)})")
    if placeholders.here_inside(written):
        # In a program file another text stands for %(here)s.
        words = "%(here)s can only stand in front of a / at the beginning"
        document.fault(section, "stdout_logfile", words)
    for name in placeholders.variables(written):
        # supervisord fills in this option twice.
        if "%" in os.environ.get(name, ""):
            words = f"supervisord cannot read a % in the value of the variable {name} here; write it out"
            document.fault(section, "stdout_logfile", words)


def _written(document: Document, section: str, option: str) -> str:
    """Return the text of an option before anything was filled in."""
    values = document.sections[section].values
    return values[option].text if option in values else ""
