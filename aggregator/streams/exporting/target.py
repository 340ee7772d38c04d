"""Where an export goes: it is there as a whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aggregator.errors import AggregatorError, ConfigError
from aggregator.files.durable import sync_folder, sync_folders
from aggregator.streams.exporting.forms import ENDINGS, Part, open_part
from aggregator.streams.exporting.selection import Line

README = "README.md"
_PART = re.compile(r"part-\d{5,}\.(jsonl|csv|parquet|txt)")


class Written(NamedTuple):
    """A part of an export."""

    name: str
    rows: int
    size_bytes: int


class Target:
    """The parts of an export and its README, written in a hidden folder beside the target until all is there.

    A path that ends as the form's files do (`tweets.csv`) is a file, with further parts (`tweets-00002.csv`) and
    `tweets.csv.README.md` beside it; any other path is a folder of its own.
    """

    def __init__(self, path: Path, form: str, part_rows: int, *, overwrite: bool) -> None:
        self._path = Path(os.path.realpath(path))
        self._form = form
        self._part_rows = part_rows
        self.is_file = self._path.suffix == f".{ENDINGS[form]}" and not self._path.is_dir()
        self._overwrite = overwrite
        self._refuse()
        self._staging = self._path.with_name(f".{self._path.name}.export")
        self._lock = -1
        self._open: Part | None = None
        self._rows = 0
        self.parts: list[Written] = []

    def begin(self) -> None:
        """Make the hidden folder. Raises AggregatorError when another export to the same path is at work."""
        made = [folder for folder in self._path.parents if not folder.exists()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sync_folders(folder.parent for folder in made)
        self._staging.mkdir(mode=0o755, exist_ok=True)
        facts = self._staging.stat(follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            raise OSError(errno.EEXIST, "is not a folder of ours; remove it", str(self._staging))
        self._lock = os.open(self._staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            self._lock = -1
            raise AggregatorError(f"another export to {self._path} is at work") from error
        # what a killed export left
        for name in os.listdir(self._staging):
            (self._staging / name).unlink()

    def write(self, line: Line) -> None:
        """Write a line to the open part, or to a new one when that is full."""
        self._part().write(line)
        self._rows += 1
        if self._rows == self._part_rows:
            self._close_part()

    def finish(self, readme: Callable[[list[Written]], str]) -> None:
        """Complete the export, with a README that is made once all parts are known. Raises OSError."""
        # of nothing there is a file too: a table without rows has its heads
        if self._open is not None or not self.parts:
            self._close_part()
        name = f"{self._path.name}.{README}" if self.is_file else README
        with open(self._staging / name, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(readme(self.parts))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._staging)
        # somebody may have put something there meanwhile
        self._refuse()
        if self.is_file:
            self._publish_files(name)
        else:
            self._publish_folder()

    def discard(self) -> None:
        """Remove what is not finished; nothing is left to remove when all is."""
        if self._open is not None:
            # a full disk fails here again
            with suppress(OSError):
                self._open.discard()
            self._open = None
        if self._lock >= 0:
            shutil.rmtree(self._staging, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _refuse(self) -> None:
        """Raise ConfigError when something is there that must not be replaced."""
        suffix = self._path.suffix.removeprefix(".")
        if suffix in {*ENDINGS.values()} - {ENDINGS[self._form]} and not self._path.is_dir():
            raise ConfigError(
                f"{self._path} ends as files of another form do; of this one it is .{ENDINGS[self._form]}"
            )
        if self.is_file:
            there = [self._path, *self._further()]
            found = next((path for path in there if os.path.lexists(path)), None)
            if found is not None and not found.is_file():
                raise ConfigError(f"{found} is there, and is no file")
        elif os.path.lexists(self._path):
            if not self._path.is_dir():
                raise ConfigError(f"{self._path} is there, and is no folder")
            names = os.listdir(self._path)
            found = self._path if names else None
            foreign = sorted(name for name in names if not _PART.fullmatch(name) and name != README)
            if foreign:
                raise ConfigError(f"{self._path} has files that are of no export, such as {foreign[0]!r}; name another")
        else:
            found = None
        if found is not None and not self._overwrite:
            raise ConfigError(f"{found} is there already; name another path, or give --overwrite")

    def _name(self, number: int) -> str:
        if not self.is_file:
            return f"part-{number:05}.{ENDINGS[self._form]}"
        return self._path.name if number == 1 else f"{self._path.stem}-{number:05}{self._path.suffix}"

    def _further(self) -> list[Path]:
        """Return the further parts that an earlier export to this file has left."""
        own = re.compile(rf"{re.escape(self._path.stem)}-\d{{5,}}{re.escape(self._path.suffix)}")
        folder = self._path.parent
        return [folder / name for name in os.listdir(folder) if own.fullmatch(name)] if folder.is_dir() else []

    def _part(self) -> Part:
        if self._open is None:
            self._open = open_part(self._staging / self._name(len(self.parts) + 1), self._form)
        return self._open

    def _close_part(self) -> None:
        name = self._name(len(self.parts) + 1)
        self._part().close()
        self._open = None
        self.parts.append(Written(name, self._rows, (self._staging / name).stat().st_size))
        self._rows = 0

    def _publish_files(self, readme: str) -> None:
        folder = self._path.parent
        # order: the old README goes first and the new one comes last, so that its presence says that all is there
        (folder / readme).unlink(missing_ok=True)
        for path in self._further():
            path.unlink()
        for part in self.parts:
            (self._staging / part.name).replace(folder / part.name)
        sync_folder(folder)
        (self._staging / readme).replace(folder / readme)
        sync_folder(folder)

    def _publish_folder(self) -> None:
        old = self._path.with_name(f".{self._path.name}.replaced")
        # a folder can only take the name of an empty one; a crash between the two leaves the old one hidden
        if self._path.is_dir() and os.listdir(self._path):
            shutil.rmtree(old, ignore_errors=True)
            os.rename(self._path, old)
        os.rename(self._staging, self._path)
        sync_folder(self._path.parent)
        shutil.rmtree(old, ignore_errors=True)
