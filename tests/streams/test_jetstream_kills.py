"""A pipeline from Jetstream into files while everything is killed: what the server sends again is removed by key."""

from __future__ import annotations

import pytest

from tests.instance import Instance
from tests.servers import wait_until
from tests.streams.test_kills import CONFIGURATION, balanced, gaps, kill_round, numbers
from tests.streams.websockets import Publisher


def check(rounds: int) -> None:
    with Publisher() as publisher:
        configuration = CONFIGURATION.replace("TYPE", "jetstream").replace("URL", publisher.url)
        with Instance(configuration) as instance:
            instance.start()
            wait_until(lambda: sum(numbers(instance.root).values()) > 50, 60, "events flow")
            first = min(numbers(instance.root))
            for _ in range(rounds):
                kill_round(instance, publisher)  # type: ignore[arg-type]
            publisher.stop_publishing()
            last = len(publisher.published) - 1
            wait_until(lambda: last in numbers(instance.root), 60, f"the last event {last} is on the disk")
            wait_until(lambda: balanced(instance), 60, "the books balance")
            found = numbers(instance.root)

            assert [n for n in range(first, last + 1) if found[n] != 1] == []
            assert gaps(instance.root) == [] and not publisher.refused


@pytest.mark.timeout(300)
def test_each_event_is_on_the_disk_once_whatever_is_killed() -> None:
    check(5)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_hundred_rounds() -> None:
    check(100)
