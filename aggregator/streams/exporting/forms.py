"""Write lines as parts in one of four forms. A part is on the disk when it is closed."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Protocol

from aggregator.config.installation import pip_install
from aggregator.errors import AggregatorError
from aggregator.streams.exporting.columns import COLUMNS, Row, row_of
from aggregator.streams.exporting.selection import Line

FORMATS = ("jsonl", "csv", "parquet", "ids")
ENDINGS = {"jsonl": "jsonl", "csv": "csv", "parquet": "parquet", "ids": "txt"}
"""How the names of parts end."""
_GROUP_ROWS = 20_000
"""How many rows are held as Python objects at most, and make a row group of Parquet."""
_GROUP_BYTES = 128 * 1024**2
"""Of how many bytes of JSON rows are held at most."""


class Part(Protocol):
    """A file of an export."""

    def write(self, line: Line) -> None:
        """Write a line."""
        ...

    def close(self) -> None:
        """Write what is held back, and make all of it durable."""
        ...

    def discard(self) -> None:
        """Close the file, whatever is in it."""
        ...


def reason_against(line: Line, form: str) -> str:
    """Return why a line cannot be in an export of a form; empty when it can."""
    if form == "jsonl":
        return ""
    if line.shape.kind in ("control", "deletion"):
        return "control message"
    if form == "ids" and not (line.shape.id.isprintable() and line.shape.id.strip()):
        return "without an id"
    return ""


def open_part(path: Path, form: str) -> Part:
    """Return a new part. Raises OSError, and AggregatorError when the library for the form is not installed."""
    makers: dict[str, Callable[[Path], Part]] = {
        "jsonl": lambda path: _LinePart(path, lambda line: line.raw),
        "ids": lambda path: _LinePart(path, lambda line: line.shape.id.encode()),
        "csv": _CsvPart,
        "parquet": _ParquetPart,
    }
    return makers[form](path)


class _FilePart:
    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        self._file.close()


class _LinePart(_FilePart):
    def __init__(self, path: Path, text_of: Callable[[Line], bytes]) -> None:
        super().__init__(open(path, "xb"))  # noqa: SIM115 - closed by close()
        self._text_of = text_of

    def write(self, line: Line) -> None:
        self._file.write(self._text_of(line) + b"\n")


class _CsvPart(_FilePart):
    def __init__(self, path: Path) -> None:
        super().__init__(open(path, "x", encoding="utf-8", newline=""))  # noqa: SIM115 - closed by close()
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def write(self, line: Line) -> None:
        row = row_of(line)
        self._writer.writerow(_cell(row.get(name), kind) for name, kind in COLUMNS.items())


def _cell(value: Any, kind: str) -> Any:
    if kind != "time" or value is None:
        return value
    return _moment(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


class _ParquetPart:
    def __init__(self, path: Path) -> None:
        try:
            # imported late: the library takes 60 MB, and only this form needs it
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            advice = f"{pip_install('pyarrow')}, or choose csv or jsonl"
            raise AggregatorError(f"Parquet needs pyarrow, which is not here: {advice}") from error
        kinds = {
            "string": self._arrow.string(),
            "int64": self._arrow.int64(),
            "double": self._arrow.float64(),
            "time": self._arrow.timestamp("ms", tz="UTC"),
        }
        self._schema = self._arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
        self._file = open(path, "xb")  # noqa: SIM115 - closed by close()
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._held_bytes = 0

    def write(self, line: Line) -> None:
        row = row_of(line)
        for name in ("latitude", "longitude"):
            if row.get(name) is not None:
                row[name] = float(row[name])
        self._rows.append(row)
        self._held_bytes += len(line.raw)
        if len(self._rows) >= _GROUP_ROWS or self._held_bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()

    def _write_group(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._held_bytes = [], 0
