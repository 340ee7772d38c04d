"""What rule managers look at: the heartbeat, matches and limit notices of late."""

from __future__ import annotations

from redis.client import Redis

from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.windows import Matches, beat, note_limit

NOW = 1_700_000_000.0


def test_a_heartbeat_tells_the_time_and_ends_by_itself(redis_client: Redis, set_name: SetName) -> None:
    beat(redis_client, set_name, 20, NOW)
    assert redis_client.get(f"{set_name}:heartbeat") == b"20231114221320"
    assert 28 <= int(redis_client.ttl(f"{set_name}:heartbeat")) <= 30

    beat(redis_client, set_name, 0, NOW)
    assert int(redis_client.ttl(f"{set_name}:heartbeat")) <= 7


def test_limit_notices_stay_for_their_window(redis_client: Redis, set_name: SetName) -> None:
    for after_s, lost in ((0, 5), (100, 7), (950, 7)):
        note_limit(redis_client, set_name, lost, NOW + after_s, 900)

    found = redis_client.zrange(f"limit:{set_name}", 0, -1, withscores=True)

    assert [(member.split()[0], score) for member, score in found] == [(b"7", NOW + 100), (b"7", NOW + 950)]
    assert 890 < int(redis_client.ttl(f"limit:{set_name}")) <= 901


def test_each_match_counts_once_and_for_its_window(redis_client: Redis, set_name: SetName) -> None:
    first, second = Matches(set_name, 900), Matches(set_name, 900)

    def counts() -> list[int]:
        return [int(redis_client.zcard(f"stats:{set_name}:{rule_id}")) for rule_id in ("1", "2")]

    first.count(["1", "2"])
    first.count(["1"])
    first.write(redis_client, NOW)
    second.count(["1"])
    second.write(redis_client, NOW)
    assert counts() == [3, 1]

    first.count(["1"])
    first.write(redis_client, NOW + 600)
    first.write(redis_client, NOW + 901)  # nothing matched since, and still what is too old goes
    assert counts() == [1, 0]
