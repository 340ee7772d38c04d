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
        self.since: float | None = None
        """When it was looked at for the first time, Unix seconds; None before."""

    def covers(self, name: str) -> bool:
        """True when the pattern stands for this path, whether it is there or not."""
        if not self.is_glob:
            return name == self.text
        parts = _parts(name)
        return len(parts) == len(self._parts) and all(map(re.Pattern.match, self._parts, parts))

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
