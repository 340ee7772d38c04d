"""The finished files in the folder of `record`: those with a sidecar, and names that `record` or `organize` gives."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from aggregator.errors import Reject
from aggregator.files.names import name_of, real_name
from aggregator.streams.messages import NAME, Recorded
from aggregator.streams.reading.hashing import Hashed
from aggregator.streams.reading.places import MOST_SIDECAR, FolderPlace, Sidecar
from aggregator.streams.recording.moved import note_moved
from aggregator.streams.recording.paths import HOUR_FOLDERS

_NAME = re.compile(
    rf"(?P<stream>{NAME.pattern})/{'/'.join(HOUR_FOLDERS)}/(?P=stream)-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\dZ(?:-\d{{1,9}})?"
    r"(?:\.[0-9a-f]{16})?\.(?:jsonl|xml|txt)\.(?:gz|zst)",
    re.ASCII,
)
_SIDECAR = ".json"
_MARK = re.compile(r"\.(.+)\.stored")


class _Described(msgspec.Struct):
    """What a sidecar must say of its file."""

    sha256: str


class Finished(NamedTuple):
    """A finished file, open, and what is known of it."""

    name: str
    """Its path below the folder."""
    file: BinaryIO
    sha256: str
    size_bytes: int
    changed_ns: int
    """When it was changed last."""
    sidecar: bytes


class FinishedFiles:
    """The finished files of one folder."""

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        self._root = root
        self._place = FolderPlace(directory)

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self._directory / name

    def streams(self) -> list[str]:
        """Return the streams that have a folder."""
        return self._place.streams()

    def open(self, name: str) -> BinaryIO:
        """Open a file of the folder; a link is none. Raises FileNotFoundError."""
        return self._place.open(name)

    def named_by(self, told: Recorded) -> str:
        """Return the name of the file that a message tells of.

        Messages come from outside. Raises Reject for a file that is not below the folder, for a name that no file of
        ours has, and for a path through a link.
        """
        real = os.path.realpath(self._directory)
        path = os.path.join(os.path.realpath(self._root), name_of(told.file))
        name = path.removeprefix(f"{real}/")
        if name == path:
            raise Reject(f"not a file of {self._directory} (found {told.file[:200]!r}); option directory")
        found = _NAME.fullmatch(name)
        if found is None or found["stream"] != told.stream:
            raise Reject(f"no name of a finished file of the stream {told.stream} (found {told.file[:200]!r})")
        if told.sidecar != f"{told.file}{_SIDECAR}":
            raise Reject(f"not the sidecar of {told.file[:200]!r} (found {told.sidecar[:200]!r})")
        if os.path.realpath(path) != path:
            raise Reject(f"a link leads out of the folder (found {told.file[:200]!r})")
        return name

    @contextmanager
    def read(self, name: str) -> Iterator[Finished]:
        """Open a file, and read it and its sidecar. Raises OSError, and Reject when they do not belong together."""
        with self.open(name) as file:
            facts = os.fstat(file.fileno())
            hashed = Hashed(file)
            sha256 = hashed.sha256()
            try:
                with self.open(f"{name}{_SIDECAR}") as beside:
                    sidecar = beside.read(MOST_SIDECAR)
                described = msgspec.json.decode(sidecar, type=_Described)
            except (FileNotFoundError, msgspec.DecodeError, RecursionError) as error:
                raise Reject(f"{name}: no sidecar that can be read: {error}") from error
            if described.sha256 != sha256:
                raise Reject(f"{name} is not what was recorded: its hash is another than its sidecar says")
            yield Finished(name, file, sha256, hashed.size_bytes, facts.st_mtime_ns, sidecar)

    def message(self, name: str) -> Recorded:
        """Return what `record` would tell of a file. Raises OSError, and Reject when its sidecar cannot be read."""
        try:
            with self.open(f"{name}{_SIDECAR}") as beside:
                said = msgspec.json.decode(beside.read(MOST_SIDECAR), type=Sidecar)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Reject(f"its sidecar cannot be read: {error}") from error
        file = real_name(self.path(name), self._root)
        return Recorded(
            stream=name.partition("/")[0],
            file=file,
            sidecar=f"{file}{_SIDECAR}",
            sha256=said.sha256,
            size_bytes=self.path(name).stat().st_size,
            count=said.count or 0,
            first_ms=_ms(said.first_received),
            last_ms=_ms(said.last_received),
        )

    def walk(self) -> Iterator[str]:
        """Yield the names of files that have a sidecar or a mark, each once. Raises OSError; links are not followed."""
        for stream in self.streams():
            if not (self._directory / stream).is_symlink():
                yield from self._below(stream, HOUR_FOLDERS)

    def _below(self, folder: str, levels: tuple[str, ...]) -> Iterator[str]:
        try:
            with os.scandir(self._directory / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise
        if levels:
            for entry in found:
                if re.fullmatch(levels[0], entry.name, re.ASCII) and entry.is_dir(follow_symlinks=False):
                    yield from self._below(f"{folder}/{entry.name}", levels[1:])
            return
        names = set()
        for entry in found:
            mark = _MARK.fullmatch(entry.name)
            if mark is not None:
                names.add(f"{folder}/{mark[1]}")
            elif entry.name.endswith(_SIDECAR):
                names.add(f"{folder}/{entry.name.removesuffix(_SIDECAR)}")
        yield from sorted(name for name in names if _NAME.fullmatch(name))

    def remove(self, name: str) -> None:
        """Remove a file and its sidecar, having noted that it was here. Raises OSError."""
        note_moved(self._directory, name)
        # order: a sidecar without its file is told of, a file without its sidecar would count as still written
        for path in (self.path(name), self.path(f"{name}{_SIDECAR}")):
            path.unlink(missing_ok=True)

    def remove_empty(self, name: str) -> None:
        """Remove the folders of a file's hour, day, month and year, once they are empty."""
        with suppress(OSError):
            for folder in list(self.path(name).parents)[: len(HOUR_FOLDERS)]:
                folder.rmdir()


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else max(0, int(moment.timestamp() * 1000))
