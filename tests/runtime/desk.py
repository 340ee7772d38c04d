"""What the runtime's tests share: queues of throw-away workers, and small ways to look into Redis."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import simplejson

from aggregator.runtime.batch import Batch
from aggregator.runtime.contract import Send
from aggregator.runtime.keys import Keys
from aggregator.runtime.ledger import Account, read_account
from aggregator.runtime.message import Message
from aggregator.runtime.queue import Identity, Queue


class Desk:
    """One namespace: push messages, open workers, read the books."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.client = client
        self.keys = Keys(namespace)
        self._numbers = itertools.count()

    def push(self, queue: str, *bodies: bytes) -> None:
        """Push as a program from outside does."""
        self.client.rpush(self.keys.queue(queue), *bodies)

    def worker(self, listens: str | None = "in", number: int = 0, **options: Any) -> Queue:
        """Start an incarnation of a worker."""
        queue = Queue(self.client, self.keys, Identity("stage", number, "node"), listens, **options)
        queue.start({"section": "stage"})
        return queue

    def waiting(self, queue: str) -> list[bytes]:
        """Return what stands in a queue."""
        return list(self.client.lrange(self.keys.queue(queue), 0, -1))

    def books(self, name: str = "in") -> Account:
        """Return an account."""
        return read_account(self.client, self.keys, name)


def bodies(count: int) -> list[bytes]:
    """Return different JSON objects."""
    return [b'{"n":%d}' % n for n in range(count)]


def forward(messages: list[Message], *targets: str) -> Batch:
    """Return the batch that sends messages on."""
    batch = Batch()
    for message in messages:
        batch.handled(message, [Send(target, message.raw) for target in targets])
    batch.close()
    return batch


def raws(messages: list[Message]) -> list[bytes]:
    """Return the bodies of messages."""
    return [message.raw for message in messages]


def order(what: str, **more: Any) -> bytes:
    """Return a message that tells a stage of stages.py what to do."""
    text: str = simplejson.dumps({"do": what, **more})
    return text.encode()


def begun(root: Path) -> int:
    """Return how many messages of the order `hold` were begun; they end once the file `go` is there."""
    return len(list(root.glob("begun_*")))


def beat(desk: Desk, number: int = 0) -> int:
    """Return how many signs of life a worker process has shown."""
    return int(desk.client.hget(desk.keys.worker(f"node:stage_{number}"), "beat") or 0)


def state(desk: Desk, number: int = 0) -> str:
    """Return what a worker process says it does."""
    return (desk.client.hget(desk.keys.worker(f"node:stage_{number}"), "state") or b"").decode()
