"""The sidecar of a finished file: what is in it, where it comes from, and what is missing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from aggregator import __version__
from aggregator.files.durable import write_durably
from aggregator.files.names import real_name
from aggregator.runtime.context import Context
from aggregator.streams.messages import Connection, Event, Gap, Recorded
from aggregator.streams.recording.paths import sidecar_of
from aggregator.streams.times import iso

_PIECE = 1024**2


class _Named(msgspec.Struct):
    """What a sidecar says of its file's content."""

    sha256: str = ""


class Facts(msgspec.Struct):
    """What is known about a file while it is written."""

    stream: str
    node: str
    format: str
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    gaps: list[Gap] = msgspec.field(default_factory=list)
    connections: list[Connection] = msgspec.field(default_factory=list)

    def add(self, event: Event) -> None:
        """Count an event."""
        self.first_ms = min(self.first_ms, event.received_ms) if self.count else event.received_ms
        self.last_ms = max(self.last_ms, event.received_ms)
        self.count += 1


def write_sidecar(path: Path, facts: Facts, context: Context) -> Recorded:
    """Write the sidecar of a finished file, durably. Raises OSError.

    A sidecar of the same content that a killed process wrote stays as it is: it may be in a store already, and the text
    of another version would differ from it.
    """
    sha256, size = _hash(path)
    sidecar = sidecar_of(path)
    text = {
        "file": path.name,
        "stream": facts.stream,
        "node": facts.node,
        "instance": context.instance_id,
        "version": f"aggregator {__version__}",
        "count": facts.count,
        "first_received": iso(facts.first_ms),
        "last_received": iso(facts.last_ms),
        "size_bytes": size,
        "sha256": sha256,
        "connections": facts.connections,
        "gaps": facts.gaps,
    }
    if _sha256_in(sidecar) != sha256:
        write_durably(sidecar, msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n", 0o640)
    return Recorded(
        stream=facts.stream,
        file=real_name(path, context.root),
        sidecar=real_name(sidecar, context.root),
        sha256=sha256,
        size_bytes=size,
        count=facts.count,
        first_ms=facts.first_ms,
        last_ms=facts.last_ms,
    )


def _hash(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _sha256_in(sidecar: Path) -> str:
    """Return the hash that a sidecar names; empty when there is none that can be read."""
    try:
        return msgspec.json.decode(sidecar.read_bytes(), type=_Named).sha256
    except (FileNotFoundError, msgspec.DecodeError):
        return ""
