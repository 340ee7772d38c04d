"""The paths that one part of `logfile` matches."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Container, Mapping
from fnmatch import translate
from glob import glob, has_magic
from pathlib import Path, PurePath

from aggregator.files.rotatednames import bases_among, is_dated
from aggregator.logs.following.openfile import CODECS

_NO_TEXT = frozenset({*CODECS, ".Z", ".lz4", ".lz", ".lzo", ".lzma", ".br", ".zip", ".7z", ".part", ".tmp"})
"""Suffixes of the files that compressors and copiers make, whether `tail` can read such a file or not."""

_GAP_S = 5.0
"""How long a numbered file waits for a log that it may be rotated from, before it counts as a log of its own."""


class Pattern:
    """A path, or a glob without `**`. Names are as configured: relative names start at the instance's folder."""

    def __init__(self, text: str, root: Path) -> None:
        self.text = text
        self.is_glob = has_magic(text)
        self._root = root
        self._parts = [re.compile(translate(part)) for part in _parts(text)]
        fixed = next((number for number, part in enumerate(_parts(text)) if has_magic(part)), len(self._parts) - 1)
        self._folder = "/".join(_parts(text)[:fixed]) + "/" if fixed else ""
        """The folder that all names begin with, as it is spelt in the configuration, with a slash behind it."""
        self._rest = _parts(text)[fixed:]
        self._real_folder = Path(os.path.realpath(root / self._folder))
        self._alone_since: dict[str, float] = {}
        """When each numbered file was first seen without the log that it would be rotated from, Unix seconds."""
        self.lonely_since = 0.0
        """Since when no file is followed for the pattern, Unix seconds; 0 while a file is followed."""
        self.since: float | None = None
        """When the pattern was looked at for the first time, Unix seconds; None before that."""

    def covers(self, name: str) -> bool:
        """True when the pattern matches this path, whether the path exists or not."""
        if not self.is_glob:
            return name == self.text
        parts = _parts(name)
        return len(parts) == len(self._parts) and all(map(re.Pattern.match, self._parts, parts))

    @property
    def real(self) -> str:
        """The pattern independent of its spelling: the real path of its fixed folder, and the parts that vary."""
        return os.path.join(self._real_folder, *self._rest)

    def respell(self, name: str) -> str | None:
        """Return the pattern's name for a path that is spelt otherwise; None when the pattern does not match it."""
        if self.covers(name):
            return name
        path = self._root / name
        if not self.is_glob and os.path.realpath(path) == os.path.realpath(self._root / self.text):
            return self.text
        for number in range(1, len(path.parts)):
            # links in folders that a glob goes through are part of the name: only the folders before them are resolved
            folder = Path(os.path.realpath(Path(*path.parts[:number])), *path.parts[number:-1])
            if folder.is_relative_to(self._real_folder):
                inside = (folder / path.name).relative_to(self._real_folder)
                if self.covers(self._folder + str(inside)):
                    return self._folder + str(inside)
        return None

    def fresh(self, known: Container[str], now: float) -> list[str]:
        """Return the paths to follow that are not known yet.

        For a glob these are the files that exist and are not rotated logs of other files, links last.
        """
        if not self.is_glob:
            return [] if self.text in known else [self.text]
        here = set(glob(self.text, root_dir=self._root))
        in_folder: dict[str, set[str]] = defaultdict(set)
        for name in here:
            folder, last = os.path.split(name)
            in_folder[folder].add(last)
        unknown = [name for name in sorted(here) if name not in known]
        names = [name for name in unknown if not self._is_rotated(name, in_folder, known, now)]
        return sorted(names, key=lambda name: (self._root / name).is_symlink())

    def _is_rotated(self, name: str, here: Mapping[str, set[str]], known: Container[str], now: float) -> bool:
        """True for a compressed file, and for a file named like another match with a number or a date added."""
        if PurePath(name).suffix in _NO_TEXT:
            return True
        folder, last = os.path.split(name)
        others = bases_among(last, here[folder])
        if any(other in here[folder] or os.path.join(folder, other) in known for other in others):
            return True
        # Where no log of the plain name exists or was followed, each such file is a log of its own. The plain log may
        # be missing for a moment in a rotation, so a numbered file waits for it. A dated file needs no wait.
        covered = any(self.covers(os.path.join(folder, other)) for other in others)
        return covered and not is_dated(last) and now - self._alone_since.setdefault(name, now) < _GAP_S


def _parts(path: str) -> list[str]:
    return re.split("/+", path)
