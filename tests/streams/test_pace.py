"""How many events a stream brings a second."""

from __future__ import annotations

from aggregator.runtime.kinds import encode
from aggregator.streams.messages import Connection, Event, Gap
from aggregator.streams.pace import BEGINNING, Pace


def test_the_pace_is_that_of_the_last_minute() -> None:
    pace = Pace()
    pace.per_second(1000.0)
    for second in range(1000, 1120):
        pace.add(float(second), 3)
        pace.add(second + 0.5, 1)

    assert pace.per_second(1119.9) == 4.0
    assert pace.per_second(1149.9) == 2.0
    assert pace.per_second(1300.0) == 0.0


def test_a_stream_that_has_just_begun_is_measured_over_its_own_time() -> None:
    pace = Pace()
    pace.per_second(1000.0)
    pace.add(1001.0, 20)

    assert pace.per_second(1002.0) == 10.0


def test_events_are_told_from_other_messages_by_their_beginning() -> None:
    event = Event(stream="a", received_ms=1)
    gap = Gap(stream="a", from_ms=1, to_ms=2, cause="stall")
    connection = Connection(stream="a", at_ms=1, type="sse", url="http://x/")

    assert [encode(each).startswith(BEGINNING) for each in (event, gap, connection)] == [True, False, False]
