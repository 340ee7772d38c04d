"""Files that are gone, with lines that may never have been read."""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.files.rotatednames import is_dated
from aggregator.logs.following.followedfile import SETTLE_S, WATCH_S, FollowedFile
from aggregator.logs.following.readnotes import ReadNotes
from aggregator.runtime.context import Context

_MOST = 20
"""The most files that are shown by name: when more are gone, the cause is a folder or a mount."""


class Vanished:
    """Report the lost files of one path; `name` is the path as text."""

    def __init__(self, name: str, context: Context, notes: ReadNotes, *, matched: bool) -> None:
        self._name = name
        self._context = context
        self._notes = notes
        self._expires = matched and is_dated(name)
        """True for a path with a date that a glob matches: such files expire, and losing a file that was read is no
        loss."""

    def suspect(self, each: FollowedFile, files: Sequence[FollowedFile]) -> bool:
        """True when a file that is not found may have unread lines; `files` are all files of its path."""
        if each.unread is not None:  # the file was open until now
            return each.unread > 0
        if each.let_go:
            return False
        each.unread, looked_at = self._notes.unread(each.position)
        if each.unread:
            return True
        if each.position.copy:
            return False
        if any(later.position.offset for later in files if later.position.serial > each.position.serial):
            return False  # a later file is begun when the earlier one is read to its end
        quiet = each.unread == 0 and looked_at - each.position.mtime >= WATCH_S
        return not (quiet and self._expires)

    def tell(self, files: Sequence[FollowedFile], now: float) -> list[FollowedFile]:
        """Report files that did not turn up elsewhere in time. Returns them, because their positions changed."""
        told = []
        for each in files:
            position = each.position
            if not position.suspect or not position.gone or now - position.gone < SETTLE_S:
                continue
            position.suspect = False
            told.append(each)
            self._context.count("vanished")
            if each.unread:
                self._context.count("vanished_bytes", each.unread)
            told_of = [about for code, about in self._context.reports if code == "vanished"]
            if len(told_of) >= _MOST and self._name not in told_of:
                self._tell_of_more()
                continue
            size = f"{each.unread} bytes of it were not read" if each.unread else "how much was not read is not known"
            self._context.report(
                "vanished",
                f"{self._name} was read up to byte {position.offset}, and is in its folder no more: {size}",
                "put the file back under its name if there is a copy: it is read on from there",
                about=self._name,
                lasting=True,
            )
        return told

    def _tell_of_more(self) -> None:
        self._context.log.warning("vanished about=%s", self._name)
        self._context.report(
            "vanished",
            f"more files vanished than the {_MOST} that are shown: the log of [{self._context.section}] names all",
            "see whether a whole folder or a mount is missing",
            lasting=True,
        )

    def found(self, name: str = "") -> None:
        """Withdraw the report, because the file is there again; `name` is the path that it had, if it was another."""
        self._context.withdraw("vanished", name or self._name)
