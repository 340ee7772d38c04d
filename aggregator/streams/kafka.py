"""The stage `kafka`: events go on to a Kafka cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Any

from aggregator.config.settings import Bounds, Doc, Duration, OptionType, Template
from aggregator.errors import Reject
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Failed, Outcome, Settled, Stage
from aggregator.runtime.message import Message
from aggregator.streams import kafkaclient
from aggregator.streams.kafkarecord import Shaping

if TYPE_CHECKING:
    from confluent_kafka import Producer

_FIXED_PART = re.compile(r"[A-Za-z0-9._-]*")


def _parse_key(text: str) -> str:
    key = text.strip()
    if not re.fullmatch(r"[^\s.{}%]+(\.[^\s.{}%]+)*", key):
        raise ValueError
    return "" if key == "none" else key


class Kafka(Stage):
    """Produce each message to a Kafka topic, in the order of its queue.

    In: events, `{"kind": "event", "stream": …, "event": …}`, whose `event` becomes the value as it stands; any other
    JSON object is the value as a whole.
    Out: nothing.
    Effect: a record in `topic` with the headers `stream`, `rules` and `node`; at least once: what one worker had in
    flight when it was killed can come again, in order.
    Errors: what the cluster refuses for good (too large, no such topic where `topic` has fields) is set aside; while
    the cluster is away, or takes nothing, the batch in hand is held and no other taken.
    Source: librdkafka's INTRODUCTION.md, "Idempotent Producer"; docs/streams.md.
    """

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        brokers: kafkaclient.Brokers
        topic: Annotated[Template, Doc("the topic; {stream}, {type} or {id} stand for these fields of the message")]
        key: Annotated[
            str,
            OptionType("key", _parse_key, "none, stream, rule, id, or a path into the event such as user.id_str"),
            Doc("what keeps records together, and so in order: none, stream, rule, id, or a path into the event"),
        ] = ""
        timeout: Annotated[
            Duration, Doc("how long to wait for delivery reports until the cluster counts as away"), Bounds(0.1, 600)
        ] = 10.0
        tls: kafkaclient.Tls = False
        ca_file: kafkaclient.CaFile | None = None
        client_cert: kafkaclient.ClientCert | None = None
        client_key: kafkaclient.ClientKey | None = None
        username: kafkaclient.Username | None = None
        password: kafkaclient.Password | None = None
        mechanism: kafkaclient.Mechanism = "PLAIN"
        options: kafkaclient.Options = ()

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._shaping = Shaping(settings.topic, settings.key, context.node)

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Check the fixed part of the topic, and the options of the connection."""
        if any(not _FIXED_PART.fullmatch(part) for part, *_ in Formatter().parse(settings.topic)):
            yield "topic", "no name of a topic; allowed: letters, digits, _ . - and {field}"
        yield from kafkaclient.faults_of(settings, kafkaclient.PRODUCER_FIXED)

    def start(self) -> None:
        """Make the producer. Raises ConfigError when confluent-kafka is missing, or librdkafka refuses the options."""
        kafkaclient.require_library(self.context.section)
        # imported here, as commands that only look at the configuration need no librdkafka
        from aggregator.streams.kafkadelivery import Deliveries

        varies = any(field is not None for _, field, *_ in Formatter().parse(self.settings.topic))
        self.context.note("brokers", ", ".join(self.settings.brokers))
        self._deliveries = Deliveries(self._producer, self.context, self.settings.timeout, topics_vary=varies)

    def _producer(self, options: Mapping[str, Any]) -> Producer:
        from confluent_kafka import KafkaException, Producer

        try:
            fixed = {**kafkaclient.PRODUCER, **options}
            return Producer(kafkaclient.configuration(self.settings, self.context, fixed, kafkaclient.PRODUCER_USUAL))
        except (KafkaException, TypeError, ValueError) as error:
            raise kafkaclient.refused(self.context.section, error) from error

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Send one message; `settle` learns what became of it."""
        record = self._shaping.record(message.raw)
        self._deliveries.add(message, record)
        if record.key is None and self.settings.key:
            self.context.count("no_key")
        return iter(())

    def settle(self, now: float) -> Iterator[Settled]:
        """Wait for the delivery report of each message; yield those that the cluster refused."""
        for message, reason in self._deliveries.settle():
            yield Failed(message, Reject(reason))

    def idle(self, now: float) -> Iterator[Settled]:
        """Look whether a cluster that was away is back."""
        self._deliveries.look()
        return iter(())

    def stop(self) -> None:
        """Close the producer; what it did not report goes back to the queue, and is not sent behind our back."""
        self._deliveries.close()
