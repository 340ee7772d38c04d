"""Store the finished files of streams for `archive`, and remove them here once they are safe there.

What happens to a file, in this order; a process may be killed after any step:

1. `record` writes the sidecar and sends a message.
2. The file is put into the store and read back, then its sidecar.
3. The message is committed.
4. The mark `.NAME.stored` is written beside the file.
5. `keep` later, once the store still has it, the file is removed, then its sidecar, and a day later its mark.

A message that comes again finds the same bytes in the store, or the mark. A file whose message is gone is found on the
disk, because it has a sidecar and no mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from aggregator.errors import Reject, Retry, Unavailable
from aggregator.runtime.context import Context
from aggregator.runtime.kinds import decode, encode
from aggregator.stores.store import Store
from aggregator.streams.depositing.finished import Finished, FinishedFiles
from aggregator.streams.depositing.gaps import StoredGaps
from aggregator.streams.depositing.marks import Mark, read_mark, remove_mark, stored_at, write_mark
from aggregator.streams.depositing.putting import Depositor
from aggregator.streams.messages import Recorded
from aggregator.streams.recording.paths import sidecar_of

UNTOLD_AFTER_S = 60.0
"""How old a sidecar without a mark must be to count as forgotten, while no message waits for `archive`."""
MARKED_S = 86400.0
"""How long the mark outlasts its file."""
_LOOK_EVERY_S = 60.0
_PREFIX = "stream:"
"""What the name of a found file begins with, where found files of other kinds are noted too."""


class Settings(Protocol):
    """The options of `archive` that concern files of streams."""

    store: str
    prefix: str
    keep: float
    directory: str


class Deposit:
    """The finished files of one folder, on their way into one store."""

    def __init__(self, settings: Settings, context: Context, store: Store, *, conditional: bool) -> None:
        self._context = context
        self._store_name = settings.store
        self._keep_s = settings.keep
        self.directory = context.path(settings.directory)
        self._files = FinishedFiles(self.directory, context.root)
        self._depositor = Depositor(store, settings.prefix, conditional=conditional)
        self._gaps = StoredGaps(self._files, store, settings.prefix, context.instance_id, conditional=conditional)
        self._stored: list[tuple[str, Mark]] = []
        """Files that are in the store, but whose messages are not committed yet."""
        self._since: dict[str, float] = {}
        """When each file that is still here was stored, in Unix seconds."""
        self._looked_at = float("-inf")

    def deposit(self, raw: bytes) -> None:
        """Store the file that a message tells of, and its sidecar.

        Raises Reject when that can never be done; OSError, Retry and Unavailable when it is not done yet.
        """
        told = decode(raw, Recorded)
        name = self._files.named_by(told)
        if self._is_stored(name, told.sha256):
            return
        with self._files.read(name) as found:
            if found.sha256 != told.sha256:
                raise Reject(f"{told.file} is not the file that was announced: its hash is another")
            key = self._depositor.deposit(found)
        self._context.count("stored")
        self._context.log.debug("stored key=%s", key)
        if self._depositor.is_renamed(key, found):
            self._tell_renamed(told.stream, found, key)
        # order: read back from the store, then commit, then mark; a file is removed only when it has a mark
        self._stored.append((name, _mark(self._store_name, key, found)))

    def committed(self, now: float) -> None:
        """Mark the files that were stored since the last commit. Raises OSError; a repetition does no harm."""
        while self._stored:
            name, mark = self._stored[-1]
            if self._files.path(name).exists():
                write_mark(self._files.path(name), mark, now)
                self._since[name] = now
            self._stored.pop()

    def tidy(self, now: float) -> None:
        """Remove files that were stored long enough ago; once a minute look for those of earlier processes too.

        The gaps of streams follow once a minute. One process of the section does what concerns the whole folder, so
        that in a store without conditional writes nobody replaces what another wrote. Raises OSError and
        Unavailable.
        """
        looks = self._context.number == 0 and abs(now - self._looked_at) >= _LOOK_EVERY_S
        if looks:
            for name in self._files.walk():
                with suppress(FileNotFoundError):
                    self._since[name] = stored_at(self._files.path(name))
            try:
                for stream in self._gaps.changed():
                    self._gaps.bring(stream)
            except Retry as error:
                raise Unavailable(str(error)) from error
            # order: when all is done, so that a store that was away is asked again as soon as it is back
            self._looked_at = now
        for name in [name for name, since in self._since.items() if abs(now - since) >= self._keep_s]:
            self._remove(name, now)

    def untold(self, is_told: Callable[[str], bool], now: float) -> Iterator[tuple[str, bytes]]:
        """Yield files that should have been stored by now, with the messages that `record` would send of them.

        `is_told` says which of them have had a message. Raises OSError.
        """
        if self._context.number:
            return
        for name in self._files.walk():
            path = self._files.path(name)
            if is_told(_PREFIX + name) or self._own_mark(path) is not None:
                continue
            with suppress(FileNotFoundError):
                if abs(now - sidecar_of(path).lstat().st_mtime) > UNTOLD_AFTER_S and path.exists():
                    yield from self._tell(name)

    def is_there(self, name: str) -> bool:
        """True while the file that is called so among the found files is here, and not stored."""
        path = self._files.path(name.removeprefix(_PREFIX))
        return name.startswith(_PREFIX) and path.exists() and self._own_mark(path) is None

    def _tell(self, name: str) -> Iterator[tuple[str, bytes]]:
        try:
            body = encode(self._files.message(name))
        except Reject as error:
            self._context.report(
                "stream_file_damaged",
                f"{self._files.path(name)} cannot be stored: {error}",
                "look at the file and its sidecar; what can be read of it can be taken out by hand; then remove both",
                about=name,
                level="error",
            )
            return
        self._context.withdraw("stream_file_damaged", name)
        self._context.log.warning("stream_file_found file=%s: nothing told of it", name)
        self._context.count("found")
        yield _PREFIX + name, body

    def _own_mark(self, path: Path) -> Mark | None:
        """Return the mark of a file; None when there is none, or one of another store."""
        mark = read_mark(path)
        return mark if mark is not None and mark.store == self._store_name else None

    def _is_stored(self, name: str, sha256: str) -> bool:
        """True when a file was stored before. Raises Reject when it is neither here nor in the store."""
        path = self._files.path(name)
        mark = self._own_mark(path)
        try:
            facts = path.lstat()
        except FileNotFoundError:
            key = mark.key if mark is not None and mark.sha256 == sha256 else self._depositor.find(name, sha256)
            if key is None:
                raise Reject(f"{path} is missing, and the store has no such file: it is lost") from None
            self._context.log.warning("missing file=%s: stored before as key=%s", name, key)
            return True
        return mark is not None and (mark.sha256, mark.size_bytes, mark.changed_ns) == (
            sha256, facts.st_size, facts.st_mtime_ns
        )  # fmt: skip

    def _remove(self, name: str, now: float) -> None:
        """Remove a stored file, or the mark of a file that was removed long ago."""
        path = self._files.path(name)
        mark = read_mark(path)
        if not path.exists():
            if abs(now - self._since.pop(name)) >= self._keep_s + MARKED_S:
                remove_mark(path)
            if mark is not None:
                self._clear(name)
            return
        if mark is None or mark.store != self._store_name:
            del self._since[name]
            return
        facts = path.lstat()
        if (facts.st_size, facts.st_mtime_ns) != (mark.size_bytes, mark.changed_ns):
            self._again(name, "changed after it was stored", "find out who writes to files of streams")
        elif not self._depositor.is_there(mark.key, mark.sha256, mark.size_bytes):
            self._again(name, f"was stored as {mark.key} and is not there any more", "find out who removed it there")
        else:
            del self._since[name]
            self._clear(name)

    def _clear(self, name: str) -> None:
        """Remove a file, its sidecar and the folders that are empty then; a failure holds up no other file."""
        path = self._files.path(name)
        try:
            self._files.remove(name)
        except OSError as error:
            self._context.report(
                "not_removed",
                f"{path} is not needed any more, and cannot be removed: {error.strerror or error}",
                "look who owns it and its folder, and remove it",
                about=str(path),
            )
        else:
            self._context.withdraw("not_removed", str(path))
            self._files.remove_empty(name)

    def _again(self, name: str, words: str, do: str) -> None:
        """Forget that a file was stored: it is found without a mark, and stored again."""
        path = self._files.path(name)
        self._context.report(
            "stored_file_gone", f"{path} {words}; it is stored again", do, about=name, level="error", lasting=True
        )
        remove_mark(path)
        self._since.pop(name, None)

    def _tell_renamed(self, stream: str, found: Finished, key: str) -> None:
        self._context.log.warning("name_taken file=%s key=%s", found.name, key)
        self._context.report(
            "name_taken",
            f"the store holds another file named {found.name}; nothing was replaced, and ours is {key}",
            f"if no other machine captures {stream} too, find out who put the other file there",
            about=stream,
            lasting=True,
        )


def _mark(store: str, key: str, found: Finished) -> Mark:
    return Mark(
        store=store, key=key, sha256=found.sha256, size_bytes=found.size_bytes, changed_ns=found.changed_ns
    )  # fmt: skip
