"""Write rows to files in three formats; a file gets its name only when it is complete and durable."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import msgspec

from aggregator.config.installation import pip_install
from aggregator.errors import AggregatorError
from aggregator.files.durable import part_of, place_of, sync_folder
from aggregator.files.opening import open_part

Row = dict[str, Any]
Format = Literal["parquet", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = ("parquet", "csv", "jsonl")

_BATCH_ROWS = 2_000
"""How many rows are held as Python objects; an entity may have a hundred stops."""
_GROUP_ROWS = 50_000
"""How many rows make a row group of Parquet."""

_STOP_TIME = {
    "stop_sequence": "int64",
    "stop_id": "string",
    "arrival_time": "int64",
    "arrival_delay": "int64",
    "departure_time": "int64",
    "departure_delay": "int64",
    "schedule_relationship": "string",
}
_INFORMED = {
    "agency_id": "string",
    "route_id": "string",
    "route_type": "int64",
    "stop_id": "string",
    "trip_id": "string",
}
COLUMNS: dict[str, str | dict[str, str]] = {
    "feed": "string",
    "source_url": "string",
    "publication": "string",
    "fetched_at": "time",
    "header_at": "time",
    "entity_id": "string",
    "kind": "string",
    "is_deleted": "bool",
    "trip_id": "string",
    "route_id": "string",
    "direction_id": "int64",
    "start_date": "string",
    "start_time": "string",
    "schedule_relationship": "string",
    "vehicle_id": "string",
    "vehicle_label": "string",
    "vehicle_license_plate": "string",
    "vehicle_wheelchair_accessible": "string",
    "timestamp": "int64",
    "delay": "int64",
    "stop_time_updates": _STOP_TIME,
    "latitude": "double",
    "longitude": "double",
    "bearing": "double",
    "odometer": "double",
    "speed": "double",
    "current_stop_sequence": "int64",
    "stop_id": "string",
    "current_status": "string",
    "congestion_level": "string",
    "occupancy_status": "string",
    "occupancy_percentage": "int64",
    "cause": "string",
    "effect": "string",
    "severity_level": "string",
    "header_text": "string",
    "description_text": "string",
    "url": "string",
    "active_periods": {"start": "int64", "end": "int64"},
    "informed_entities": _INFORMED,
}
"""Every column and its type. `time` is a moment in UTC, to the millisecond; a column with a dictionary is a list."""
_TIMES = [name for name, kind in COLUMNS.items() if kind == "time"]
_FLAGS = [name for name, kind in COLUMNS.items() if kind == "bool"]
_LISTS = [name for name, kind in COLUMNS.items() if isinstance(kind, dict)]


class RowFile(Protocol):
    """A file that rows can be written to."""

    def write(self, row: Row) -> None:
        """Write a row; missing columns are empty."""

    def close(self) -> None:
        """Make the file complete, durable and visible."""

    def discard(self) -> None:
        """Delete the incomplete file."""


def open_rows(path: Path, format_name: Format) -> RowFile:
    """Return a new file in a format. Raises AggregatorError when the library for the format is not installed."""
    place_of(path).parent.mkdir(parents=True, exist_ok=True)
    makers: dict[Format, Callable[[Path], RowFile]] = {"parquet": _ParquetFile, "csv": _CsvFile, "jsonl": _JsonFile}
    return makers[format_name](path)


class _NewFile:
    """A file that gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = place_of(path)
        self.part = part_of(self.path)

    def publish(self) -> None:
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
        self.part.replace(self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)


class _OpenFile(_NewFile):
    """A new file that is written through a file object."""

    _file: IO[Any]

    def close(self) -> None:
        self._file.close()
        self.publish()

    def discard(self) -> None:
        self._file.close()
        super().discard()


class _JsonFile(_OpenFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = open(open_part(self.part), "wb")  # noqa: SIM115 - closed by close()

    def write(self, row: Row) -> None:
        plain = {name: row.get(name) for name in COLUMNS}
        for name in _TIMES:
            plain[name] = _moment(plain[name])
        self._file.write(msgspec.json.encode(plain))
        self._file.write(b"\n")


class _CsvFile(_OpenFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = open(open_part(self.part), "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed by close()
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def write(self, row: Row) -> None:
        cells = {name: row.get(name) for name in COLUMNS}
        for name in _TIMES:
            cells[name] = _moment(cells[name])
        for name in _FLAGS:
            cells[name] = {None: "", True: "true", False: "false"}[cells[name]]
        for name in _LISTS:
            cells[name] = msgspec.json.encode(cells[name]).decode() if cells[name] else ""
        self._writer.writerow(cells.values())


class _ParquetFile(_NewFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            # imported late: the library takes 60 MB, and only this format needs it
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            advice = f"{pip_install('pyarrow')}, or choose csv or jsonl"
            raise AggregatorError(f"Parquet needs pyarrow, which is not here: {advice}") from error
        self._schema = self._arrow.schema([(name, _arrow_type(self._arrow, kind)) for name, kind in COLUMNS.items()])
        self._file = open(open_part(self.part), "wb")  # noqa: SIM115 - closed by close()
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._tables: list[Any] = []
        self._waiting = 0

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._pack()
            if self._waiting >= _GROUP_ROWS:
                self._write_group()

    def _pack(self) -> None:
        self._tables.append(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._waiting += len(self._rows)
        self._rows = []

    def _write_group(self) -> None:
        self._writer.write_table(self._arrow.concat_tables(self._tables))
        self._tables, self._waiting = [], 0

    def close(self) -> None:
        self._pack()
        self._write_group()
        self._writer.close()
        self._file.close()
        self.publish()

    def discard(self) -> None:
        self._writer.close()
        self._file.close()
        super().discard()


def _arrow_type(arrow: Any, kind: str | dict[str, str]) -> Any:
    if isinstance(kind, dict):
        return arrow.list_(arrow.struct([(name, _arrow_type(arrow, of)) for name, of in kind.items()]))
    if kind == "time":
        return arrow.timestamp("ms", tz="UTC")
    return {"string": arrow.string, "int64": arrow.int64, "double": arrow.float64, "bool": arrow.bool_}[kind]()


@lru_cache(maxsize=64)
def _moment(milliseconds: int | None) -> str | None:
    """Return a moment as text for JSON and CSV. It is cached, as all rows of a publication have the same moments."""
    if milliseconds is None:
        return None
    text = datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
