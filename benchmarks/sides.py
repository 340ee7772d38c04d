"""The two sides of a hand-off, as programs: our own worker with a small stage, and a bare loop of redis-py.

`python -m benchmarks.sides ours|bare CASE URL N BATCH` takes N messages from the queue `from` and answers with the
seconds from the first claim to the last commit.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import redis
import simplejson

from aggregator.config.settings import Doc, Integer
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Drop, Outcome, Send, Settled, Stage
from aggregator.runtime.message import Message
from aggregator.runtime.process import make_worker
from benchmarks.rig import KEYS, NAMESPACE

UNBOUNDED = 10**9
TARGETS = {"fan-out": ("to", "to2"), "no-op": ()}
"""The queues that a case hands over to, for cases that do not have one target queue."""


class Hand(Stage):
    """Hand messages over as they are, and ask to be stopped after the last message."""

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """The options of a side: the number of messages, and the case."""

        total: Annotated[Integer, Doc("how many messages there are")]
        case: str

    def start(self) -> None:
        """Start the clock: the worker has connected and registered by now, as the bare loop has."""
        self.targets = TARGETS.get(self.settings.case, ("to",))
        self.left: int = self.settings.total
        self.began = time.perf_counter()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Send the message on."""
        self.left -= 1
        for target in self.targets:
            yield Send(target, message.raw)

    def settle(self, now: float) -> Iterator[Settled]:
        """Send the worker SIGTERM after the last message, as supervisord would; it then ends after the next commit."""
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return iter(())


class HandNew(Hand):
    """Hand over bytes that Redis does not have yet."""

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Send the message with another byte."""
        self.left -= 1
        yield Send("to", renewed(message.raw))


class HandDecoded(Hand):
    """Decode each message, and encode it again."""

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Send the decoded body."""
        self.left -= 1
        yield Send("to", message.body)


class NoOp(Hand):
    """Decode each message and be done with it, as the job libraries do with a job that does nothing."""

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Drop the message."""
        self.left -= 1
        _ = message.body
        yield Drop("done")


STAGES: dict[str, type[Hand]] = {"new bytes": HandNew, "decoded": HandDecoded, "no-op": NoOp}


def renewed(raw: bytes) -> bytes:
    """Return the message in bytes that Redis does not have."""
    return raw[:-1] + b" }"


def recoded(raw: bytes) -> bytes:
    """Decode and encode a message as our runtime does."""
    text: str = simplejson.dumps(simplejson.loads(raw), separators=(",", ":"))
    return text.encode("ascii")


def ours(case: str, url: str, total: int, batch: int) -> float:
    """Run the real worker. Returns seconds."""
    stage_class = STAGES.get(case, Hand)
    settings = stage_class.Settings(listento="from", batch=batch, total=total, case=case)
    context = Context(section="hand", number=0, node="bench", root=Path())
    limits = dict.fromkeys(TARGETS.get(case, ("to",)), UNBOUNDED)
    worker = make_worker(stage_class, settings, context, url=url, namespace=NAMESPACE, limits=limits)
    stage = worker.component
    assert isinstance(stage, Hand)
    worker.run()
    return time.perf_counter() - stage.began


TAKE = """
local taken = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
if #taken > 0 then
  redis.call('RPUSH', KEYS[2], unpack(taken))
  redis.call('LTRIM', KEYS[1], #taken, -1)
end
return taken
"""


def bare(case: str, url: str, total: int, batch: int) -> float:
    """Take with a script and hand over in a MULTI: crash-safe, but no fence, books, retries, bounds or waiting."""
    client = redis.Redis.from_url(url)
    change: Callable[[bytes], bytes] | None = {"new bytes": renewed, "decoded": recoded}.get(case)
    targets = [KEYS.queue(name) for name in TARGETS.get(case, ("to",))]
    source, held = KEYS.queue("from"), KEYS.held("bare")
    take = client.register_script(TAKE)
    take(keys=[held, source], args=[0])
    began = time.perf_counter()
    while taken := take(keys=[source, held], args=[batch]):
        bodies = [change(raw) for raw in taken] if change else taken
        pipeline = client.pipeline(transaction=True)
        for target in targets:
            pipeline.rpush(target, *bodies)
        pipeline.ltrim(held, len(taken), -1)
        pipeline.execute()
    return time.perf_counter() - began


def main(side: str, case: str, url: str, total: str, batch: str) -> None:
    """Run one side, and print its seconds as JSON."""
    seconds = {"ours": ours, "bare": bare}[side](case, url, int(total), int(batch))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
