"""The last line in the log of a process that does not come up: it often tells the reason."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ = 4096
_LONGEST = 300


def last_words(log: Path) -> str:
    """Return the last line of a log, shortened; empty when there is none, or when the log is no readable file."""
    try:
        # a link that somebody put there is not followed, and a pipe is not waited for
        handle = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            return ""
        file.seek(max(0, facts.st_size - _READ))
        lines = [line.strip() for line in file.read(_READ).decode(errors="backslashreplace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:_LONGEST]
