"""The files that one path has named, oldest first: how each is begun, continued and let go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.files.names import text_of
from aggregator.logs.following.firstlook import Deferred
from aggregator.logs.following.followedfile import SETTLE_S, WATCH_S, FollowedFile
from aggregator.logs.following.knownfiles import KnownFiles
from aggregator.logs.following.listing import Beside, Entry, Folders
from aggregator.logs.following.openfile import OpenFile, key_of
from aggregator.logs.following.position import Position
from aggregator.logs.following.readnotes import NotedFile
from aggregator.logs.following.recognise import locate
from aggregator.logs.following.vanished import Vanished
from aggregator.runtime.context import Context

GONE_KEPT_S = 7 * 86400.0
"""How long the position of a file that is gone is kept: the file may return with a mount or a backup."""


class Generations:
    """The followed files of one path and their positions; `name` is the path as the positions spell it, as text."""

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
        """Positions to store, by cursor name, that changed for another reason than reading; None deletes a cursor."""
        self.vanished = Vanished(name, context, known.notes, matched=matched)
        self._matched = matched
        self._known = known
        self._context = context
        stored = sorted(positions, key=lambda each: each.serial)
        self.deferred = Deferred(path, name, stored)
        # A position identifies no file before a line was taken: such a file is treated like one that was never seen.
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
        """Follow one more file: from its start, from its end with `at_end`, or counted as already read with `read`."""
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
        """Move removed files from which nothing was taken yet behind the files that were rotated before them."""
        removed = [e for e in self.files if e.file is not None and not e.position.hashed and not e.file.stat().st_nlink]
        self.files.sort(key=lambda each: each in removed)

    def is_being_written(self, file: OpenFile, now: float) -> bool:
        """True while a copy may be in the middle of being written over `file`, which was followed until now."""
        lost = [each for each in self.files if each.key == key_of(file) and now - SETTLE_S < each.position.gone]
        return any(each.written_anew(file) for each in lost)

    def succeed(self, file: OpenFile) -> FollowedFile | None:
        """Continue in a longer copy that has replaced a followed file; None when `file` is no such copy."""
        for each in reversed(self.files):
            position = each.succeed(file)
            if position is not None:
                # one cursor serves both: the copy takes over the cursor of the removed file, which needs none any more
                self._serial += 1
                each.position.serial = self._serial
                return self._follow(position, file)
        return None

    def take_over(self, file: OpenFile) -> FollowedFile | None:
        """Continue with a file that was followed under another path; None when the file was not followed."""
        position = self._known.adopt(file)
        if position is None:
            return None
        self.vanished.found(position.path)
        was, self._serial = position.name, self._serial + 1
        self.changed |= {was: None, **self.deferred.forget()}
        position.path, position.serial = self.name, self._serial
        return self._follow(position, file, was)

    def _follow(self, position: Position, file: OpenFile, was: str = "") -> FollowedFile:
        """Follow a file from a position that belonged to another file or path."""
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
            # Rotated files may still be unread: to count as new they are compared with the newest file read, not with
            # this.
            live.position.mtime = self.latest
        self.seen_before, self.latest = True, live.position.mtime
        self.changed = self.deferred.forget() | self.changed
        self.change(live)
        return live

    def _tell_of_repetition(self, file: OpenFile) -> None:
        """Report a file that begins like a file that was read: a shorter copy, or the same log written anew."""
        for each in self.files:
            position = each.position
            if position.hashed == HEAD_BYTES and position.begins(file.read_at(position.start, HEAD_BYTES)):
                size = file.stat().st_size
                self._context.count("read_again")
                self._context.report(
                    "read_again",
                    f"{self.name} begins as a file did that was read before, and is not a longer copy of it: "
                    f"its {size} bytes are read a second time",
                    "expect its lines twice; see who replaced the log",
                    about=self.name,
                    lasting=True,
                )
                return

    def find_again(self, beside: Beside, folders: Folders, now: float) -> None:
        """Find the followed files beside the path, close truncated files, and note which files are gone."""
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
        """True for a file beside the path that is followed under another path."""
        return self._known.is_elsewhere(self.files, entry.key, folders.text(entry))

    def let_go(self, each: FollowedFile, live: FollowedFile | None, now: float) -> None:
        """Close a file from which nothing more comes, because it was removed or has long been unchanged.

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
        """Close a file and delete its position: nothing more comes from it, or it is found again as a new file."""
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
        """Mark a position for storing that changed for another reason than reading."""
        self.changed[each.position.name] = each.position.store()
