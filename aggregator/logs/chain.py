"""All the files that one path has named, oldest first: rotation, truncation, deletion and return.

The path's newest file is live as long as the path names it. When it does not any more, the rotated logs beside it tell
what happened meanwhile, and are read before the path's next file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from aggregator.logs.arrivals import Arrivals
from aggregator.logs.firstsight import FirstSight, PutOff
from aggregator.logs.followed import SETTLE_S, WATCH_S, Followed
from aggregator.logs.knownfiles import KnownFiles
from aggregator.logs.lines import Taken
from aggregator.logs.livepath import LivePath
from aggregator.logs.openfile import OpenFile, key_of, open_file, text_in
from aggregator.logs.position import Position, text_of
from aggregator.logs.readnote import NotedFile
from aggregator.logs.recognise import locate, named_by, unknown, untaken
from aggregator.logs.rotation import BeingRenamed, Beside, Entry, Folders
from aggregator.logs.vanished import Vanished
from aggregator.runtime.stage import Context

GONE_KEPT_S = 7 * 86400.0
"""How long the position of a file that is gone is kept: it may return with a mount or a backup."""


class Chain:
    """Follow one path; `name` is what its positions and the log call it, as text."""

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
        self.changed: dict[str, str | None] = {}
        """Positions to store that changed otherwise than by reading; None forgets one."""
        self._matched = matched
        self._path = LivePath(path, name, context, matched=matched)
        self._folders = folders
        self._known = known
        self._context = context
        stored = sorted(positions, key=lambda each: each.serial)
        self._put_off = PutOff(path, name, stored)
        # One from which nothing was taken says nothing: its file is as new as any that nobody knows.
        self._files = [Followed(each) for each in stored if each.hashed]
        self.changed |= {each.name: None for each in stored if not each.hashed and each is not self._put_off.position}
        self._seen_before = bool(stored) and self._put_off.position is None
        self._serial = stored[-1].serial if self._seen_before else -1
        self._latest = stored[-1].mtime if stored else 0.0
        """When the newest file that lines were taken from was last changed, Unix seconds."""
        self._vanished = Vanished(name, context, known.notes, matched=matched)
        self._live: Followed | None = None
        self._arrivals = Arrivals(context)

    @property
    def problem(self) -> str:
        """Why the path cannot be read; empty when it can."""
        return self._path.problem

    @property
    def empty(self) -> bool:
        """True when there is nothing to read and nothing to remember."""
        return not self._files and not self.changed and self._path.missing

    @property
    def followed(self) -> bool:
        """True while one of the files at least is there."""
        return any(not each.position.gone for each in self._files)

    @property
    def seen_before(self) -> bool:
        """True when a file was there once."""
        return self._seen_before

    def claim(self) -> None:
        """Tell the other chains which files are followed here."""
        for each in self._files:
            if each.position.gone:
                self._known.leave(each, self._files)
            else:
                self._known.claim(each)

    def reading(self) -> list[NotedFile]:
        """Return the files that lines are taken from now, or may be taken from soon."""
        real = text_of(os.path.realpath(self.path))
        return [
            NotedFile(real, each.position, max(each.seen[0], each.position.offset))
            for each in self._files
            if each.position.hashed and (each.file is not None or each is self._live)
        ]

    def close(self) -> None:
        """Close every file."""
        for each in self._files:
            each.release()

    def look(self, now: float, sight: FirstSight) -> bool:
        """See what became of the files. Returns True when there may be lines to take."""
        ready = self.unsure = False
        try:
            if not self._still_live():
                self._turn_over(now, sight)
            for each in list(self._files):
                ready = each.look(now) or ready
                self._let_go(each, now)
            if self._live is not None:
                self._path.report("")
        except BeingRenamed:
            self._live, self.unsure = None, True
        except OSError as error:
            self._fail(error)
        if not self._seen_before and not self.unsure:
            if self._path.missing:
                self.changed |= self._put_off.forget()
            elif sight.at_end:
                self.changed |= self._put_off.note()
        for each in self._vanished.tell(self._files, now):
            self._change(each)
        self._forget(now)
        return ready

    def take(self, limit: int, maxline: int, now: float) -> tuple[Followed, Taken] | None:
        """Take lines from the oldest file that has any; None when there are none for now."""
        try:
            for each in self._files:
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
                    self._finish(each)
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
            live.position.mtime = self._latest = facts.st_mtime
        if (facts.st_size, facts.st_mtime) == live.seen:
            return True
        if not live.position.hashed:
            return False  # nothing was taken from it, so nothing tells whether it was copied and truncated since
        if live.file is None:
            live.attach(open_file(self.path))
        return live.intact()

    def _turn_over(self, now: float, sight: FirstSight) -> None:
        """Find every file again and add what is new. Raises BeingRenamed, having added nothing, to be tried again."""
        if self._live is not None:
            self._live.quiet_since = now  # its writer may go on for a moment under the other name
        self._live = None
        first = not self._seen_before
        with ExitStack() as opened:
            # order: the path's file first, then the folder: what is rotated in between is then open already
            file = self._open_live(now)
            if file is not None:
                opened.callback(file.close)
            live, new = self._take_stock(file, now)
            if file is not None and live is None:
                self._wait_until_written(file, now)
            found = self._arrivals.open(new, now, opened, patient=not first)
            if found and not self._folders.unchanged(self.path):
                raise BeingRenamed
            opened.pop_all()
        for each in found:
            if self._take_over(each):
                first = False
                continue
            changed_at = each.stat().st_mtime
            half = not sight.at_end and self._known.notes.is_half_read(each, self.path)
            self._add(each, read=first and changed_at < sight.since and not half)
            if first and changed_at >= sight.since:
                self._latest = min(self._latest or changed_at, changed_at)
        if file is not None and live is not None:
            self._live = self._go_on(live, file)
        elif file is not None:
            at_end = first and (sight.at_end or self._put_off.is_it(file))
            self._live = self._succeed(file) or self._take_over(file) or self._start_live(file, at_end=at_end)

    def _open_live(self, now: float) -> OpenFile | None:
        file = self._path.open(now, was_there=self._seen_before)
        self.elsewhere = file is not None and self._known.is_elsewhere(self._files, key_of(file), text_in(file))
        if file is None or not self.elsewhere:
            return file
        file.close()
        self._path.missing = True
        return None

    def _take_stock(self, file: OpenFile | None, now: float) -> tuple[Followed | None, list[Entry]]:
        """Return the followed file that the path names now, if it is one of ours, and the rotated logs that are new."""
        beside = self._folders.beside(self.path)
        if beside is None or (file is not None and not self._path.names(file)):
            raise BeingRenamed
        for each in untaken(self._files, file, beside, self._folders):
            self._drop(each)
        self._locate(beside, now)
        live = named_by(self._files, file)
        if live is not None and live is self._files[-1]:
            return live, []  # nothing was rotated since it was found
        if self._seen_before:
            new = self._arrivals.without_backups(unknown(self._files, beside, self._folders), self._latest)
        else:
            new = beside.rotated if file is not None else []
        return live, [
            entry for entry in new if not self._known.is_elsewhere(self._files, entry.key, self._folders.text(entry))
        ]

    def _is_elsewhere(self, entry: Entry) -> bool:
        return self._known.is_elsewhere(self._files, entry.key, self._folders.text(entry))

    def _locate(self, beside: Beside, now: float) -> None:
        for each in self._files:
            if each.file is not None and not each.intact():
                self._context.log.info("truncated path=%s read=%d", self.name, each.position.offset)
                each.unread = max(each.seen[0] - each.position.offset, 0)
                each.release()
        missed = [each for each in self._files if each.position.gone]
        for each in locate(self._files, beside, self._folders, self._is_elsewhere):
            if not each.position.gone:
                self._context.log.info(
                    "gone path=%s serial=%d read=%d", self.name, each.position.serial, each.position.offset
                )
                each.position.gone, each.position.suspect = now, self._vanished.suspect(each, self._files)
                self._change(each)
        if any(not each.position.gone for each in missed):
            self._vanished.found()
        self.claim()

    def _add(self, file: OpenFile, *, read: bool = False, at_end: bool = False) -> Followed:
        """Follow one more file: from its start, or from its end, or counting it as read."""
        self._serial += 1
        followed = Followed(Position(self.name, self._serial, mtime=file.stat().st_mtime))
        followed.attach(file)
        if read:
            followed.skip_all()
        elif at_end:
            followed.start_at_end()
        self._files.append(followed)
        self._known.claim(followed, again=True)
        if not self._seen_before:
            self._known.begin(followed, self.path)
        if followed.position.hashed:
            self._change(followed)
        self._context.log.info("follow path=%s serial=%d from=%d", self.name, self._serial, followed.position.offset)
        return followed

    def _wait_until_written(self, file: OpenFile, now: float) -> None:
        """Raise BeingRenamed while the file that was followed until now may be overwritten with a copy of itself."""
        lost = [each for each in self._files if each.key == key_of(file) and now - SETTLE_S < each.position.gone]
        if any(each.written_anew(file) for each in lost):
            raise BeingRenamed

    def _succeed(self, file: OpenFile) -> Followed | None:
        """Go on in a longer copy that has taken the place of a file; None when it is none."""
        for each in reversed(self._files):
            position = each.succeed(file)
            if position is not None and each.file is not None:
                followed = self._follow(position, file)
                if each.position.offset >= each.file.stat().st_size:  # all of it is read in the copy
                    self.changed[each.position.name] = None
                return followed
        return None

    def _take_over(self, file: OpenFile) -> Followed | None:
        """Go on with a file that was followed under another path; None when it was not."""
        position = self._known.adopt(file)
        if position is None:
            return None
        self._vanished.found(position.path)
        self.changed |= {position.name: None, **self._put_off.forget()}
        return self._follow(position, file)

    def _follow(self, position: Position, file: OpenFile) -> Followed:
        """Follow a file from a position that was another's."""
        was, self._serial = position.name, self._serial + 1
        position.path, position.serial = self.name, self._serial
        followed = Followed(position)
        followed.attach(file)
        self._files.append(followed)
        self._known.claim(followed, again=True)
        self._seen_before, self._latest = True, max(self._latest, position.mtime)
        self._change(followed)
        self._context.log.info("go_on path=%s was=%s from=%d", self.name, was, position.offset)
        return followed

    def _start_live(self, file: OpenFile, *, at_end: bool) -> Followed:
        """Follow the path's new file. Its position is stored at once, so that the path counts as seen before."""
        copied = self._known.copied(file, self.name) if self._matched and not self._seen_before else 0
        live = self._add(file, at_end=at_end)
        if copied:
            self._context.log.info("copy path=%s bytes=%d: they are read in another file", self.name, copied)
            live.start_at_end(copied)
            live.position.copy = True
        if self._latest and not live.position.hashed:
            # Rotated files may be unread still: they changed after the newest that was read, not after this one.
            live.position.mtime = self._latest
        self._seen_before, self._latest = True, live.position.mtime
        self.changed = self._put_off.forget() | self.changed
        self._change(live)
        return live

    def _go_on(self, live: Followed, file: OpenFile) -> Followed:
        if live.file is None:
            live.attach(file)
        else:
            file.close()
        return live

    # What is over

    def _drop(self, each: Followed) -> None:
        each.release()
        self._files.remove(each)
        self.changed[each.position.name] = None

    def _let_go(self, each: Followed, now: float) -> None:
        """Close a file that nothing comes from any more: removed, or unchanged for long."""
        if each.file is None or each.position.codec or each.seen[0] > each.position.offset:
            return
        removed = each is not self._live and each.file.stat().st_nlink == 0
        if each.quiet_for(now, SETTLE_S if removed else WATCH_S):
            each.release()
            each.let_go = True
            if each is not self._live and (each.succeeded or not each.position.hashed):
                self._drop(each)

    def _finish(self, each: Followed) -> None:
        """Close a compressed file that was read to its end."""
        assert each.file is not None
        if each.file.broken:
            self._context.count("broken")
            self._context.log.error(
                "broken path=%s serial=%d read=%d reason=%s: what is behind cannot be read",
                self.name, each.position.serial, each.position.offset, each.file.broken,
            )  # fmt: skip
        each.release()
        each.position.done = each.let_go = True
        self._change(each)

    def _forget(self, now: float) -> None:
        for each in [each for each in self._files if 0 < each.position.gone < now - GONE_KEPT_S]:
            self._drop(each)

    def _change(self, each: Followed) -> None:
        self.changed[each.position.name] = each.position.store()

    def _fail(self, error: OSError) -> None:
        """Close everything after an error of the file system: the next look begins anew."""
        self._path.report(error.strerror or str(error))
        self.close()
        self._live = None
