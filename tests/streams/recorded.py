"""Files as `record` writes them, without a worker: the same functions pack, name and describe them."""

from __future__ import annotations

import zlib
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from aggregator.runtime.context import Context
from aggregator.streams.messages import Connection, Event, Gap
from aggregator.streams.recording.lines import line_of
from aggregator.streams.recording.packing import pack
from aggregator.streams.recording.paths import gaps_path, possible_paths
from aggregator.streams.recording.sidecar import Facts, write_sidecar


def second_version(line: bytes) -> bytes:
    """Return an event of the first version of Jetstream as the second sends it."""
    event = msgspec.json.decode(line)
    at = datetime.fromtimestamp(event.pop("time_us") / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    type_ = f"network.bsky.jetstream.subscribeEvents#{event.pop('kind')}"
    payload = {"$type": type_, "seq": 1, "time": at, "witnessedAt": at, **event.pop("commit", {}), **event}
    return msgspec.json.encode({"$type": "message", "payload": payload})


DATA = Path(__file__).parents[1] / "data/streams"
TWEETS = (DATA / "tweets.ndjson").read_bytes().splitlines()
JETSTREAM = (DATA / "jetstream.jsonl").read_bytes().splitlines()
CHANGES = (DATA / "recentchange.ndjson").read_bytes().splitlines()
STATUS = (DATA / "status.json").read_bytes().strip()

JETSTREAM_2 = [second_version(line) for line in JETSTREAM]
"""The same events as the second version of Jetstream sends them."""

NOON = 1_700_049_600_000
"""2023-11-15T12:00:00Z."""


class Recording:
    """A folder of streams."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._context = cast(Context, SimpleNamespace(instance_id="i", root=directory.parent))

    def file(
        self,
        stream: str,
        events: list[bytes | tuple[str, bytes]],
        *,
        at_ms: int = NOON,
        step_ms: int = 1000,
        form: str = "gz",
        connections: list[Connection] | None = None,
        is_open: bool = False,
    ) -> Path:
        """Write a file of events, which arrive one step after the other; a pair has a type and a payload."""
        path = next(p for p in possible_paths(self.directory, stream, at_ms, form) if not p.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = Facts(stream=stream, node="n", format=form, connections=connections or [])
        packed = b""
        for number, found in enumerate(events):
            name, raw = found if isinstance(found, tuple) else ("", found)
            event = Event(stream=stream, received_ms=at_ms + number * step_ms, event=msgspec.Raw(raw), type=name)
            facts.add(event)
            packed += pack(line_of(event), form)
        path.write_bytes(packed)
        if not is_open:
            write_sidecar(path, facts, self._context)
        return path

    def gap(self, stream: str, from_ms: int, to_ms: int, **more: Any) -> None:
        """Record a gap."""
        path = self.directory / gaps_path(stream)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(line_of(Gap(stream=stream, from_ms=from_ms, to_ms=to_ms, cause="disconnect", **more)))


def lines_in(path: Path) -> list[bytes]:
    """Return the lines of a gzip file that may just be written: without those of a member not all there yet."""
    data, found = path.read_bytes(), b""
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        text = unpacker.decompress(data)
        if not unpacker.eof:
            break
        data, found = unpacker.unused_data, found + text
    return found.splitlines()
