"""What an unmodified loglines.cfg of PIRUS2 means.

The scripts of PIRUS2 are our stages. Options for something that the stages do by themselves are ignored, each with a
notice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SCRIPTS = {
    "broker.py": "broker",
    "logfilewatcher.py": "tail",
    "logfromqueue.py": "logfile",
    "pirus2.py": "openurl",
}
IGNORED_SECTIONS = {"queues": "ignored; the names of queues need no prefix here, [redis] namespace keeps them apart"}
IGNORED_OPTIONS = {
    "fanout_status_queue": "ignored; a message and its copies are one atomic step, so there is nothing to keep",
    "process_name": "ignored; processes are named SECTION_NUMBER",
}
_IDLETIME = "ignored; whoever reads a queue is woken by it"

_COMMAND = re.compile(r"(?:(?:\S*/env\s+)?\S*python[\d.]*\s+)?(?:\./)?(\w+\.py)")


def stage_of(command: str) -> str | None:
    """Return the stage that does what a PIRUS2 command did, or None for any other command."""
    match = _COMMAND.fullmatch(command.strip())
    return SCRIPTS.get(match[1]) if match else None


def notice(command: str) -> str:
    """Return the words for a command that is taken for a stage."""
    return f"{command.strip()} of PIRUS2 is built in; write stage = {stage_of(command)} instead"


def why_ignored(option: str, texts: Mapping[str, str]) -> str | None:
    """Return the words for an option that lost its meaning, None for any other option that the stage does not know."""
    if option == "idletime" and "listento" in texts:
        return _IDLETIME
    return IGNORED_OPTIONS.get(option)
