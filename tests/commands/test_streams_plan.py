"""`streams plan`: the connections that rules need, stable over changes, and the streams that are added for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.client import Redis

from aggregator.runtime.connection import connect
from tests.commands.conftest import Site
from tests.servers import RedisServer

RECORD = "[worker_record]\nstage = record\nlistento = events\n"
POOL = "".join(f"[credential_c{n}]\nbearer_token = t{n}\npool = p\n" for n in range(3))


@pytest.fixture
def rules(site: Site, own_redis: RedisServer) -> Iterator[Redis]:
    """A client of the Redis of the rules, which nobody else uses."""
    site.head += f"[rules]\nurl = {own_redis.url}\n"
    site.configure(POOL + RECORD)
    with connect(own_redis.url) as client:
        yield client


def file_of(root: Path, follow: int = 0, track: int = 0, first: int = 0) -> str:
    """Write a file of rules, with numbers from `first` on."""
    path = root / f"rules-{first}.jsonl"
    told = [{"rule_type": "follow", "value": str(10**9 + n)} for n in range(first, first + follow)]
    told += [{"rule_type": "track", "value": f"word{n}"} for n in range(first, first + track)]
    path.write_text("".join(json.dumps(each) + "\n" for each in told))
    return str(path)


def planned(site: Site, *words: str) -> Any:
    return site.run("streams", "plan", *words, "--json").json()


def by_set(plan: Any, field: str) -> dict[str, Any]:
    return {each["set"]: each[field] for each in plan["streams"]}


def test_5500_accounts_and_352_words_need_three_connections(site: Site, rules: Redis, tmp_path: Path) -> None:
    plan = planned(site, "--rules", file_of(tmp_path, 5500, 352))

    assert plan["connections"] == {"track": 1, "follow": 2, "locations": 0}
    assert by_set(plan, "asks_for") == {"follow:0": 5000, "follow:1": 500, "track:0": 352}
    assert plan["credentials"] == {"needed": 3, "available": 3, "missing": 0}
    assert rules.keys("traptor-*") == []


def test_the_plan_is_the_same_once_the_rules_are_there(site: Site, rules: Redis, tmp_path: Path) -> None:
    file = file_of(tmp_path, 5500, 352)
    before = planned(site, "--rules", file)

    site.run("rules", "import", file)

    assert planned(site) == before == planned(site, "--rules", file)
    assert "connections: 3 (2 follow + 1 track); credentials: 3, missing: 0" in site.run("streams", "plan").lines


def test_what_is_planned_is_imported_and_added(site: Site, rules: Redis, tmp_path: Path) -> None:
    applied = site.run("streams", "plan", "--rules", file_of(tmp_path, 5500, 352), "--apply", "--why", "asked for")

    assert applied.code == 0, applied.err
    assert len(rules.keys("traptor-follow:1:*")) == 500
    assert (
        (site.root / "loglines.cfg")
        .read_text()
        .endswith(
            "\n[stream_track_0]\ntype = twitter_v1\nendpoint = filter\nrules = track:0\npushto = events\npool = p\n"
        )
    )
    linked = sorted(path.stem for path in (site.root / "workers_enabled").glob("stream_*"))
    assert linked == ["stream_follow_0", "stream_follow_1", "stream_track_0"]
    assert set(by_set(planned(site), "state").values()) == {"there"}


def test_a_further_rule_moves_no_other_and_needs_no_other_section(site: Site, rules: Redis, tmp_path: Path) -> None:
    site.run("streams", "plan", "--rules", file_of(tmp_path, 5500, 352), "--apply")
    text = (site.root / "loglines.cfg").read_text()
    before = {key: rules.hgetall(key) for key in rules.keys("traptor-*")}

    applied = site.run("streams", "plan", "--rules", file_of(tmp_path, 1, 1, first=9000), "--apply")

    assert applied.code == 0
    assert {key: rules.hgetall(key) for key in before} == before
    assert len(rules.keys("traptor-*")) == len(before) + 2
    assert (site.root / "loglines.cfg").read_text() == text


def test_a_rule_that_goes_leaves_room_and_moves_no_other(site: Site, rules: Redis, tmp_path: Path) -> None:
    site.run("rules", "import", file_of(tmp_path, track=410))
    site.run("rules", "remove", "track:0", "0", "1")

    plan = planned(site, "--rules", file_of(tmp_path, track=1, first=9000))

    assert by_set(plan, "asks_for") == {"track:0": 399, "track:1": 10}


def test_a_section_that_captures_a_set_is_kept_whatever_its_name(site: Site, rules: Redis, tmp_path: Path) -> None:
    own = "[stream_mine]\ntype = twitter_v1\nendpoint = filter\nrules = track:0\npushto = others\npool = p\n"
    other = "[worker_others]\nstage = record\nlistento = others\n"
    site.configure(POOL + RECORD + own + other)
    site.run("rules", "import", file_of(tmp_path, follow=1, track=1))

    assert by_set(planned(site), "stream") == {"track:0": "mine", "follow:0": "follow_0"}
    assert site.run("streams", "plan", "--apply").code == 0
    # where the other stream sends to
    assert (
        "[stream_follow_0]\ntype = twitter_v1\nendpoint = filter\nrules = follow:0\npushto = others\n"
        in (site.root / "loglines.cfg").read_text()
    )


def test_rules_that_a_full_set_has_no_room_for_need_a_connection(site: Site, rules: Redis, tmp_path: Path) -> None:
    site.run("rules", "import", file_of(tmp_path, track=450), "--into", "track:0")

    ran = site.run("streams", "plan")

    assert by_set(planned(site), "asks_for") == {"track:0": 400, "track:1": 50}
    assert "track:1: 50 rules of other sets of track, which are full, have room here only" in ran.err


def test_credentials_without_a_pool_are_given_one_by_one_and_missing_ones_make_drafts(
    site: Site, rules: Redis, tmp_path: Path
) -> None:
    site.configure("[credential_only]\nbearer_token = t\n" + RECORD)
    file = file_of(tmp_path, 5001)

    assert planned(site, "--rules", file)["credentials"] == {"needed": 2, "available": 1, "missing": 1}
    applied = site.run("streams", "plan", "--rules", file, "--apply")

    assert applied.code == 1
    assert "credentials missing for twitter_v1: 1" in applied.err
    text = (site.root / "loglines.cfg").read_text()
    assert "rules = follow:0\npushto = events\ncredential = only\n" in text
    assert "rules = follow:1\npushto = events\nenabled = no\n" in text


def test_a_pool_that_others_use_too_is_short(site: Site, rules: Redis, tmp_path: Path) -> None:
    others = "".join(
        f"[stream_o{n}]\ntype = twitter_v1\nendpoint = sample\npushto = events\npool = p\n" for n in range(2)
    )
    site.configure(POOL + RECORD + others)

    plan = planned(site, "--rules", file_of(tmp_path, 5500))

    assert plan["credentials"] == {"needed": 2, "available": 1, "missing": 1}


def test_nothing_is_changed_where_it_is_not_clear_what_is_wanted(site: Site, rules: Redis, tmp_path: Path) -> None:
    file = file_of(tmp_path, 1)
    site.configure(POOL + POOL.replace("_c", "_d").replace("pool = p", "pool = q") + RECORD)
    ran = site.run("streams", "plan", "--rules", file, "--apply")
    assert (ran.code, rules.keys("traptor-*")) == (2, [])
    assert "there are several pools of credentials, p, q; say --pool NAME" in ran.err

    site.configure(POOL + RECORD + RECORD.replace("record]", "two]").replace("events", "others"))
    ran = site.run("streams", "plan", "--rules", file, "--apply")
    assert (ran.code, rules.keys("traptor-*")) == (2, [])
    assert "where are the new streams to send to? Say --pushto QUEUE" in ran.err


def test_without_redis_a_file_can_be_planned_for_and_not_applied(
    site: Site, rules: Redis, own_redis: RedisServer, tmp_path: Path
) -> None:
    own_redis.kill()
    file = file_of(tmp_path, 5500, 352)

    ran = site.run("streams", "plan", "--rules", file)

    assert (ran.code, "connections: 3 (2 follow + 1 track); credentials: 3, missing: 0" in ran.lines) == (0, True)
    assert "this is the plan for" in ran.err
    assert site.run("streams", "plan", "--rules", file, "--apply").code == 1
    assert site.run("streams", "plan").code == 1


def test_rules_of_x_are_no_matter_of_this_plan(site: Site, rules: Redis, tmp_path: Path) -> None:
    site.run("rules", "add", "x:0", "cats has:images")
    site.run("rules", "import", file_of(tmp_path, track=1))
    file = tmp_path / "x.jsonl"
    file.write_text('{"rule_type": "x", "value": "dogs"}\n')

    assert by_set(planned(site), "asks_for") == {"track:0": 1}
    ran = site.run("streams", "plan", "--rules", str(file))
    assert (ran.code, "rules of x:0 are not of twitter_v1" in ran.err) == (2, True)
