"""Builds: whole, numbered copies of the configuration. Workers read these, and never the file being edited.

    run/built/7/loglines.cfg   the text, byte for byte; beside it copies of the files of tables that it names
    run/built/7/build.json     facts about the build, and the digest of each program
    run/built/current          the number of the current build

A program file names the digest of its section, so that a process that supervisord starts anew reads the build that it
was made for, even while a later build waits for `supervisorctl update`. Builds that a program file names are kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from aggregator import registry
from aggregator.config.instance import Instance, read_line
from aggregator.files.durable import sync_folder, write_part

KEPT = 10
"""How many of the latest builds are kept, besides the builds that program files name."""


class BuildFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a build."""

    number: int
    digest: str
    """A hash of the texts and the version of this program."""
    version: str
    code: str = ""
    """The digest of this program's code (`installation.code_digest`); empty in builds of earlier versions."""
    built_at: float
    """Unix seconds."""
    file: str
    """The file that was built, relative to the instance's folder if it lies there: the instance may be moved."""
    node: str
    namespace: str
    programs: dict[str, str]
    """The digest of each section that makes a program."""
    queues: dict[str, str] = {}
    """The section that reads each queue; names as in Redis."""
    belongings: dict[str, tuple[str, ...]] = {}
    """What the cursors of each section are about (`Stage.belongings`), for sections that have cursors."""
    entries: dict[str, tuple[str, ...]] = {}
    """The entries of each table whose entries come and go while workers run (`TableReader.live`)."""


class Build(NamedTuple):
    """One build, and the folder that it lies in."""

    folder: Path
    facts: BuildFacts

    @property
    def file(self) -> Path:
        """The file that was built; its folder is what ``%(here)s`` stands for."""
        return self.folder.parents[2] / self.facts.file

    @property
    def text(self) -> Path:
        """The copy of the configuration."""
        return self.folder / "loglines.cfg"

    def is_whole(self) -> bool:
        """False when a copy was changed or lost since it was made."""
        found = {name: _bytes(self.folder / name) for name in _COPIES}
        copies = {name: content for name, content in found.items() if content is not None}
        return digest_of(self.facts.version, self.facts.file, _bytes(self.text), copies) == self.facts.digest


_COPIES = tuple(kind.file.copy for kind in registry.TABLES.values() if kind.file)
"""The names of the copies of tables' files in a build."""


def digest_of(version: str, file: str, text: bytes | None, copies: Mapping[str, bytes]) -> str:
    """Return the digest of a build with these texts; `file` is their origin, because ``%(here)s`` depends on it.

    The digest of a build without copies does not depend on how many tables may have a file.
    """
    return hashlib.sha256(repr((version, file, text, *(copies.values() or [None]))).encode()).hexdigest()[:16]


class Builds:
    """The builds of an instance."""

    def __init__(self, instance: Instance) -> None:
        self.folder = instance.built
        self.pointer = instance.built / "current"

    def current(self) -> Build | None:
        """Return the current build; None before the first one."""
        number = read_line(self.pointer)
        return self._read(int(number)) if number is not None and number.isdecimal() else None

    def find(self, section: str, digest: str) -> Build | None:
        """Return the latest build in which a section has this digest; a whole build, where there is one."""
        return _latest(self._all(), section, digest)

    def read_by(self, section: str) -> list[str]:
        """Return every queue that a section reads in any of the builds; another section may have fed it since."""
        known = (build.facts.queues.items() for build in reversed(list(self._all())))
        return list(dict.fromkeys(queue for queues in known for queue, reader in queues if reader == section))

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of all builds, in no order."""
        with suppress(FileNotFoundError):
            yield from (int(name) for name in os.listdir(self.folder) if name.isdecimal())

    def next_number(self) -> int:
        """Return a number that no build had yet."""
        return 1 + max(self.numbers(), default=0)

    def write(self, facts: BuildFacts, text: bytes, copies: Mapping[str, bytes], like: os.stat_result) -> Build:
        """Make a build durable; it is current once the pointer names it. Whoever may read the file may read the copy.

        `copies` are the contents of the files of tables, by the names of their copies.

        Raises OSError, having left nothing.
        """
        folder, part = self.folder / str(facts.number), self.folder / f".{facts.number}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o711)
        try:
            write_part(part / "loglines.cfg", text, like.st_mode & 0o777, like)
            for name, content in copies.items():
                write_part(part / name, content, like.st_mode & 0o777, like)
            # order: the texts, then build.json, which says that they are whole, then the name
            write_part(part / "build.json", msgspec.json.format(msgspec.json.encode(facts)) + b"\n", 0o644)
            sync_folder(part)
            part.rename(folder)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(self.folder)
        return Build(folder, facts)

    def discard(self, number: int) -> None:
        """Remove a build."""
        shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def sweep(self, named: Mapping[str, str]) -> None:
        """Remove the builds that nobody needs any more; `named` has the digest in the program file of each section."""
        builds = list(self._all())
        found = (_latest(builds, section, digest) for section, digest in named.items())
        needed = {build.facts.number for build in found if build is not None}
        for number in sorted(self.numbers(), reverse=True)[KEPT:]:
            if number not in needed:
                self.discard(number)

    def _all(self) -> Iterator[Build]:
        """Yield the builds that can be read, the latest first."""
        for number in sorted(self.numbers(), reverse=True):
            build = self._read(number)
            if build is not None:
                yield build

    def _read(self, number: int) -> Build | None:
        folder = self.folder / str(number)
        facts = _bytes(folder / "build.json")
        if facts is None:
            return None
        try:
            return Build(folder, msgspec.json.decode(facts, type=BuildFacts))
        except msgspec.DecodeError:
            return None


def _latest(builds: Iterable[Build], section: str, digest: str) -> Build | None:
    found = [build for build in builds if build.facts.programs.get(section) == digest]
    return next((build for build in found if build.is_whole()), found[0] if found else None)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
