"""Where the files of streams are: a folder, or a store that has the same names as keys."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from aggregator.stores.store import NotFound, Store
from aggregator.streams.messages import NAME, Connection, Gap
from aggregator.streams.reading.gaplines import gaps_in
from aggregator.streams.recording.moved import Moved, read_moved
from aggregator.streams.recording.paths import HOUR_FOLDERS

_FILE = re.compile(
    r"(?P<stream>.+)-(?P<time>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)(?:-(?P<number>\d{1,9}))?(?:\.[0-9a-f]{16})?"
    r"\.jsonl\.(gz|zst)"
)
"""A hash stands in the name of a file in a store when another file had the name already."""
_GAPS = re.compile(r"(?:[0-9a-f]{16}\.)?gaps\.jsonl")
"""What stands behind the stream in the name of the file of its gaps; in a store each instance has one of its own."""
_KEY = re.compile(rf"(?P<stream>[^/]+)/{'/'.join(HOUR_FOLDERS)}/(?P<file>[^/]+)")
MOST_SIDECAR = 64 * 1024**2
"""The most bytes of a sidecar; `record` finishes a file long before its sidecar is so long."""


class StreamFile(NamedTuple):
    """A file of a stream."""

    start_ms: int
    """The time in its name, in Unix milliseconds."""
    number: int
    """What tells it from other files of the same second."""
    name: str
    """Its path below the folder, or its key below the prefix."""
    stream: str
    size_bytes: int
    changed_ms: int
    """When it was changed last, in Unix milliseconds."""

    @property
    def form(self) -> str:
        """How it is packed: `gz` or `zst`."""
        return self.name.rpartition(".")[2]


class Content(msgspec.Struct):
    """What a sidecar says of a file that `streams organize` took over."""

    fault: str = ""


class Sidecar(msgspec.Struct):
    """What stands beside a finished file, as far as readers need it."""

    count: int | None = None
    first_received: datetime | None = None
    last_received: datetime | None = None
    sha256: str = ""
    node: str = ""
    connections: list[Connection] = msgspec.field(default_factory=list)
    content: Content = msgspec.field(default_factory=Content)


class Place(Protocol):
    """Where files of streams can be read. All methods raise OSError, or what a store raises, when it is away."""

    def streams(self) -> list[str]:
        """Return the names of the streams that have files."""
        ...

    def files(self, stream: str) -> list[StreamFile]:
        """Return the files of a stream in order of time."""
        ...

    def gaps(self, stream: str) -> list[str]:
        """Return the names of the files that hold the gaps of a stream."""
        ...

    def moved(self, stream: str) -> Moved | None:
        """Return which files of a stream were here, and are in a store now; None for none."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file. Raises FileNotFoundError."""
        ...


class FolderPlace:
    """The folder that `record` and `streams organize` write to. Links inside it are not followed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def streams(self) -> list[str]:
        """Return the names of the streams that have a folder."""
        try:
            with os.scandir(self._directory) as entries:
                return sorted(entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return []

    def files(self, stream: str) -> list[StreamFile]:
        """Return the files of a stream in order of time."""
        return sorted(self._below(stream, stream, HOUR_FOLDERS))

    def gaps(self, stream: str) -> list[str]:
        """Return the names of the files that hold the gaps of a stream."""
        try:
            names = os.listdir(self._directory / stream)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(f"{stream}/{name}" for name in names if _is_of_gaps(stream, name))

    def moved(self, stream: str) -> Moved | None:
        """Return which files of a stream were here, and are in a store now; None for none."""
        return read_moved(self._directory, stream)

    def open(self, name: str) -> BinaryIO:
        """Open a file; a link is none. Raises FileNotFoundError."""
        # O_NONBLOCK: opening a FIFO must not wait for its other end
        handle = os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise FileNotFoundError(errno.ENOENT, "no regular file", str(self._directory / name))
        return open(handle, "rb")

    def _below(self, stream: str, folder: str, levels: tuple[str, ...]) -> Iterator[StreamFile]:
        try:
            with os.scandir(self._directory / folder) as entries:
                found = list(entries)
        except FileNotFoundError:
            return
        for entry in found:
            name = f"{folder}/{entry.name}"
            if levels and re.fullmatch(levels[0], entry.name, re.ASCII) and entry.is_dir(follow_symlinks=False):
                yield from self._below(stream, name, levels[1:])
            elif not levels and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # `archive` has removed it meanwhile
                    facts = entry.stat(follow_symlinks=False)
                    file = _file(stream, name, facts.st_size, facts.st_mtime)
                    if file is not None:
                        yield file


class StorePlace:
    """A store into which the files of streams were put, under the names that they have in the folder."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""

    def streams(self) -> list[str]:
        """Return the names of the streams that have files."""
        keys = (info.key.removeprefix(self._prefix) for info in self._store.list(self._prefix))
        return sorted({key.partition("/")[0] for key in keys if _KEY.fullmatch(key) or _is_gaps_key(key)})

    def files(self, stream: str) -> list[StreamFile]:
        """Return the files of a stream in order of time."""
        files = []
        for info in self._store.list(f"{self._prefix}{stream}/"):
            name = info.key.removeprefix(self._prefix)
            file = _file(stream, name, info.size, info.modified) if _KEY.fullmatch(name) else None
            if file is not None:
                files.append(file)
        return sorted(files)

    def gaps(self, stream: str) -> list[str]:
        """Return the names of the objects that hold the gaps of a stream."""
        keys = (info.key.removeprefix(self._prefix) for info in self._store.list(f"{self._prefix}{stream}/{stream}."))
        return sorted(key for key in keys if _is_of_gaps(stream, key.removeprefix(f"{stream}/")))

    def moved(self, stream: str) -> Moved | None:
        """Return None: nothing was moved from a store."""
        return None

    def open(self, name: str) -> BinaryIO:
        """Open an object. Raises FileNotFoundError."""
        try:
            # buffered: a raw reader gives lines byte by byte
            return io.BufferedReader(self._store.open_read(self._prefix + name))
        except NotFound as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error


def sidecar_beside(place: Place, file: StreamFile) -> Sidecar | None:
    """Return what stands beside a file; None when nothing does, as while the file is written.

    Raises ValueError when the sidecar cannot be read.
    """
    try:
        with place.open(f"{file.name}.json") as sidecar:
            text = sidecar.read(MOST_SIDECAR)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(text, type=Sidecar)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def gaps_of(place: Place, stream: str) -> Iterator[Gap | None]:
    """Yield the gaps of a stream as they were recorded, and None for each line that is no gap."""
    for name in place.gaps(stream):
        with place.open(name) as file:
            yield from gaps_in(file)


def _is_gaps_key(key: str) -> bool:
    stream, _, name = key.partition("/")
    return _is_of_gaps(stream, name)


def _is_of_gaps(stream: str, name: str) -> bool:
    return name.startswith(f"{stream}.") and bool(_GAPS.fullmatch(name[len(stream) + 1 :]))


def _file(stream: str, name: str, size_bytes: int, changed_at: float) -> StreamFile | None:
    found = _FILE.fullmatch(name.rpartition("/")[2])
    if found is None or found["stream"] != stream:
        return None
    try:
        start = datetime.strptime(found["time"], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    start_ms = int(start.timestamp() * 1000)
    return StreamFile(start_ms, int(found["number"] or 0), name, stream, size_bytes, int(changed_at * 1000))
