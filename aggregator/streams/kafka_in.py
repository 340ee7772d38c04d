"""The source `kafka_in`: records of a Kafka cluster become messages."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from typing import TYPE_CHECKING, Annotated, Any

from aggregator.config.hints import shorten
from aggregator.config.settings import Bounds, Doc, Duration, OptionType, SafeName, TargetQueue, choice, parse_words
from aggregator.config.traits import Traits
from aggregator.errors import Unavailable
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Cursor, Drop, Lease, Send, Source, SourceOutcome, SourceSettings
from aggregator.runtime.inflow import Inflow
from aggregator.streams import kafkaclient
from aggregator.streams.kafkarecord import Wrapping
from aggregator.streams.messages import check_stream

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from aggregator.streams.kafkareader import Fetched, Place, Reader


def _parse_topics(text: str) -> tuple[str, ...]:
    topics = parse_words(text)
    for topic in topics:
        if not re.fullmatch(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}", topic):
            raise ValueError(f"no topic: {shorten(topic)}")
    if not topics or len(set(topics)) < len(topics):
        raise ValueError
    return topics


def _parse_stream(text: str) -> str:
    check_stream(text.strip())
    return text.strip()


class KafkaIn(Source):
    """Bring in the records of Kafka topics, as one member of a consumer group.

    In: records of `topics`; what a value is decides what becomes of it.
    Out: on `pushto`, in the order of each partition: a message that is an event or a gap goes on unchanged; any other
    JSON becomes an event, `{"kind": "event", "stream": …, "received_ms": …, "event": …, "id": KEY}`; what is no JSON
    becomes an event with `text`.
    Effect: none on the topics; the position is committed with the messages, exactly once for all processes that share
    a Redis; the group learns it afterwards.
    Errors: a cluster that is away is waited for; records that the cluster deleted before they were read are counted
    and reported; a record without a value is dropped (reason `tombstone`).
    Source: librdkafka's INTRODUCTION.md, "Consumer groups"; docs/streams.md.
    """

    traits = Traits()

    class Settings(SourceSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        brokers: kafkaclient.Brokers
        topics: Annotated[
            tuple[str, ...],
            OptionType("topics", _parse_topics, "names of topics with commas between them, each of them once"),
            Doc("the topics to read"),
        ]
        pushto: Annotated[TargetQueue, Doc("the queue that gets the messages")]
        group: (
            Annotated[
                SafeName,
                Doc("the consumer group; processes of one group share the partitions; none = node and section"),
            ]
            | None
        ) = None
        stream: Annotated[
            str,
            OptionType("stream", _parse_stream, "letters, digits, _ . - (at most 60)"),
            Doc("the stream of events; none = as the record's header `stream` says, or else after the topic"),
        ] = ""
        unwrapped: Annotated[
            str,
            choice("event", "unchanged"),
            Doc("what becomes of a JSON object that is no message of a stream: an event, or unchanged a message"),
        ] = "event"
        from_: Annotated[
            str, choice("start", "end"), Doc("where to begin in a partition that neither we nor the group have read")
        ] = "start"
        idletime: Annotated[Duration, Doc("the pause when there was nothing"), Bounds(0.01)] = 0.05
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
        self._wrapping = Wrapping(settings.stream, settings.unwrapped == "unchanged")
        self._yielded: dict[Place, tuple[int, int]] = {}
        """The positions of this poll, which the next commit makes true."""
        self._runs: deque[list[Fetched]] = deque()
        """What was taken and not yielded yet; each list is of one lease."""
        self._void = -1
        """What was read up to this generation took no effect, and is read again."""

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Check the options of the connection."""
        yield from kafkaclient.faults_of(settings, kafkaclient.CONSUMER_FIXED)

    def start(self) -> None:
        """Join the group. Raises ConfigError when confluent-kafka is missing, or librdkafka refuses the options."""
        kafkaclient.require_library(self.context.section)
        self.context.note("brokers", ", ".join(self.settings.brokers))
        self._join(0)

    def _join(self, generation: int) -> None:
        # imported here, as commands that only look at the configuration need no librdkafka
        from aggregator.streams.kafkareader import Reader

        group = self.settings.group or f"aggregator-{self.context.node}-{self.context.section}"
        self._reader: Reader = Reader(
            self._consumer, self.settings.topics, group, self.context, generation, from_end=self.settings.from_ == "end"
        )
        self._inflow: Inflow[Fetched] = Inflow(self._reader.read, self.context)
        self._inflow.start()

    def _consumer(self, options: Mapping[str, Any]) -> Consumer:
        from confluent_kafka import Consumer, KafkaException

        fixed = {**kafkaclient.CONSUMER, **options}
        try:
            return Consumer(kafkaclient.configuration(self.settings, self.context, fixed, kafkaclient.CONSUMER_USUAL))
        except (KafkaException, TypeError, ValueError) as error:
            raise kafkaclient.refused(self.context.section, error) from error

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        """Yield the messages of the records that were read, partition by partition, each with its position."""
        self._yielded.clear()
        try:
            taken = [] if self._runs else self._inflow.take(self.settings.batch)
        except Unavailable:
            self._inflow.stop()
            self._join(self._reader.generation + 1)
            raise
        runs: dict[Lease, list[Fetched]] = {}
        for fetched in taken:
            runs.setdefault(fetched.lease, []).append(fetched)
        self._runs.extend(runs.values())
        while self._runs:
            yield from self._bring(self._runs[0], int(now * 1000))

    def _bring(self, records: list[Fetched], received_ms: int) -> Iterator[SourceOutcome]:
        """Yield the messages of records that one lease covers, and their position."""
        last = records[-1]
        if last.generation != self._reader.generation or last.generation <= self._void:
            self._runs.popleft()  # given up meanwhile: whoever reads the partition begins at its position
            return
        for fetched in records:
            if fetched.record is not None:
                yield self._outcome(fetched.place[0], fetched.record, received_ms)
        # order: done with these before the position is yielded, where the worker may leave off
        self._runs.popleft()
        self._yielded[last.place] = last.generation, last.next
        yield Cursor(kafkaclient.NEXT, str(last.next), last.lease)

    def _outcome(self, topic: str, record: Any, received_ms: int) -> Send | Drop:
        value = record.value()
        if value is None:
            return Drop("tombstone")
        headers = {name: told or b"" for name, told in record.headers() or ()}
        return Send(self.settings.pushto, self._wrapping.message(topic, record.key(), value, headers, received_ms))

    def committed(self) -> None:
        """Let the group learn what is committed; it learns it later when this process is killed before."""
        self._reader.done.update(self._yielded)

    def lost(self, lease: Lease) -> None:
        """Read everything again from its position, as what was polled since the last commit took no effect."""
        # order: first that nothing more of it is yielded here, or records would be passed over
        self._void = self._reader.generation
        self._reader.begin_anew.set()

    def stop(self) -> None:
        """Leave the group, and tell it how far we came."""
        self._inflow.stop()
