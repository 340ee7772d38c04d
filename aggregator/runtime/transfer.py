"""Carry the state of a namespace to another Redis or another name, as lines of JSON, key by key.

Values are written by their type and not as Redis's own dumps, which another version may refuse.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from aggregator.errors import AggregatorError
from aggregator.runtime.keys import Keys

FORMAT = "aggregator-state-1"
_PAGE = 1000


class NotEmpty(AggregatorError):
    """The namespace to be filled has a state of its own."""


class Unreadable(AggregatorError):
    """The file to be imported is no export, or not a whole one."""


class Head(msgspec.Struct, kw_only=True):
    """The first line of an export."""

    format: str
    namespace: str
    state: str


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Some values of one key. The last row has no key and says how many rows there were."""

    key: str = ""
    """The key without the namespace."""
    type: str = ""
    values: list[str] = []
    """In Base64: the elements of a list or set, or the text of a string; for a hash fields and values in turns, for a
    zset members and scores in turns."""
    rows: int = 0


def dump(client: Any, keys: Keys) -> Iterator[bytes]:
    """Yield the lines of an export. Nobody may change the namespace meanwhile."""
    state = (client.hget(keys.state, "id") or b"").decode()
    name = keys.prefix[1:].removesuffix("}:")
    yield msgspec.json.encode(Head(format=FORMAT, namespace=name, state=state)) + b"\n"
    number = 0
    for key in sorted(client.scan_iter(match=f"{_escaped(keys.prefix)}*", count=_PAGE)):
        kind = client.type(key).decode()
        for page in _pages(client, key, kind):
            values = [base64.b64encode(value).decode() for value in page]
            yield msgspec.json.encode(Row(key=key.decode()[len(keys.prefix) :], type=kind, values=values)) + b"\n"
            number += 1
    yield msgspec.json.encode(Row(rows=number)) + b"\n"


def check(lines: Iterable[bytes]) -> Head:
    """Read all of an export, and return its first line. Raises Unreadable."""
    head, number, ended = None, 0, False
    for at, line in enumerate(lines, 1):
        try:
            if head is None:
                head = msgspec.json.decode(line, type=Head)
            elif ended:
                raise Unreadable(f"line {at}: there is more behind the end")
            else:
                row = msgspec.json.decode(line, type=Row)
                number += bool(row.key)
                ended = not row.key and row.rows == number
        except msgspec.DecodeError as error:
            raise Unreadable(f"line {at}: {error}") from error
    if head is None or head.format != FORMAT:
        raise Unreadable("no export of `aggregator state export`")
    if not ended:
        raise Unreadable(f"it ends after {number} rows, before its last line: the export was broken off")
    return head


def restore(client: Any, keys: Keys, lines: Iterable[bytes]) -> int:
    """Fill an empty namespace with the rows of an export that was checked. Returns how many rows were written.

    Raises NotEmpty. The rest of a broken-off restore is removed first, because lists would get their entries twice.
    """
    mark = keys.restoring
    there = [] if client.exists(keys.state) else list(client.scan_iter(match=f"{_escaped(keys.prefix)}*", count=_PAGE))
    if client.exists(keys.state) or (there and mark.encode() not in there):
        raise NotEmpty("the namespace has a state of its own; give another `namespace`, or an empty Redis")
    # order: the mark comes first and goes last, so that keys beside it are known to be half a restore
    for key in there:
        if key != mark.encode():
            client.delete(key)
    client.set(mark, "1")
    number, last = 0, []
    for line in list(lines)[1:-1]:
        row = msgspec.json.decode(line, type=Row)
        values = [base64.b64decode(value) for value in row.values]
        if row.key == "state":
            last.append(values)
        else:
            _write(client, keys.prefix + row.key, row.type, values)
        number += 1
    for values in last:
        # order: the key that says that the state is there comes last
        _write(client, keys.state, "hash", values)
    client.delete(mark)
    return number


def _pages(client: Any, key: bytes, kind: str) -> Iterator[list[bytes]]:
    if kind == "string":
        yield [client.get(key)]
    elif kind == "list":
        for at in range(0, client.llen(key), _PAGE):
            yield client.lrange(key, at, at + _PAGE - 1)
    elif kind == "zset":
        for at in range(0, client.zcard(key), _PAGE):
            page = client.zrange(key, at, at + _PAGE - 1, withscores=True)
            yield [part for member, score in page for part in (member, repr(score).encode())]
    else:
        found = client.hgetall(key).items() if kind == "hash" else ((member,) for member in client.smembers(key))
        flat = [part for parts in found for part in parts]
        yield from (flat[at : at + 2 * _PAGE] for at in range(0, len(flat), 2 * _PAGE))


def _write(client: Any, key: str, kind: str, values: list[bytes]) -> None:
    pairs = dict(zip(values[::2], values[1::2], strict=False))
    if kind == "string":
        client.set(key, values[0])
    elif kind == "list":
        client.rpush(key, *values)
    elif kind == "set":
        client.sadd(key, *values)
    elif kind == "zset":
        client.zadd(key, {member: float(score) for member, score in pairs.items()})
    elif kind == "hash":
        client.hset(key, mapping=pairs)
    else:
        raise Unreadable(f"{key}: a key of type {kind!r} is none of ours")


def _escaped(text: str) -> str:
    """Return a text escaped for SCAN, so that the pattern matches this text alone."""
    return "".join(f"\\{character}" if character in "*?[]\\^" else character for character in text)
