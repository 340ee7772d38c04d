"""The files that one path has named, oldest first: which are begun, gone on with, and let go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.files.names import text_of
from aggregator.logs.following.firstlook import Deferred
from aggregator.logs.following.followedfile import SETTLE_S, WATCH_S, FollowedFile
from aggregator.logs.following.knownfiles import KnownFiles
from aggregator.logs.following.openfile import OpenFile, key_of
from aggregator.logs.following.position import Position
from aggregator.logs.following.readnotes import NotedFile
from aggregator.logs.following.recognise import locate
from aggregator.logs.following.rotation import Beside, Entry, Folders
from aggregator.logs.following.vanished import Vanished
from aggregator.runtime.context import Context

GONE_KEPT_S = 7 * 86400.0
"""How long the position of a file that is gone is kept: it may return with a mount or a backup."""


class Generations:
    """The followed files of one path and their positions; `name` is what these call it, as text."""

    def __init__(
        self,
        path: Path,
        name: str,
        known: KnownFiles,
        context: Context,
        positions: Iterable[Position],
        *,
        matched: bool,
    ) -> None:
        self.path = path
        self.name = name
        self.changed: dict[str, str | None] = {}
        """Positions to store that changed otherwise than by reading; None forgets one."""
        self.vanished = Vanished(name, context, known.notes, matched=matched)
        self._matched = matched
        self._known = known
        self._context = context
        stored = sorted(positions, key=lambda each: each.serial)
        self.deferred = Deferred(path, name, stored)
        # One from which nothing was taken says nothing: its file is as new as any that nobody knows.
        self.files = [FollowedFile(each) for each in stored if each.hashed]
        self.changed |= {each.name: None for each in stored if not each.hashed and each is not self.deferred.position}
        self.seen_before = bool(stored) and self.deferred.position is None
        self._serial = stored[-1].serial if self.seen_before else -1
        self.latest = stored[-1].mtime if stored else 0.0
        """When the newest file that lines were taken from was last changed, Unix seconds."""

    def claim(self) -> None:
        """Tell the other logs which files are followed here."""
        for each in self.files:
            if each.position.gone:
                self._known.leave(each, self.files)
            else:
                self._known.claim(each)

    def reading(self, live: FollowedFile | None) -> list[NotedFile]:
        """Return the files that lines are taken from now, or may be taken from soon."""
        real = text_of(os.path.realpath(self.path))
        return [
            NotedFile(real, each.position, max(each.seen[0], each.position.offset))
            for each in self.files
            if each.position.hashed and (each.file is not None or each is live)
        ]

    def begin(self, file: OpenFile, *, read: bool = False, at_end: bool = False) -> FollowedFile:
        """Follow one more file: from its start, or from its end, or counting it as read."""
        self._serial += 1
        followed = FollowedFile(Position(self.name, self._serial, mtime=file.stat().st_mtime))
        followed.attach(file)
        if read:
            followed.skip_all()
        elif at_end:
            followed.start_at_end()
        self.files.append(followed)
        self._known.claim(followed, again=True)
        if not self.seen_before:
            self._known.begin(followed, self.path)
        if followed.position.hashed:
            self.change(followed)
        self._context.log.info("follow path=%s serial=%d from=%d", self.name, self._serial, followed.position.offset)
        return followed

    def put_last(self) -> None:
        """Put a file that was removed, and that nothing was taken from yet, behind those that were rotated before."""
        removed = [e for e in self.files if e.file is not None and not e.position.hashed and not e.file.stat().st_nlink]
        self.files.sort(key=lambda each: each in removed)

    def is_being_written(self, file: OpenFile, now: float) -> bool:
        """True while the file that was followed until now may be overwritten with a copy of itself."""
        lost = [each for each in self.files if each.key == key_of(file) and now - SETTLE_S < each.position.gone]
        return any(each.written_anew(file) for each in lost)

    def succeed(self, file: OpenFile) -> FollowedFile | None:
        """Go on in a longer copy that has taken the place of a file; None when it is none."""
        for each in reversed(self.files):
            position = each.succeed(file)
            if position is not None:
                # one cursor tells both: the copy's is stored in place of the removed file's, which needs none any more
                self._serial += 1
                each.position.serial = self._serial
                return self._follow(position, file)
        return None

    def take_over(self, file: OpenFile) -> FollowedFile | None:
        """Go on with a file that was followed under another path; None when it was not."""
        position = self._known.adopt(file)
        if position is None:
            return None
        self.vanished.found(position.path)
        was, self._serial = position.name, self._serial + 1
        self.changed |= {was: None, **self.deferred.forget()}
        position.path, position.serial = self.name, self._serial
        return self._follow(position, file, was)

    def _follow(self, position: Position, file: OpenFile, was: str = "") -> FollowedFile:
        """Follow a file from a position that was another's."""
        followed = FollowedFile(position)
        followed.attach(file)
        self.files.append(followed)
        self._known.claim(followed, again=True)
        self.seen_before, self.latest = True, max(self.latest, position.mtime)
        self.change(followed)
        self._context.log.info("go_on path=%s was=%s from=%d", self.name, was or position.name, position.offset)
        return followed

    def start_live(self, file: OpenFile, *, at_end: bool) -> FollowedFile:
        """Follow the path's new file. Its position is stored at once, so that the path counts as seen before."""
        copied = self._known.copied(file, self.name) if self._matched and not self.seen_before else 0
        if not at_end:
            self._tell_of_repetition(file)
        live = self.begin(file, at_end=at_end)
        if copied:
            self._context.log.info("copy path=%s bytes=%d: they are read in another file", self.name, copied)
            live.start_at_end(copied)
            live.position.copy = True
        if self.latest and not live.position.hashed:
            # Rotated files may be unread still: they changed after the newest that was read, not after this one.
            live.position.mtime = self.latest
        self.seen_before, self.latest = True, live.position.mtime
        self.changed = self.deferred.forget() | self.changed
        self.change(live)
        return live

    def _tell_of_repetition(self, file: OpenFile) -> None:
        """Tell of a file that begins as one that was read: a shorter copy, or the same log written anew."""
        for each in self.files:
            position = each.position
            if position.hashed == HEAD_BYTES and position.begins(file.read_at(position.start, HEAD_BYTES)):
                size = file.stat().st_size
                self._context.count("read_again")
                self._context.report(
                    "read_again",
                    f"{self.name} begins as a file did that was read before, and is no longer copy of it: its {size} "
                    "bytes are read a second time",
                    "expect its lines twice; see who replaced the log",
                    about=self.name,
                    lasting=True,
                )
                return

    def find_again(self, beside: Beside, folders: Folders, now: float) -> None:
        """Find the files among those beside the path, close those that were truncated, and note which are gone."""
        for each in self.files:
            if each.file is not None and not each.intact():
                self._context.log.info("truncated path=%s read=%d", self.name, each.position.offset)
                each.unread = max(each.seen[0] - each.position.offset, 0)
                each.release()
        missed = [each for each in self.files if each.position.gone]
        for each in locate(self.files, beside, folders, lambda entry: self.is_elsewhere(entry, folders)):
            if not each.position.gone:
                self._context.log.info(
                    "gone path=%s serial=%d read=%d", self.name, each.position.serial, each.position.offset
                )
                each.position.gone, each.position.suspect = now, self.vanished.suspect(each, self.files)
                self.change(each)
        if any(not each.position.gone for each in missed):
            self.vanished.found()
        self.claim()

    def is_elsewhere(self, entry: Entry, folders: Folders) -> bool:
        """True for a file beside the path that is followed under another one."""
        return self._known.is_elsewhere(self.files, entry.key, folders.text(entry))

    def let_go(self, each: FollowedFile, live: FollowedFile | None, now: float) -> None:
        """Close a file that nothing comes from any more: removed, or unchanged for long.

        `live` is the file that the path names now.
        """
        if each.file is None or each.position.codec or each.seen[0] > each.position.offset:
            return
        removed = each is not live and each.file.stat().st_nlink == 0
        if each.quiet_for(now, SETTLE_S if removed else WATCH_S):
            each.release()
            each.let_go = True
            if each is not live and (each.succeeded or not each.position.hashed):
                self.drop(each)

    def drop(self, each: FollowedFile) -> None:
        """Close a file and let its position go: nothing comes from it any more, or it is found again as a new one."""
        each.release()
        self.files.remove(each)
        self.changed[each.position.name] = None

    def finish(self, each: FollowedFile) -> None:
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
        self.change(each)

    def forget(self, now: float) -> None:
        """Drop the files that have been gone for `GONE_KEPT_S`."""
        for each in [each for each in self.files if 0 < each.position.gone < now - GONE_KEPT_S]:
            self.drop(each)

    def change(self, each: FollowedFile) -> None:
        """Have a position stored that changed otherwise than by reading."""
        self.changed[each.position.name] = each.position.store()
