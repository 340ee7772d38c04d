"""What is known here of a stream's files that `archive` has moved into a store: when the first and the last began."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from aggregator.files.durable import write_durably

_FORM = "%Y-%m-%dT%H-%M-%SZ"
_TIME = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ"
_NOTE = re.compile(rf"({_TIME}) ({_TIME})\n", re.ASCII)


class Moved(NamedTuple):
    """When the first and the last moved file of a stream began, in Unix milliseconds."""

    first_ms: int
    last_ms: int


def read_moved(directory: Path, stream: str) -> Moved | None:
    """Return what is noted of a stream; None when no file was moved, or the note cannot be read. Raises OSError."""
    with suppress(FileNotFoundError, NotADirectoryError, UnicodeDecodeError, ValueError):
        found = _NOTE.fullmatch(_note(directory, stream).read_text(encoding="ascii"))
        return Moved(_ms(found[1]), _ms(found[2])) if found else None
    return None


def note_moved(directory: Path, name: str) -> None:
    """Note durably that a file is about to be removed, by its name below the directory. Raises OSError."""
    stream = name.partition("/")[0]
    began = re.search(_TIME, name.rpartition("/")[2].removeprefix(f"{stream}-"), re.ASCII)
    if began is None:
        return
    moment, known = _ms(began[0]), read_moved(directory, stream)
    moved = Moved(moment, moment) if known is None else Moved(min(known.first_ms, moment), max(known.last_ms, moment))
    if moved != known:
        write_durably(_note(directory, stream), f"{_text(moved.first_ms)} {_text(moved.last_ms)}\n".encode(), 0o640)


def _note(directory: Path, stream: str) -> Path:
    return directory / stream / f".{stream}.moved"


def _ms(moment: str) -> int:
    return int(datetime.strptime(moment, _FORM).replace(tzinfo=timezone.utc).timestamp() * 1000)


def _text(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, timezone.utc).strftime(_FORM)
