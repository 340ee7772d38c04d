"""The source `kafka_in` as its worker runs it, turn by turn, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aggregator.config.parsing import parse_settings
from aggregator.runtime.connection import connect
from aggregator.runtime.context import Context
from aggregator.runtime.keys import Keys
from aggregator.runtime.process import make_worker
from aggregator.streams.kafka_in import KafkaIn

QUICK = "session.timeout.ms=6000, heartbeat.interval.ms=200, fetch.wait.max.ms=50"


class Bringing:
    """One process of a section; it ends like a killed one with `vanish`, and in good order with the block."""

    def __init__(
        self, root: Path, address: str, url: str, namespace: str, *, number: int = 0, limit: int = 0, **options: str
    ) -> None:
        texts = {"brokers": address, "topics": "one", "pushto": "out", "group": "g", "options": QUICK, **options}
        settings, faults = parse_settings(KafkaIn.Settings, {name.rstrip("_"): text for name, text in texts.items()})
        assert not faults, faults
        self.context = Context(section="source", number=number, node="here", root=root)
        limits = {"out": limit} if limit else {}
        self.worker = make_worker(KafkaIn, settings, self.context, url=url, namespace=namespace, limits=limits)
        self.worker.queue.start({"section": "source"})
        self.context.state_id = self.worker.queue.state_id
        self.source: Any = self.worker.component
        self.source.start()
        self.worker.intake.begin()
        self.client_url = url
        self.client, self.key = connect(url), Keys(namespace).queue("out")

    def turn(self) -> list[dict[str, Any]]:
        """Do one turn. Returns all messages in the queue."""
        self.worker.leases.renew()
        self.worker.intake.turn()
        return self.messages()

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages in the queue."""
        return [json.loads(raw) for raw in self.client.lrange(self.key, 0, -1)]

    def vanish(self) -> None:
        """Stop all at once: nobody is told anything."""
        self.source._reader._release = lambda *, commits: None
        self.source.stop()

    @property
    def owned(self) -> int:
        """How many partitions it reads."""
        return len(self.source._reader._owned)

    def stored(self) -> bool:
        """True when a position is stored."""
        return any(self.worker.leases.cursors(lease) for lease in self.worker.leases.held)

    def __enter__(self) -> Bringing:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.stop()
        self.worker.leases.give(*self.worker.leases.held)
        self.client.close()
