"""All the files that one path has named, oldest first: rotation, truncation, deletion and return.

The path's newest file is live as long as the path names it. When the path names the file no more, the rotated logs
beside it show what happened meanwhile, and are read before the path's next file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from aggregator.logs.following.firstlook import FirstLook
from aggregator.logs.following.followedfile import FollowedFile
from aggregator.logs.following.generations import Generations
from aggregator.logs.following.knownfiles import KnownFiles
from aggregator.logs.following.lines import Taken
from aggregator.logs.following.listing import BeingRenamed, Entry, Folders
from aggregator.logs.following.livepath import LivePath
from aggregator.logs.following.newfiles import NewFiles
from aggregator.logs.following.openfile import OpenFile, key_of, open_file, text_in
from aggregator.logs.following.position import Position
from aggregator.logs.following.readnotes import NotedFile
from aggregator.logs.following.recognise import named_by, unknown, untaken
from aggregator.runtime.context import Context


class FollowedLog:
    """Follow one path; `name` is the path as its positions and the worker's log spell it, as text."""

    def __init__(
        self,
        path: Path,
        name: str,
        folders: Folders,
        known: KnownFiles,
        context: Context,
        positions: Iterable[Position] = (),
        *,
        matched: bool = False,
    ) -> None:
        self.path = path
        self.name = name
        self.unsure = False
        """True when files were being renamed at the last look, so that nothing was decided."""
        self.elsewhere = False
        """True when the path names a file that is followed under another path."""
        self.matched = matched
        """True for a path that only globs match, and that is not configured itself."""
        self.generations = Generations(path, name, known, context, positions, matched=matched)
        self._path = LivePath(path, name, context, matched=matched)
        self._folders = folders
        self._known = known
        self._context = context
        self._live: FollowedFile | None = None
        self._new_files = NewFiles(context)

    @property
    def problem(self) -> str:
        """Why the path cannot be read; empty when it can."""
        return self._path.problem

    @property
    def empty(self) -> bool:
        """True when there is nothing to read and nothing to remember."""
        return not self.generations.files and not self.generations.changed and self._path.missing

    @property
    def followed(self) -> bool:
        """True while at least one of the files is there."""
        return any(not each.position.gone for each in self.generations.files)

    def reading(self) -> list[NotedFile]:
        """Return the files that lines are taken from now, or may be taken from soon."""
        return self.generations.reading(self._live)

    def close(self) -> None:
        """Close every file."""
        for each in self.generations.files:
            each.release()

    def look(self, now: float, first_look: FirstLook) -> bool:
        """Look at the files again. Returns True when there may be lines to take."""
        ready = self.unsure = False
        try:
            if not self._still_live():
                self._turn_over(now, first_look)
            for each in list(self.generations.files):
                ready = each.look(now) or ready
                self.generations.let_go(each, self._live, now)
            if self._live is not None:
                self._path.report("")
        except BeingRenamed:
            self._live, self.unsure = None, True
        except OSError as error:
            self._fail(error)
        if not self.generations.seen_before and not self.unsure:
            if self._path.missing:
                self.generations.changed |= self.generations.deferred.forget()
            elif first_look.at_end:
                self.generations.changed |= self.generations.deferred.note()
        for each in self.generations.vanished.tell(self.generations.files, now):
            self.generations.change(each)
        self.generations.forget(now)
        return ready

    def take(self, limit: int, maxline: int, now: float) -> tuple[FollowedFile, Taken] | None:
        """Take lines from the oldest file that has any; None when there are none for now."""
        try:
            for each in self.generations.files:
                if each.file is None:
                    continue
                taken = each.take(limit, maxline)
                if taken is None:
                    self._live = None  # truncated just now: the next look finds out
                    return None
                if not taken.lines and each is not self._live:
                    if each.in_progress(now):
                        return None
                    taken = each.take_rest(maxline) or taken
                if taken.lines:
                    return each, taken
                if each.position.codec:
                    self.generations.finish(each)
        except OSError as error:
            self._fail(error)
        return None

    # What the path names now

    def _still_live(self) -> bool:
        live = self._live
        if live is None:
            return False
        try:
            facts = os.stat(self.path)
        except OSError:
            return False
        if (facts.st_dev, facts.st_ino) != live.key:
            return False
        if live.position.hashed:
            live.position.mtime = self.generations.latest = facts.st_mtime
        if (facts.st_size, facts.st_mtime) == live.seen:
            return True
        if not live.position.hashed:
            return False  # nothing was taken from it, so nothing tells whether it was copied and truncated since
        if live.file is None:
            live.attach(open_file(self.path))
        return live.intact()

    def _turn_over(self, now: float, first_look: FirstLook) -> None:
        """Find every file again and add new files. Raises BeingRenamed, having added nothing, to be tried again."""
        if self._live is not None:
            self._live.quiet_since = now  # the writer of a renamed file may go on for a moment
        self._live = None
        first = not self.generations.seen_before
        with ExitStack() as opened:
            # order: the path's file first, then the folder: a file that is rotated in between is then open already
            file = self._open_live(now)
            if file is not None:
                opened.callback(file.close)
            live, new = self._take_stock(file, now)
            if file is not None and live is None and self.generations.is_being_written(file, now):
                raise BeingRenamed
            found = self._new_files.open(new, now, opened, patient=not first)
            if found and not self._folders.unchanged(self.path):
                raise BeingRenamed
            opened.pop_all()
        for each in found:
            if self.generations.succeed(each) or self.generations.take_over(each):
                first = False
                continue
            changed_at = each.stat().st_mtime
            half = not first_look.at_end and self._known.notes.is_half_read(each, self.path)
            self.generations.begin(each, read=first and changed_at < first_look.since and not half)
            if first and changed_at >= first_look.since:
                self.generations.latest = min(self.generations.latest or changed_at, changed_at)
        if file is not None and live is not None:
            self._live = self._go_on(live, file)
        elif file is not None:
            self.generations.put_last()
            at_end = first and (first_look.at_end or self.generations.deferred.is_it(file))
            self._live = (
                self.generations.succeed(file)
                or self.generations.take_over(file)
                or self.generations.start_live(file, at_end=at_end)
            )

    def _open_live(self, now: float) -> OpenFile | None:
        file = self._path.open(now, was_there=self.generations.seen_before)
        self.elsewhere = file is not None and self._known.is_elsewhere(
            self.generations.files, key_of(file), text_in(file)
        )
        if file is None or not self.elsewhere:
            return file
        file.close()
        self._path.missing = True
        return None

    def _take_stock(self, file: OpenFile | None, now: float) -> tuple[FollowedFile | None, list[Entry]]:
        """Return the followed file that the path names now, None if there is none, and the new rotated logs."""
        beside = self._folders.beside(self.path)
        if beside is None or (file is not None and not self._path.names(file)):
            raise BeingRenamed
        for each in untaken(self.generations.files, file, beside, self._folders):
            self.generations.drop(each)
        self.generations.find_again(beside, self._folders, now)
        live = named_by(self.generations.files, file)
        if live is not None and live is self.generations.files[-1]:
            return live, []  # nothing was rotated since it was found
        if self.generations.seen_before:
            new = self._new_files.without_backups(
                unknown(self.generations.files, beside, self._folders), self.generations.latest
            )
        else:
            new = beside.rotated if file is not None else []
        return live, [entry for entry in new if not self.generations.is_elsewhere(entry, self._folders)]

    def _go_on(self, live: FollowedFile, file: OpenFile) -> FollowedFile:
        if live.file is None:
            live.attach(file)
        else:
            file.close()
        return live

    def _fail(self, error: OSError) -> None:
        """Close everything after an error of the file system: the next look begins anew."""
        self._path.report(error.strerror or str(error))
        self.close()
        self._live = None
