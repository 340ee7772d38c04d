"""Read the partitions that a consumer group gives us, each from where our queues have it, and only while it is ours.

A partition is fenced by a lease: the positions of its records belong to the lease, and are committed in the step in
which the records enter the queue. So of two processes that both believe to have a partition, only one brings anything
in, and whoever takes it over begins exactly behind that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from aggregator.errors import Unavailable
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Lease
from aggregator.runtime.inflow import Inflow
from aggregator.streams.kafkaclient import NEXT, text_of

LEASE_S = 10.0
"""How long a partition stays a silent process's own."""
LOOK_S = 0.25
"""How often to look whether a partition that we may read is free of its former reader."""
CHECK_S = 2.0
"""How often to look whether a cluster that was away is back."""
COMMIT_S = 1.0
"""How often the group learns our positions."""
ROOM_S = 1.0
"""How long to wait for room before the partitions are paused; to pause them throws away what was read ahead."""
POLL_S = 0.1
_ADVICE = "See whether the brokers run, and whether this group may read the topics; reading goes on by itself."
Place: TypeAlias = tuple[str, int]
"""A topic and the number of a partition."""


class Fetched(NamedTuple):
    """A record, or only the position of a partition when `record` is None; `next` is the offset behind it."""

    generation: int
    lease: Lease
    place: Place
    next: int
    record: Message | None


class _Owned:
    """A partition that we read: its lease, and the offset of the next record."""

    def __init__(self, lease: Lease, next_offset: int) -> None:
        self.lease = lease
        self.next = next_offset


class Reader:
    """The consumer, and the partitions it reads. All but `done` and `begin_anew` is the reader thread's own.

    The consumer above all: while one thread polls it, an `assign` of another makes it hang (librdkafka 2.16).
    `make` returns a consumer with the options given, beside the section's own.
    """

    def __init__(
        self,
        make: Callable[[Mapping[str, Any]], Consumer],
        topics: Iterable[str],
        group: str,
        context: Context,
        generation: int,
        *,
        from_end: bool,
    ) -> None:
        self._topics = list(topics)
        self._group = group
        self._context = context
        self._from_end = from_end
        self._consumer = make({"group.id": group, "error_cb": self._on_error})
        self.generation = generation
        """Grows whenever partitions are given up: what was read before may be another's, and is not brought in."""
        self.done: dict[Place, tuple[int, int]] = {}
        """By partition: the generation and the position that are committed in Redis; the source writes it."""
        self.begin_anew = threading.Event()
        """Set when a lease was lost: all partitions are read again from their positions."""
        self._pool = ""
        self._wanted: list[Place] = []
        """The partitions that the group gave us."""
        self._owned: dict[Place, _Owned] = {}
        self._to_give: list[Lease] = []
        """Leases that could not be given back while Redis was away."""
        self._kept: deque[Fetched] = deque()
        """The records that had no room."""
        self._paused = False
        self._told: dict[Place, int] = {}
        """The positions that the group knows from us."""
        self._look_at = self._check_at = self._commit_at = 0.0
        self._trouble = ""

    def read(self, inflow: Inflow[Fetched]) -> None:
        """Read until the inflow stops. Raises Unavailable when the consumer has stopped for good."""
        try:
            if self._meets_cluster(inflow.stopping):
                self._consumer.subscribe(
                    self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                )
            while not inflow.stopping.is_set():
                self._turn(inflow)
        except KafkaException as error:
            raise Unavailable(f"Kafka: {text_of(error.args[0])}") from error
        finally:
            self._wanted = []
            self._release(commits=not self._trouble)
            self._consumer.close()

    def _meets_cluster(self, stopping: threading.Event) -> bool:
        """Wait for the cluster, whose id is part of what our positions are about. Returns False when told to stop."""
        while not stopping.is_set():
            try:
                cluster = self._consumer.list_topics(timeout=CHECK_S).cluster_id or ""
            except KafkaException as error:
                self._report(self._trouble or text_of(error.args[0]))
                self._consumer.poll(POLL_S)
            else:
                self._back()
                self._pool = f"kafka {cluster} {self._group}".replace(":", "_")
                return True
        return False

    def _turn(self, inflow: Inflow[Fetched]) -> None:
        if self.begin_anew.is_set():
            self.begin_anew.clear()
            self._release(commits=True)
            self._consumer.assign([])
        now = time.monotonic()
        if now >= self._look_at and (self._to_give or len(self._owned) < len(self._wanted)):
            self._look_at = now + LOOK_S
            self._take_partitions()
        if self._trouble and now >= self._check_at:
            self._check_at = now + CHECK_S
            self._check()
        if now >= self._commit_at:
            self._commit_at = now + COMMIT_S
            self._tell_group()
        if not self._hand_over(inflow):
            self._pause()
        record = self._consumer.poll(POLL_S)
        if record is None:
            return
        error = record.error()
        if error is None:
            self._fetched(inflow, record)
        else:
            self._failed(record, error)

    # Records

    def _fetched(self, inflow: Inflow[Fetched], record: Message) -> None:
        place, offset = _place_of(record), record.offset()
        owned = self._owned.get(place)
        if owned is None or offset is None:
            return
        owned.next = offset + 1
        self._kept.append(Fetched(self.generation, owned.lease, place, offset + 1, record))
        self._hand_over(inflow)

    def _hand_over(self, inflow: Inflow[Fetched]) -> bool:
        """Hand over what was read. Returns False when there is no room for a while; the rest is kept."""
        till = time.monotonic() + (0.0 if self._paused else ROOM_S)
        while self._kept:
            record = self._kept[0].record
            if inflow.offer(self._kept[0], 200 + (len(record) if record is not None else 0)):
                self._kept.popleft()
            elif time.monotonic() >= till or inflow.stopping.wait(POLL_S / 10):
                return False
        if self._paused:
            self._paused = False
            self._consumer.resume(self._positions())
        return True

    def _pause(self) -> None:
        """Read nothing for now, and stay a member of the group, which throws out whoever does not poll."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._positions())

    def _failed(self, record: Message, error: KafkaError) -> None:
        place = _place_of(record)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and place in self._owned:
            self._find_start(place)
        else:
            self._context.report("kafka_refused", text_of(error), _ADVICE, about=place[0])

    def _find_start(self, place: Place) -> None:
        """Go on where a partition begins, because the cluster has no record where we were."""
        owned, about = self._owned[place], f"{place[0]}/{place[1]}"
        low, high = self._watermarks(place)
        if owned.next < low:
            text = f"{low - owned.next} records were deleted by the cluster before they were read"
            self._context.count("lost", low - owned.next)
        elif owned.next > high:
            text = f"the partition ends at {high} and was read up to {owned.next}: it is new, and read from its start"
            self._context.count("began_anew")
        else:
            low, text = owned.next, ""
        if text:
            advice = "Let the topic keep records for longer than this section may be down; then acknowledge."
            self._context.report("kafka_lost", text, advice, about=about, level="error", lasting=True)
        owned.next = low
        self._assign()

    # Partitions

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._wanted = [(each.topic, each.partition) for each in partitions]
        self._look_at = 0.0
        # each is read once we have its lease
        consumer.assign([])
        for topic in self._topics:
            self._context.withdraw("kafka_refused", topic)
        self._context.note("partitions", str(len(partitions)))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._wanted = []
        self._release(commits=True)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._wanted = []
        self._release(commits=False)

    def _take_partitions(self) -> None:
        """Take the leases that are free, and read their partitions from where our queues have them."""
        try:
            self._give()
            places = {_name_of(place): place for place in self._wanted if place not in self._owned}
            taken = self._context.leases.take(self._pool, list(places), LEASE_S)
            self._to_give += taken  # until we know where to begin
            for lease in taken:
                place = places[lease.name]
                begin = self._begin_at(lease, place)
                self._owned[place] = _Owned(lease, begin)
                self._to_give.remove(lease)
                if self._from_end and begin >= 0:
                    # order: the position first, or a restart before the first record would begin at a later end
                    self._kept.append(Fetched(self.generation, lease, place, begin, None))
            self._assign()
        except Unavailable as error:
            self._context.log.warning("partitions_wait reason=%s", error)
        except KafkaException as error:
            self._report(text_of(error.args[0]))

    def _begin_at(self, lease: Lease, place: Place) -> int:
        """Return the offset to begin at: our position, unless another state of Redis has brought in more."""
        [known] = self._consumer.committed([TopicPartition(*place)], timeout=5.0)
        if known.error is not None:
            raise KafkaException(known.error)
        stored = self._context.leases.cursors(lease).get(NEXT)
        if stored is not None:
            # who reads for another Redis shares the work; what the group has from this Redis is older than the cursor,
            # or newer when Redis came back older than it was: then the records between are brought in again
            ours = known.metadata == self._context.state_id
            return int(stored) if ours else max(int(stored), known.offset)
        if known.offset >= 0:
            return int(known.offset)
        return self._watermarks(place)[1] if self._from_end else OFFSET_BEGINNING

    def _assign(self) -> None:
        positions = self._positions()
        self._consumer.assign(positions)
        if self._paused and positions:
            self._consumer.pause(positions)

    def _positions(self) -> list[TopicPartition]:
        return [TopicPartition(*place, owned.next) for place, owned in self._owned.items()]

    def _watermarks(self, place: Place) -> tuple[int, int]:
        """Return the first offset there is, and the next there will be. Raises KafkaException when it is not told."""
        found = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=5.0)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return found

    def _release(self, *, commits: bool) -> None:
        """Give all partitions up. With `commits` the group learns exactly how far we came."""
        self.generation += 1
        self._kept.clear()
        self._paused = False
        owned, self._owned = self._owned, {}
        self._told.clear()
        self._to_give += [each.lease for each in owned.values()]
        try:
            # order: give the leases, so that nothing more comes in by them, then read how far we came
            self._give()
            if commits:
                cursors = {place: self._context.leases.cursors(each.lease).get(NEXT) for place, each in owned.items()}
                self._commit({place: int(text) for place, text in cursors.items() if text}, waits=True)
        except Unavailable as error:
            self._context.log.warning("partitions_kept reason=%s", error)

    def _give(self) -> None:
        if self._to_give:
            self._context.leases.give(*self._to_give)
            self._to_give.clear()

    # The group's own offsets

    def _tell_group(self) -> None:
        done = {
            place: offset for place, (generation, offset) in dict(self.done).items() if generation == self.generation
        }
        news = {place: offset for place, offset in done.items() if self._told.get(place) != offset}
        self._commit(news, waits=False)
        self._told |= news

    def _commit(self, offsets: Mapping[Place, int], *, waits: bool) -> None:
        """Tell the group. When that fails our positions still hold, and the group learns them later."""
        if not offsets:
            return
        state = self._context.state_id
        told = [TopicPartition(*place, offset, metadata=state) for place, offset in offsets.items()]
        try:
            if waits:
                self._consumer.commit(offsets=told, asynchronous=False)
            else:
                self._consumer.commit(offsets=told, asynchronous=True)
        except KafkaException as error:
            self._context.log.info("group_not_told reason=%s", text_of(error.args[0]))

    # What is shown

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = text_of(error)
        self._context.note("librdkafka", self._trouble)

    def _check(self) -> None:
        try:
            self._consumer.list_topics(timeout=1.0)
        except KafkaException:
            self._report(self._trouble)
        else:
            self._back()

    def _report(self, reason: str) -> None:
        self._trouble = self._trouble or reason
        self._context.report("kafka_away", reason, _ADVICE)

    def _back(self) -> None:
        self._trouble = ""
        self._context.withdraw("kafka_away")


def _place_of(record: Message) -> Place:
    topic, partition = record.topic(), record.partition()
    return topic or "", -1 if partition is None else partition


def _name_of(place: Place) -> str:
    return f"{place[0]}/{place[1]}"
