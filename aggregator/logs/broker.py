"""The stage `broker`: one queue in, the same messages on several queues out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from aggregator.config.settings import Doc, TargetQueues
from aggregator.runtime.contract import SAME, ConsumerSettings, Emits, Outcome, Send, Stage
from aggregator.runtime.message import Message


class Broker(Stage):
    """Copy each message to every queue in `fanout`, all of them or none.

    In: any JSON object.
    Out: the same bytes on each queue of `fanout`.
    Effect: none outside Redis; exactly once.
    Errors: a message that is no JSON object is set aside.
    Source: docs/logs.md.
    """

    emits: ClassVar[Emits] = {"fanout": SAME}

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        fanout: Annotated[TargetQueues, Doc("the queues that each message is copied to")]

    settings: Settings

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Send the message on unchanged."""
        _ = message.body  # raises Reject for a message that no consumer could read
        for queue in self.settings.fanout:
            yield Send(queue, message.raw)
