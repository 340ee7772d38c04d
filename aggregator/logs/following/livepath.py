"""The path of a live log: opening what it names now, and telling when that fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from aggregator.logs.following.openfile import OpenFile, key_of, open_file
from aggregator.runtime.context import Context

GAP_S = 60.0
"""How long a path that was there may be missing, between a rotation and the next line, without being reported."""

NEVER_S = 300.0
"""When nothing was ever followed for this long, the configuration counts as wrong."""


class LivePath:
    """A configured path, or one `matched` by a glob; `name` is the path as positions and the log spell it."""

    def __init__(self, path: Path, name: str, context: Context, *, matched: bool = False) -> None:
        self.path = path
        self.name = name
        self.problem = ""
        """Why the path cannot be read; empty when it can."""
        self.missing = False
        """True when there is no file at the path, or for a matched path none that could be a log."""
        self._matched = matched
        self._context = context
        self._missed_at = 0.0

    def open(self, now: float, *, was_there: bool) -> OpenFile | None:
        """Open the file that the path names; None when that fails, which is reported once.

        A matched path that is missing is not reported: dated logs expire.
        """
        try:
            file = open_file(self.path)
        except OSError as error:
            self.missing = isinstance(error, FileNotFoundError) or (self._matched and not error.errno)
            self._missed_at = self._missed_at or now
            missed_s = now - self._missed_at
            if self.missing and self._matched:
                self._withdraw()
            elif not (was_there and self.missing and missed_s < GAP_S):
                never = self.missing and not was_there and missed_s >= NEVER_S
                self.report(error.strerror or str(error), level="error" if never else "warning")
            return None
        self._missed_at, self.missing = 0.0, False
        return file

    def names(self, file: OpenFile) -> bool:
        """True while the path leads to this very file."""
        try:
            facts = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (facts.st_dev, facts.st_ino) == key_of(file)

    def report(self, problem: str, level: Literal["error", "warning"] = "warning") -> None:
        """Report a problem until it is over; an empty text ends it. The section reports all matched paths together."""
        if problem and self._matched:
            if problem != self.problem:
                self._context.log.info("unreadable path=%s reason=%s", self.name, problem)
        elif problem:
            words = f"{self.name} cannot be read: {problem}; it is tried again"
            do = "check the path in `logfile`, and the rights of the file and its folders"
            if self.missing:
                self._context.withdraw("unreadable", self.name)
                self._context.report("follows_nothing", words, do, about=self.name, level=level)
            else:
                self._context.withdraw("follows_nothing", self.name)
                self._context.report("unreadable", words, do, about=self.name, level=level)
        elif self.problem:
            self._context.log.info("readable path=%s", self.name)
            self._withdraw()
        self.problem = problem

    def _withdraw(self) -> None:
        if not self.problem:
            return
        self.problem = ""
        for code in ("follows_nothing", "unreadable"):
            self._context.withdraw(code, self.name)
