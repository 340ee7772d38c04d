"""The names of a stream's files."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path


def new_path(directory: Path, stream: str, moment_ms: int, form: str) -> Path:
    """Return a name that no file has: `STREAM/2026/11/28/12/STREAM-2026-11-28T12-34-56Z.jsonl.gz`.

    A second file of the same second has `-1` behind its time, and so on.
    """
    moment = datetime.fromtimestamp(moment_ms / 1000, timezone.utc)
    folder = directory / stream / moment.strftime("%Y/%m/%d/%H")
    stem = f"{stream}-{moment.strftime('%Y-%m-%dT%H-%M-%SZ')}"
    number, path = 0, folder / f"{stem}.jsonl.{form}"
    while path.exists() or sidecar_of(path).exists() or path.with_name(f".{path.name}.lock").exists():
        number += 1
        path = folder / f"{stem}-{number}.jsonl.{form}"
    return path


def gaps_path(stream: str) -> str:
    """Return the name of the file of a stream's gaps, below the directory."""
    return f"{stream}/{stream}.gaps.jsonl"


def sidecar_of(path: Path) -> Path:
    """Return the name of the sidecar of a file."""
    return path.with_name(f"{path.name}.json")
