"""Drive the stage `filter` as its worker would: handle, make durable, commit, or be killed before that."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aggregator.config.parsing import parse_settings
from aggregator.config.tables import Table
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.filter import Filter
from aggregator.feeds.messages.ticks import Downloaded, Filtered
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Send
from aggregator.runtime.message import Message
from tests.feeds.downloading import make
from tests.settling import settled

NOW_MS = 1_800_000_000_000


class Filtering:
    """A filter, and the downloads it is told of."""

    def __init__(self, root: Path, **options: str) -> None:
        self.root = root
        self.options = options
        self.folders = FeedFolders(root / "data/feeds")
        self.cursors: dict[str, str] = {}
        self.table = Table({}, (), ())
        self.planned_ms = NOW_MS
        self.stage = self._start()

    def _start(self) -> Filter:
        settings, faults = parse_settings(Filter.Settings, {"listento": "in", "pushto": "out", **self.options})
        assert settings, faults
        context = Context(
            section="worker_filter", number=0, node="here", root=self.root, cursors=dict(self.cursors),
            clock=lambda: self.planned_ms / 1000, table=lambda kind: self.table,
        )  # fmt: skip
        stage = Filter(settings, context)
        stage.start()
        return stage

    def configure(self, name: str = "ace", **options: str) -> None:
        """Have a feed in the configuration, and start anew, as a build of the configuration does."""
        self.table = self.table._replace(
            entries={**self.table.entries, name: make(name, "http://x.example/ace", **options)}
        )
        self.restart()

    def restart(self) -> None:
        """End as a killed process does, and start from what was committed."""
        self.stage = self._start()

    def stop(self) -> None:
        """End as a process does that is told to."""
        self.stage.stop()

    def download(self, body: bytes, *, feed: str = "ace", after_s: float = 10.0, **changes: Any) -> Message:
        """Put a body where a download lands, and return what is told of it."""
        self.planned_ms += int(after_s * 1000)
        sha256 = hashlib.sha256(body).hexdigest()
        extension = changes.get("extension", "pb")
        path = self.folders.download(feed, self.planned_ms, extension)
        path = path.with_name(f"{path.name.removesuffix('.' + extension)}-{sha256[:8]}.{extension}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        tick = Tick(
            planned_ms=self.planned_ms, outcome="ok", started_ms=self.planned_ms + 5, ended_ms=self.planned_ms + 90,
            status=200, wire_bytes=len(body), size_bytes=len(body), sha256=sha256,
        )  # fmt: skip
        return self.message(tick, feed=feed, file=str(path.relative_to(self.root)), **changes)

    def no_body(self, outcome: str, *, after_s: float = 10.0, **changes: Any) -> Message:
        """Return what is told of a tick that brought nothing."""
        self.planned_ms += int(after_s * 1000)
        started_ms = self.planned_ms + 5 if outcome == "not_modified" else None
        tick = Tick(planned_ms=self.planned_ms, outcome=outcome, started_ms=started_ms)  # type: ignore[arg-type]
        return self.message(tick, **changes)

    def message(self, tick: Tick | None, **changes: Any) -> Message:
        """Return a message of the download."""
        about: dict[str, Any] = {
            "feed": "ace", "url": "http://x.example/ace", "period_ms": 10_000, "extension": "pb",
            "timestamp": "gtfs-realtime", "format": "gtfs-realtime",
        }  # fmt: skip
        raw = msgspec.json.encode(Downloaded(**(about | {"tick": tick} | changes)))
        return Message(raw, raw)

    def handle(self, message: Message, *, commit: bool = True) -> Filtered:
        """Handle a message and commit it, unless the process is killed before that."""
        [told] = self.handle_all(message, commit=commit)
        return told

    def handle_all(self, message: Message, *, commit: bool = True) -> list[Filtered]:
        """Handle a message with which bodies of before are found."""
        told = []
        for outcome in self.stage.handle(message):
            assert isinstance(outcome, Send) and outcome.queue == "out"
            told.append(msgspec.json.decode(bytes(outcome.body), type=Filtered))  # type: ignore[arg-type]
        if commit:
            self.commit()
        return told

    def idle(self) -> list[Message]:
        """Let the filter look for bodies while nothing waits, and return the messages that it made."""
        messages = []
        for outcome in self.stage.idle(self.planned_ms / 1000):
            if isinstance(outcome, Send):
                raw = bytes(outcome.body)  # type: ignore[arg-type]
                messages.append(Message(raw, raw))
            elif outcome.value:
                self.cursors[outcome.name] = outcome.value
            else:
                self.cursors.pop(outcome.name, None)
        return messages

    def age(self, seconds: float = 0.0) -> None:
        """Give every body among the downloads an age, by the clock of the filter."""
        at = self.planned_ms / 1000 - seconds
        for path in [*self.downloads(), *self.decided()]:
            os.utime(path, (at, at))

    def commit(self) -> None:
        """Make durable and remember."""
        self.cursors.update({name: str(text) for name, text in settled(self.stage).items()})
        self.stage.committed()

    def take(self, body: bytes, **changes: Any) -> Filtered:
        """Download and handle."""
        return self.handle(self.download(body, **changes))

    def publications(self) -> dict[str, bytes]:
        """Return what is published, by file name."""
        return {path.name: path.read_bytes() for path in self.folders.publications.rglob("*") if path.is_file()}

    def rejected(self) -> Mapping[str, Path]:
        """Return the files of rejected downloads."""
        return {path.name: path for path in self.folders.rejected.rglob("*") if path.is_file()}

    def downloads(self) -> list[Path]:
        """Return the bodies that wait for the filter."""
        return [path for path in self.folders.downloads.rglob("[!.]*") if path.is_file()]

    def decided(self) -> list[Path]:
        """Return the bodies that are kept because their messages might come again."""
        return [path for path in self.folders.downloads.rglob(".*") if path.is_file()]
