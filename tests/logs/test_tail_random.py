"""Random days in the life of a log: whatever happens to the files, each line comes out once and in order."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.logs.driving import Tailing, real_lines

_COMPRESSORS: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zst", zstandard.compress),
]


class Day:
    """A server that writes a log, and the tools that rotate it."""

    def __init__(self, folder: Path, chance: random.Random, header: str) -> None:
        self.live = folder / "access.log"
        self.folder = folder
        self.chance = chance
        self.lines = real_lines()
        self.written: list[str] = []
        self.header = header
        self.writer = self.live.open("ab", buffering=0)
        self.begin()

    def begin(self) -> None:
        """Begin a new file as a writer does that puts a header in front."""
        if self.header:
            self.writer.write(f"{self.header}\n".encode())
            self.append()

    def append(self) -> None:
        """Write some lines; sometimes the last one in two goes."""
        for _ in range(self.chance.randrange(1, 60)):
            line = f"{len(self.written)} {self.chance.choice(self.lines)}"
            text = line.encode() + b"\n"
            cut = self.chance.randrange(len(text)) if self.chance.random() < 0.05 else 0
            self.writer.write(text[:cut])
            self.writer.write(text[cut:])
            self.written.append(line)

    def rotated(self) -> list[Path]:
        """Return the rotated files, newest first."""
        return sorted(self.folder.glob("access.log.*"), key=lambda path: int(path.name.split(".")[2]))

    def shift(self) -> None:
        for path in reversed(self.rotated()):
            base, name, number, *rest = path.name.split(".")
            path.rename(self.folder / ".".join([base, name, str(int(number) + 1), *rest]))

    def rename(self) -> None:
        """Rotate by renaming; the writer opens the new file at once or a few lines late."""
        self.shift()
        self.live.rename(self.folder / "access.log.1")
        if self.chance.random() < 0.3:
            self.append()
        self.writer.close()
        self.writer = self.live.open("ab", buffering=0)
        self.begin()

    def copytruncate(self) -> None:
        """Rotate by copying; nothing is written between copy and truncation."""
        self.shift()
        shutil.copy2(self.live, self.folder / "access.log.1")
        os.truncate(self.live, 0)
        self.begin()

    def replace(self) -> None:
        """Put a longer copy of the log in its place, as an editor does."""
        copy = self.folder / "new"
        shutil.copy2(self.live, copy)
        self.writer.close()
        self.writer = copy.open("ab", buffering=0)
        self.append()
        copy.rename(self.live)

    def compress(self) -> None:
        """Compress one of the rotated files."""
        plain = [path for path in self.rotated() if path.name.split(".")[-1].isdigit()]
        if not plain:
            return
        path = self.chance.choice(plain)
        suffix, compressor = self.chance.choice(_COMPRESSORS)
        packed = path.with_name(path.name + suffix)
        packed.write_bytes(compressor(path.read_bytes()))
        facts = path.stat()
        os.utime(packed, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        path.unlink()


@pytest.mark.parametrize("header", ["", "#Fields: " + "field " * 60])
@pytest.mark.parametrize("seed", range(8))
def test_each_line_comes_out_once_and_in_order(tmp_path: Path, seed: int, header: str) -> None:
    chance = random.Random(seed)
    day = Day(tmp_path, chance, header)
    tailing = Tailing(tmp_path, batch=chance.choice([1, 7, 100]), logfile=chance.choice(["access.log", "access.log*"]))
    tailing.poll()

    def die_while_polling() -> None:
        tailing.poll(commits=chance.randrange(4))
        tailing.restart()

    def respell() -> None:
        tailing.options["logfile"] = chance.choice(
            ["access.log", "access.log*", f"{tmp_path}/access.log", "./acc*.log"]
        )
        tailing.restart()

    steps: list[tuple[int, Callable[[], object]]] = [
        (30, day.append),
        (30, tailing.poll),
        (10, die_while_polling),
        (5, tailing.restart),
        (3, respell),
        (4, day.replace),
        (8, day.rename),
        (4, day.copytruncate),
        (5, day.compress),
    ]
    for step in chance.choices([step for _, step in steps], [weight for weight, _ in steps], k=400):
        step()
    tailing.restart()
    assert [line for line in tailing.drain() if not header or line != header] == day.written
    day.writer.close()
