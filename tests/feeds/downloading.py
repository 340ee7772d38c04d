"""Drive the stage `download` as its worker would, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aggregator.config.parsing import parse_settings
from aggregator.config.tables import Table
from aggregator.feeds.download import Download
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Downloaded, DueTick
from aggregator.feeds.settings.table import Feed, FeedSettings, make_feed
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Drop, Send
from aggregator.runtime.message import History, Message
from tests.settling import settled

NOW = 1_800_000_000.0


def make(name: str, url: str, **options: str) -> Feed:
    """Return a feed."""
    texts = {"url": url, "extension": "pb", "period": "10s", "timeout": "60s", **options}
    settings, faults = parse_settings(FeedSettings, texts)
    assert settings, faults
    return make_feed(name, settings, {}, url)


RUNNING: list[Downloading] = []
"""What a test's fixture stops after each test."""


class Downloading:
    """A download stage whose ticks the test hands over; `now` is its clock."""

    def __init__(self, root: Path, *feeds: Feed, cursors: Mapping[str, str] | None = None, **options: str) -> None:
        self.root = root
        self.now = NOW
        self.table = Table({feed.name: feed for feed in feeds}, (), ())
        self.cursors = dict(cursors or {})
        settings, faults = parse_settings(Download.Settings, {"pushto": "fetched", **options})
        assert settings, faults
        context = Context(
            section="worker_download", number=0, node="here", root=root, cursors=self.cursors,
            clock=lambda: self.now, table=lambda kind: self.table,
        )  # fmt: skip
        self.stage = Download(settings, context)
        self.stage.start()
        RUNNING.append(self)

    def seed(self) -> list[DueTick]:
        """Seed, and return the ticks."""
        ticks = []
        for outcome in self.stage.seed():
            if isinstance(outcome, Cursor):
                self.cursors[outcome.name] = str(outcome.value)
            elif outcome.body is not None:
                ticks.append(self.tick_of(outcome))
        return ticks

    def tick_of(self, send: Send) -> DueTick:
        """Return the tick that is sent on, having checked that it comes at its time."""
        assert isinstance(send.body, bytes)
        tick = decode(send.body, DueTick)
        assert abs(self.now + send.delay_s - max(tick.planned_ms / 1000, self.now)) < 0.002
        return tick

    def handle(self, tick: DueTick, *, deliveries: int = 0) -> tuple[list[Downloaded], DueTick | None, str]:
        """Handle a tick. Returns what was told, the next tick, and the reason of a drop."""
        raw = msgspec.json.encode(tick)
        message = Message(raw, raw, History(deliveries=deliveries) if deliveries else None)
        told: list[Downloaded] = []
        following, dropped = None, ""
        for outcome in self.stage.handle(message):
            if isinstance(outcome, Drop):
                dropped = outcome.reason
            elif outcome.queue == "fetched":
                told.append(decode(bytes(outcome.body), Downloaded))  # type: ignore[arg-type]
            else:
                assert following is None, "two ticks of one"
                following = self.tick_of(outcome)
        for name, value in settled(self.stage).items():
            self.cursors[name] = value or ""
        return told, following, dropped

    def handle_at_its_time(self, tick: DueTick) -> tuple[Any, DueTick]:
        """Move the clock to a tick's time and handle it. Returns what became of it, and the next one."""
        self.now = max(self.now, tick.planned_ms / 1000)
        told, following, _ = self.handle(tick)
        assert following and len(told) == 1 and told[0].tick
        return told[0], following
