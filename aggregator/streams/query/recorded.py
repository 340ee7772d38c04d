"""What was recorded of streams, as it lies in the folders of the sections with `stage = record`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from aggregator.config.configuration import Config
from aggregator.streams.messages import Gap
from aggregator.streams.reading.gaplines import gaps_in
from aggregator.streams.recording.moved import read_moved
from aggregator.streams.recording.paths import HOUR_FOLDERS, gaps_path

_FILE = re.compile(r"-(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z)(?:-\d+)?\.jsonl\.\w+")


class Files(NamedTuple):
    """The files of a stream, without their sidecars and its gaps."""

    number: int
    size_bytes: int
    first_ms: int | None
    """When the first file began, also one that is only in a store by now, in Unix milliseconds; None without any."""
    newest: Path | None


class Gaps(NamedTuple):
    """The gaps of a stream, in the order of their beginnings."""

    gaps: list[Gap]
    unreadable: int
    """How many lines are no gaps."""


def directories(config: Config) -> list[Path]:
    """Return the folders in which streams are recorded, each once."""
    programs = (program for program in config.programs.values() if program.stage_name == "record")
    return list(dict.fromkeys(config.root / program.settings.directory for program in programs))


def recorded_streams(folders: Iterable[Path]) -> list[str]:
    """Return the streams that have a folder or a file of gaps, also those that are no longer configured."""
    found = set()
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if not path.name.startswith(".") and path.is_dir():
                found.add(path.name)
    return sorted(found)


def read_gaps(folders: Iterable[Path], stream: str) -> Gaps:
    """Return all recorded gaps of a stream. Raises OSError when a file is there and cannot be read."""
    found: list[Gap | None] = []
    for folder in folders:
        with suppress(FileNotFoundError), (folder / gaps_path(stream)).open("rb") as file:
            found += gaps_in(file)
    gaps = sorted((gap for gap in found if gap is not None), key=lambda gap: (gap.from_ms, gap.to_ms))
    return Gaps(gaps, found.count(None))


def read_files(folders: Sequence[Path], stream: str) -> Files:
    """Return what was recorded of a stream; what vanishes while this looks is left out."""
    hours = [hour for folder in folders for hour in (folder / stream).glob("/".join(HOUR_FOLDERS))]
    found = [each for hour in hours for each in _files_in(hour)]
    began = [_ms(min(found)[0])] if found else []
    began += [moved.first_ms for folder in folders if (moved := read_moved(folder, stream)) is not None]
    newest = Path(max(found)[1]) if found else None
    return Files(len(found), sum(size for _, _, size in found), min(began, default=None), newest)


def _ms(moment: str) -> int:
    return int(datetime.strptime(moment, "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=timezone.utc).timestamp() * 1000)


def _files_in(hour: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the time in the name, the path and the size of each file of a folder."""
    with suppress(FileNotFoundError), os.scandir(hour) as entries:
        for entry in entries:
            match = _FILE.search(entry.name)
            if match is not None and entry.name.endswith(match[0]) and not entry.name.startswith("."):
                with suppress(FileNotFoundError):
                    yield match[1], entry.path, entry.stat().st_size
