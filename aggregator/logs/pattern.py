"""The paths that one part of `logfile` stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from fnmatch import translate
from glob import glob, has_magic
from pathlib import Path, PurePath

from aggregator.logs.openfile import CODECS
from aggregator.logs.rotation import base_behind, bases

_NO_TEXT = frozenset({*CODECS, ".zst", ".Z", ".lz4", ".lz", ".lzo", ".lzma", ".br", ".zip", ".7z", ".part", ".tmp"})
"""Suffixes of what compressors and copiers make, whether `tail` can read it or not."""


class Pattern:
    """A path, or a glob without `**`. Names are as configured: relative ones start at the instance's folder."""

    def __init__(self, text: str, root: Path) -> None:
        self.text = text
        self.is_glob = has_magic(text)
        self._root = root
        self._parts = [re.compile(translate(part)) for part in _parts(text)]
        fixed = next((number for number, part in enumerate(_parts(text)) if has_magic(part)), len(self._parts) - 1)
        self._folder = "/".join(_parts(text)[:fixed]) + "/" if fixed else ""
        """The folder that all names begin with, as it is spelt, with a slash behind it."""
        self._rest = _parts(text)[fixed:]
        self._real_folder = Path(os.path.realpath(root / self._folder))
        self.since: float | None = None
        """When it was looked at for the first time, Unix seconds; None before."""

    def covers(self, name: str) -> bool:
        """True when the pattern stands for this path, whether it is there or not."""
        if not self.is_glob:
            return name == self.text
        parts = _parts(name)
        return len(parts) == len(self._parts) and all(map(re.Pattern.match, self._parts, parts))

    @property
    def real(self) -> str:
        """What stays of the pattern however it is spelt: the real path of its folder, and what varies."""
        return os.path.join(self._real_folder, *self._rest)

    def respell(self, name: str) -> str | None:
        """Return the name by which the pattern calls a path that was spelt otherwise; None when it is none of its."""
        if self.covers(name):
            return name
        path = self._root / name
        if not self.is_glob and os.path.realpath(path) == os.path.realpath(self._root / self.text):
            return self.text
        for number in range(1, len(path.parts)):
            # links in folders that a glob goes through are part of the name: only what is before them is resolved
            folder = Path(os.path.realpath(Path(*path.parts[:number])), *path.parts[number:-1])
            if folder.is_relative_to(self._real_folder):
                inside = (folder / path.name).relative_to(self._real_folder)
                if self.covers(self._folder + str(inside)):
                    return self._folder + str(inside)
        return None

    def fresh(self, known: Container[str]) -> list[str]:
        """Return the paths to follow that are not known yet.

        Of a glob: those that are there and no rotated logs of others, links last.
        """
        if not self.is_glob:
            return [] if self.text in known else [self.text]
        here = set(glob(self.text, root_dir=self._root))
        names = [name for name in sorted(here) if name not in known and not self._is_rotated(name, here, known)]
        return sorted(names, key=lambda name: (self._root / name).is_symlink())

    def _is_rotated(self, name: str, here: Iterable[str], known: Container[str]) -> bool:
        """True for a compressed file, and for what bears the name of another match with a number or a date."""
        if PurePath(name).suffix in _NO_TEXT:
            return True
        folder, last = os.path.split(name)
        others = {os.path.join(folder, base) for base in bases(last)}
        if not others.isdisjoint(here) or any(other in known for other in others):
            return True
        # the live log itself may be missing just now
        behind = base_behind(last)
        return behind is not None and self.covers(os.path.join(folder, behind))


def _parts(path: str) -> list[str]:
    return re.split("/+", path)
