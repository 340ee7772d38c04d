"""Check the files that sections write: no two sections write the same file, and no section feeds itself by a file.

A stage declares which of its options name files that it appends to (`writes`), or paths and globs that it follows
(`reads`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

from aggregator.config import graph
from aggregator.config.hints import shorten
from aggregator.config.ini import Document
from aggregator.config.programs import Program
from aggregator.config.settings import parse_words

Programs = Mapping[str, Program]


def check(programs: Programs, document: Document, root: Path) -> None:
    """Look for files that two sections write, folders in place of files, and lines that go round through a file."""
    writers: dict[str, tuple[Program, str]] = {}
    for program in programs.values():
        for option, text in _files(program, program.traits.writes):
            path = os.path.realpath(root / text)
            first = writers.setdefault(path, (program, option))
            if os.path.isdir(path):
                document.fault(program.section, option, f"is a folder (found {shorten(text)}); allowed: a file")
            elif first != (program, option):
                line = document.line_of(first[0].section, first[1])
                words = f"[{first[0].section}] in line {line} writes the file {text} too; give each its own"
                document.fault(program.section, option, words)
    for program in programs.values():
        for _, text in _files(program, program.traits.reads):
            ahead = graph.ahead(programs, program.section)
            for path, (writer, option) in writers.items():
                if writer.section in ahead and any(_covers(root / word, path) for word in parse_words(text)):
                    words = f"[{program.section}] follows this file, so its lines may go round for ever"
                    document.warn(writer.section, option, words)


def _files(program: Program, options: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (option, text) for each of these options of a program."""
    for option in options:
        yield option, getattr(program.settings, option)


def _covers(pattern: Path, path: str) -> bool:
    """True when a path or glob stands for this file, whether the file exists or not."""
    if not has_magic(str(pattern)):
        return os.path.realpath(pattern) == path
    fixed = next(number for number, part in enumerate(pattern.parts) if has_magic(part))
    parts = (*Path(os.path.realpath(Path(*pattern.parts[:fixed]))).parts, *pattern.parts[fixed:])
    names = Path(path).parts
    return len(parts) == len(names) and all(map(fnmatchcase, names, parts))
