"""Drive a stage of feeds step by step, as its worker would, on a clock of its own, with commits that happen or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import simplejson

from aggregator.config.parsing import parse_settings
from aggregator.config.tables import Table
from aggregator.feeds.bundle.bundles import Contents, read_bundle
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication
from aggregator.feeds.naming.stamps import bundle_start
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Drop, Send, Stage
from aggregator.runtime.message import Message, encode_body
from tests.feeds.bundles import HOUR
from tests.settling import settled

FEED = "nyct"


class Stepped:
    """One stage between its queue and the next; `kill` and `start` lose and find what a real process does."""

    def __init__(self, stage: type[Stage], root: Path, **options: Any) -> None:
        self.root = root
        self.options = {"listento": "in@node", "store_settings": None, **options}
        self.store_settings = self.options.pop("store_settings")
        self.stage_class = stage
        self.now = float(HOUR)
        self.cursors: dict[str, str] = {}
        self.ready: list[bytes] = []
        self.timers: dict[str, tuple[float, bytes]] = {}
        """When each is due, and what it becomes, by its key."""
        self.out: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        """Begin a new process on what was committed."""
        texts = {name: str(value) for name, value in self.options.items()}
        settings, faults = parse_settings(self.stage_class.Settings, texts)
        assert not faults, faults
        self.context = Context(
            section="worker_test", number=0, node="here", root=self.root, cursors=dict(self.cursors),
            clock=lambda: self.now, table=lambda kind: Table({self.options.get("store", "test"): self.store_settings}),
        )  # fmt: skip
        self.stage = self.stage_class(settings, self.context)
        self.stage.start()
        cursors = {}
        for outcome in self.stage.seed():
            if isinstance(outcome, Cursor):
                assert self.cursors.get(outcome.name, "") == self.context.cursors.get(outcome.name, "")
                cursors[outcome.name] = outcome.value or ""
            else:
                self._send(outcome)
        self._store(cursors)

    def push(self, *bodies: dict[str, Any]) -> None:
        """Put messages into the stage's queue."""
        self.ready += map(encode_body, bodies)

    def step(self, most: int = 100, *, commit: bool = True, settle: bool = True, committed: bool = True) -> int:
        """Handle a batch of what is ready. Without a commit it is as if the process was killed before it.

        With `committed` false it is as if it was killed right after it.
        """
        for key, (at, body) in sorted(self.timers.items(), key=lambda timer: timer[1]):
            if at <= self.now:
                self.ready.append(body)
                del self.timers[key]
        batch = self.ready[:most]
        outcomes = [outcome for raw in batch for outcome in self.stage.handle(Message(raw, raw))]
        cursors = settled(self.stage) if settle and batch else {}
        if not commit:
            return len(batch)
        self.ready = self.ready[len(batch) :]
        for outcome in outcomes:
            if isinstance(outcome, Send):
                self._send(outcome)
            else:
                assert isinstance(outcome, Drop)
        self._store(cursors)
        if batch and committed:
            self.stage.committed()
        self.counts = dict(self.context.counts)
        return len(batch)

    def run(self, until: float | None = None) -> None:
        """Handle all there is, letting time pass to a moment."""
        while True:
            while self.step():
                pass
            coming = min((at for at, _ in self.timers.values()), default=None)
            if until is None or coming is None or coming > until:
                break
            self.now = max(self.now, coming)
        if until is not None:
            self.now = max(self.now, until)

    def idle(self) -> int:
        """Let the stage look for work while nothing waits; return how many messages it made."""
        outcomes = list(self.stage.idle(self.now))
        self._store({one.name: one.value for one in outcomes if isinstance(one, Cursor)})
        sends = [one for one in outcomes if isinstance(one, Send)]
        for send in sends:
            self._send(send)
        if outcomes:
            self.stage.committed()
        return len(sends)

    def restart(self) -> None:
        """Begin anew after a kill."""
        self.start()

    def _send(self, outcome: Send) -> None:
        if outcome.body is None:
            self.timers.pop(outcome.key, None)
            return
        body = outcome.body if isinstance(outcome.body, bytes) else encode_body(outcome.body)
        if outcome.queue != self.options["listento"]:
            assert not outcome.delay_s
            self.out.append(simplejson.loads(body))
        elif outcome.key:
            self.timers[outcome.key] = self.now + outcome.delay_s, body
        else:
            self.ready.append(body)

    def _store(self, cursors: Any) -> None:
        for name, value in cursors.items():
            if value:
                self.cursors[name] = value
            else:
                self.cursors.pop(name, None)


def publish(
    root: Path,
    at: float,
    data: bytes,
    *,
    planned: float | None = None,
    feed: str = FEED,
    period_s: int = 3600,
    node: str = "here",
) -> dict[str, Any]:
    """Lay down a publication as `filter` does, and return its message."""
    publication = Publication(feed, int(at), "pb")
    path = FeedFolders(root / "data/feeds").publication(publication, period_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    tick = {
        "planned_ms": int((at if planned is None else planned) * 1000),
        "outcome": "ok",
        "status": 200,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "header_ms": int(at) * 1000,
    }
    return {**failed(0, feed=feed, node=node), "tick": tick, "publication": path.name, "published_ms": int(at * 1000)}


def failed(planned: float, *, feed: str = FEED, node: str = "here") -> dict[str, Any]:
    """Return the message of a tick that brought nothing."""
    return {
        "feed": feed,
        "tick": {"planned_ms": int(planned * 1000), "outcome": "failed", "error": "no route"},
        "publication": "",
        "published_ms": None,
        "url": "http://feeds.example/one",
        "period_ms": 60_000,
        "node": node,
    }


def bundles_of(root: Path, messages: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Contents]]:
    """Yield messages with what their files hold, checking what the messages say of them."""
    for message in messages:
        path = root / message["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == message["sha256"]
        assert path.stat().st_size == message["size"]
        with path.open("rb") as file:
            contents = read_bundle(file)
        assert contents.contents_id == message["contents_id"]
        yield message, contents


def held(root: Path, messages: list[dict[str, Any]]) -> list[str]:
    """Return the names of the publications in the bundles of messages, in order."""
    return [member.name for _, contents in bundles_of(root, messages) for member in contents.publications]


def period_of(at: float, period_s: int = 3600) -> int:
    """Return when the period begins that a moment is in."""
    return bundle_start(at, period_s)
