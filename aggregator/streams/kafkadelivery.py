"""Deliver a batch of records in order, and know of each what became of it.

Records are produced together. The producer stops at the first that fails for good ("gap-less guarantee", with one
request under way at a time), so nothing that was behind it is delivered. Then what is undelivered is sent one record
at a time, which also tells a record that the broker refuses from those that only shared its request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from aggregator.errors import Reject, Unavailable
from aggregator.runtime.context import Context
from aggregator.runtime.message import Message
from aggregator.streams.kafkaclient import text_of
from aggregator.streams.kafkarecord import Record

SLICE_S = 0.1
"""How often a wait looks whether the worker is to end."""
STOPPING_S = 4.0
"""How long a worker that is to end waits for reports."""
PAUSE_S = 1.0
LOOK_S = 5.0
"""How often to look whether a cluster that was away is back, while there is nothing to deliver."""
_ADVICE = "See whether the brokers run and take what is sent; what waits is held, in order, and goes on by itself."
_REFUSED = (
    "MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG", "INVALID_MSG_SIZE", "INVALID_RECORD",
    "INVALID_TIMESTAMP", "TOPIC_EXCEPTION", "_BAD_MSG",
)  # fmt: skip
"""Errors that are about the one record: to send it again cannot help."""
_NO_TOPIC = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "TOPIC_AUTHORIZATION_FAILED")
"""Errors that are about the record's topic."""


class _State(Enum):
    UNSENT = "unsent"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"


class _Delivery(msgspec.Struct):
    message: Message
    record: Record
    state: _State = _State.UNSENT
    error: str = ""
    code: str = ""


class Deliveries:
    """The records of the batch in hand, and the producer that delivers them.

    `make` returns a producer with the options given, beside the section's own. A wait ends after `timeout_s`. With
    `topics_vary` a topic that is missing is the message's own fault.
    """

    def __init__(
        self, make: Callable[[Mapping[str, Any]], Producer], context: Context, timeout_s: float, *, topics_vary: bool
    ) -> None:
        self._make = make
        self._context = context
        self._timeout_s = timeout_s
        self._final = (*_REFUSED, *_NO_TOPIC) if topics_vary else _REFUSED
        self._batch: list[_Delivery] = []
        self._under_way = 0
        self._stuck = False
        """True when a record of the batch failed: what is behind it must not overtake it."""
        self._one_by_one = self._fatal = False
        self._trouble = ""
        """The last error of librdkafka since something was delivered."""
        self._look_at = 0.0
        self._stop_by = float("inf")
        self._producer = self._open()

    def _reopen(self, *, one_by_one: bool) -> None:
        self.close()
        for delivery in self._batch:
            if delivery.state is _State.SENT:  # no report came, so nobody knows: in doubt it is sent again
                delivery.state = _State.UNSENT
        self._under_way = 0
        self._one_by_one = one_by_one
        self._producer = self._open()

    def _open(self) -> Producer:
        self._fatal = False
        # one at a time nothing can overtake, and no error needs to stop the producer
        return self._make({"enable.gapless.guarantee": not self._one_by_one, "error_cb": self._on_error})

    def add(self, message: Message, record: Record) -> None:
        """Send a record, behind all others of the batch.

        Raises Reject when it is larger than our own limit, and Unavailable, having sent nothing, when the local queue
        stays full.
        """
        self._serve(0.0)
        delivery = _Delivery(message, record)
        if not self._stuck and not self._fatal:
            self._send(delivery)
        self._batch.append(delivery)

    def settle(self) -> list[tuple[Message, str]]:
        """Wait until each record of the batch is delivered or refused. Returns those refused, with the reason.

        Raises Unavailable while that is open, to be called again; nothing is sent twice that may still be delivered.
        """
        self._wait()
        if self._stuck or self._fatal:
            if not self._one_by_one:
                self._context.count("one_by_one")
                self._context.log.warning("one_by_one records=%d reason=%s", len(self._batch), self._reason())
            if not self._one_by_one or self._fatal:
                self._reopen(one_by_one=True)
            for delivery in self._batch:
                if delivery.state in (_State.FAILED, _State.UNSENT):
                    self._deliver_alone(delivery)
            self._stuck = False
            self._reopen(one_by_one=False)
        delivered = [each for each in self._batch if each.state is _State.DELIVERED]
        if delivered:
            self._context.count("delivered", len(delivered))
            self._context.count("bytes", sum(len(each.record.value) for each in delivered))
            self._back()
        refused = [(each.message, each.error) for each in self._batch if each.state is _State.REFUSED]
        self._batch = []
        return refused

    def look(self) -> None:
        """Look whether the cluster is there, when there is nothing to deliver and it was in trouble."""
        self._serve(0.0)
        if not self._trouble or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        try:
            self._producer.list_topics(timeout=1.0)
        except KafkaException as error:
            self._report(self._trouble or text_of(error.args[0]))
        else:
            self._back()

    def close(self) -> None:
        """End the producer: what it has not sent stays with us, and what is under way is waited for a little."""
        for in_flight in (False, True):
            self._producer.purge(in_flight=in_flight)
            till = time.monotonic() + 1.0
            while self._under_way and time.monotonic() < till:
                self._serve(SLICE_S)

    # One producer

    def _send(self, delivery: _Delivery) -> None:
        def reported(error: KafkaError | None, _: object) -> None:
            self._under_way -= 1
            if error is None:
                delivery.state = _State.DELIVERED
            else:
                self._fail(delivery, error)

        record, till = delivery.record, time.monotonic() + self._timeout_s
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, headers=list(record.headers), timestamp=record.at_ms,
                    on_delivery=reported,
                )  # fmt: skip
            except BufferError:
                if time.monotonic() > till or self._is_over():
                    raise self._away("librdkafka's queue is full") from None
                self._serve(SLICE_S)
            except KafkaException as error:
                told: KafkaError = error.args[0]
                if told.name() == "MSG_SIZE_TOO_LARGE":
                    raise Reject(f"Kafka takes no such message: {text_of(told)}") from error
                self._fail(delivery, told)
                return
            else:
                delivery.state = _State.SENT
                self._under_way += 1
                return

    def _fail(self, delivery: _Delivery, error: KafkaError) -> None:
        delivery.state, delivery.code, delivery.error = _State.FAILED, error.name(), text_of(error)
        self._stuck = True

    def _wait(self) -> None:
        """Wait for all reports, or until the producer has stopped. Raises Unavailable when the time is over."""
        till = time.monotonic() + self._timeout_s
        while self._under_way and not self._fatal:
            self._serve(SLICE_S, flush=True)
            if self._under_way and not self._fatal and (time.monotonic() > till or self._is_over()):
                raise self._away(self._trouble or f"no delivery report within {self._timeout_s:g} s")

    def _is_over(self) -> bool:
        if self._context.stopping and self._stop_by == float("inf"):
            self._stop_by = time.monotonic() + STOPPING_S
        return time.monotonic() > self._stop_by

    def _reason(self) -> str:
        failed = (each.error for each in self._batch if each.state is _State.FAILED and each.error)
        return next(failed, self._trouble)

    def _deliver_alone(self, delivery: _Delivery) -> None:
        """Deliver one record. Raises Unavailable when it is not delivered, for a reason that is not its own."""
        try:
            self._send(delivery)
        except Reject as error:
            delivery.state, delivery.error = _State.REFUSED, str(error)
            return
        self._wait()
        if delivery.state is _State.DELIVERED:
            return
        if delivery.code in self._final:
            delivery.state, delivery.error = _State.REFUSED, f"Kafka takes no such message: {delivery.error}"
            return
        raise self._away(delivery.error or self._trouble)

    def _serve(self, seconds: float, *, flush: bool = False) -> None:
        """Take reports for so long; `flush` sends at once what librdkafka would keep for a moment."""
        try:
            if flush:
                self._producer.flush(seconds)
            else:
                self._producer.poll(seconds)
        except KafkaException as error:  # the producer has stopped for good
            self._on_error(error.args[0])

    # What is shown

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = text_of(error)
        self._fatal = self._fatal or error.fatal()
        self._context.note("librdkafka", self._trouble)

    def _away(self, reason: str) -> Unavailable:
        self._report(reason)
        return Unavailable(f"Kafka: {reason}", PAUSE_S)

    def _report(self, reason: str) -> None:
        self._context.report("kafka_away", reason, _ADVICE)

    def _back(self) -> None:
        self._trouble = ""
        self._context.withdraw("kafka_away")
