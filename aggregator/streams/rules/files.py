"""Rules in files: JSON lines, CSV, GNIP's JSON, and tables of SQLite."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from aggregator.config.hints import shorten
from aggregator.streams.rules.names import SetName, parse_set_name

FORMATS = ("jsonl", "csv", "gnip", "sqlite")
_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".sqlite": "sqlite", ".sqlite3": "sqlite",
    ".db": "sqlite",
}  # fmt: skip
_TABLE = "rules"
_QUERIES = {
    "track": "select tag, value from rules where type in ('keyword', 'hashtag')",
    "follow": "select tag, value from rules where type in ('userid', 'username')",
    "locations": "select tag, value from rules where type = 'geo'",
}
_MOST_BYTES = 200_000_000


class Entry(NamedTuple):
    """A rule in a file."""

    place: str
    """Where it is, such as `line 3`."""
    fields: Mapping[str, str]
    """What is said of it; there is always a `value`, which may be empty."""
    name: SetName | None
    """The set that the file names; None when it names none."""
    fault: str = ""
    """Why it is no rule; then there are no fields."""


def format_of(path: Path) -> str:
    """Return a file's format by its name; `.json` is GNIP's or JSON lines, by what is in it. Raises ValueError."""
    if path.suffix.lower() == ".json":
        return "gnip" if _is_gnip(path) else "jsonl"
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"{path}: which format? Give --format {', '.join(FORMATS)}") from None


def _is_gnip(path: Path) -> bool:
    try:
        return "rules" in msgspec.json.decode(_read(path), type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False


def read_entries(path: Path, form: str, type_: str, query: str | None = None) -> Iterator[Entry]:
    """Yield the rules of a file, with a fault where an entry is none.

    `type_` is the type of the rules that are wanted, empty when the file says it. `query` is for SQLite: its columns
    are the fields. Raises ValueError when the file as a whole cannot be read, and OSError.
    """
    if form == "sqlite":
        yield from _read_table(path, type_, query)
        return
    readers: dict[str, Callable[[str], Iterator[Entry]]] = {"jsonl": _read_lines, "csv": _read_csv, "gnip": _read_gnip}
    yield from readers[form](_read(path))


def _read(path: Path) -> str:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: more than {_MOST_BYTES:,} bytes are no rules")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error}") from None


def _read_lines(text: str) -> Iterator[Entry]:
    """Read JSON lines: a rule's fields, or `{"key": its key in Redis, "hash": its fields}`."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _entry(f"line {number}", json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Entry(f"line {number}", {}, None, f"no JSON: {error}")


def _entry(place: str, document: Any) -> Entry:
    name = None
    if isinstance(document, dict) and isinstance(document.get("hash"), dict):
        try:
            name = parse_set_name(":".join(str(document.get("key")).removeprefix("traptor-").split(":")[:2]))
        except ValueError:
            return Entry(place, {}, None, f"no key of a rule (found {shorten(str(document.get('key')))})")
        document = document["hash"]
    if not isinstance(document, dict):
        return Entry(place, {}, name, "no JSON object")
    fields = {}
    for field, value in document.items():
        if isinstance(value, dict | list) and field == "value":
            fields[field] = json.dumps(value)  # a polygon
        elif isinstance(value, dict | list):
            return Entry(place, {}, name, f"{shorten(field)} is no text")
        elif value is not None:
            fields[field] = value if isinstance(value, str) else json.dumps(value)
    return _with_value(Entry(place, fields, name))


def _read_csv(text: str) -> Iterator[Entry]:
    """Read CSV with a line of names: `value` and any other field; `set` names the rule set."""
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if "value" not in (rows.fieldnames or ()):
        raise ValueError("line 1: the first line of a CSV file names its columns, `value` among them")
    try:
        for row in rows:
            place = f"line {rows.line_num}"
            if None in row:
                yield Entry(place, {}, None, "more cells than columns")
            else:
                yield _row(place, row)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None


def _row(place: str, row: Mapping[str, Any]) -> Entry:
    fields = {name: str(value) for name, value in row.items() if value not in (None, "")}
    try:
        name = parse_set_name(fields.pop("set")) if "set" in fields else None
    except ValueError:
        return Entry(place, {}, None, "no rule set under `set`; allowed: TYPE:ID")
    return _with_value(Entry(place, fields, name))


def _with_value(entry: Entry) -> Entry:
    return entry if entry.fields.get("value") else Entry(entry.place, {}, entry.name, "has no value")


def _read_gnip(text: str) -> Iterator[Entry]:
    """Read `{"rules": [{"value": …, "tag": …}]}`: every `from:DIGITS` is a rule."""
    try:
        rules = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("rules")
        parts = [bytes(part) for part in msgspec.json.decode(rules or b"null", type=list[msgspec.Raw])]
    except msgspec.DecodeError as error:
        raise ValueError(f'no GNIP rules, {{"rules": [...]}}: {error}') from None
    at, data = 0, text.encode()
    for part in parts:
        at = data.index(part, at)
        place = f"line {data.count(bytes([10]), 0, at) + 1}"
        at += len(part)
        entry = _entry(place, json.loads(part))
        ids = re.findall(r"from:(\d+)", entry.fields.get("value", ""))
        if not ids and not entry.fault:
            entry = Entry(place, {}, None, "no from:DIGITS; of GNIP's rules only those are taken")
        if entry.fault:
            yield entry
        for user_id in ids:
            yield Entry(place, {**entry.fields, "value": user_id, "orig_type": "userid"}, None)


def _read_table(path: Path, type_: str, query: str | None) -> Iterator[Entry]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if query is None and not type_:
        raise ValueError(f"{path}: which rules? Give --into TYPE, or --query SQL")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            cursor = connection.execute(query or _QUERIES[type_])
            names = [column[0] for column in cursor.description or ()]
            if "value" not in names:
                raise ValueError(f"{path}: the query gives no column `value` (found {', '.join(names) or 'nothing'})")
            for number, row in enumerate(cursor, 1):
                entry = _row(f"row {number}", dict(zip(names, row, strict=True)))
                yield entry if entry.fault else _converted(entry, type_)
    except sqlite3.Error as error:
        raise ValueError(f"{path}: {error}") from None


def _converted(entry: Entry, type_: str) -> Entry:
    """Return a rule out of a table in the form of ours. Source: Traptor's scripts/rule_extract.py."""
    value = entry.fields["value"]
    if type_ == "follow":
        match = re.search(r"\d{7,}", value)
        value = match[0] if match else value
    elif type_ == "track":
        match = re.search(r'url_contains:"([^"]*)"', value)
        value = match[1].replace(".", " ") if match else value
    elif type_ == "locations" and not value.lstrip().startswith("{"):
        value = ",".join(value.strip("[ ]").replace(",", " ").split())
    return entry._replace(fields={**entry.fields, "value": value})


def write_rules(rules: Iterable[tuple[SetName, Mapping[str, str]]], form: str) -> Iterator[bytes]:
    """Yield a file of rules as JSON lines, CSV or GNIP's JSON; of rules with ids of users alone for the last one."""
    if form == "jsonl":
        for name, fields in rules:
            yield json.dumps({"key": name.key(fields["rule_id"]), "hash": fields}, ensure_ascii=False).encode() + b"\n"
    elif form == "csv":
        kept = [{"set": str(name), **fields} for name, fields in rules]
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, _columns(kept), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        yield stream.getvalue().encode()
    else:
        gnip = [{"value": f"from:{fields['value']}", "tag": fields.get("tag", "")} for _, fields in rules]
        yield json.dumps({"rules": gnip}, ensure_ascii=False, indent=1).encode() + b"\n"


def write_table(rules: Iterable[tuple[SetName, Mapping[str, str]]], path: Path) -> None:
    """Write rules into the table `rules` of a new SQLite file; `type` is their `orig_type`. Raises OSError."""
    kept = [{"set": str(name), **fields, "type": fields.get("orig_type", "")} for name, fields in rules]
    columns = _columns(kept)
    quoted = [f'"{column.replace(chr(34), chr(34) * 2)}"' for column in columns]
    if path.exists():
        raise FileExistsError(17, "the file exists", str(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"create table {_TABLE} ({', '.join(f'{column} text' for column in quoted)})")
        rows = [[row.get(column) for column in columns] for row in kept]
        connection.executemany(f"insert into {_TABLE} values ({', '.join('?' * len(columns))})", rows)


def _columns(rows: list[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(["set", "rule_id", "orig_type", "value", "tag", *(name for row in rows for name in row)]))
