"""`rules sync`: X collects by the rules of a set, and everybody else's rules stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.client import Redis

from aggregator.runtime.connection import connect
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.turns import turn
from tests.commands.conftest import Site
from tests.servers import RedisServer
from tests.streams.twitterdouble import Double
from tests.streams.xproject import TOKEN, Project

CREDENTIAL = f"""
[credential_x]
bearer_token = {TOKEN.replace("%", "%%")}
[credential_old]
consumer_key = a
consumer_secret = b
access_token = c
access_token_secret = d
"""


@pytest.fixture
def rules(site: Site, own_redis: RedisServer) -> Iterator[Redis]:
    """A client of the Redis of the rules, which nobody else uses."""
    site.head += f"[rules]\nurl = {own_redis.url}\n"
    site.configure(CREDENTIAL)
    with connect(own_redis.url) as client:
        yield client


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture
def project(double: Double) -> Project:
    return double.project


def sync(double: Double, *words: str) -> tuple[str, ...]:
    return "rules", "sync", "x:0", "--credential", "x", "--url", double.v2, *words


def test_rules_are_synced_and_rules_of_others_left_alone(
    site: Site, rules: Redis, double: Double, project: Project
) -> None:
    project.put("theirs")
    site.run("rules", "add", "x:0", "cats lang:en -is:retweet", "--tag", "zoo")
    site.run("rules", "add", "x:0", "dogs")

    ran = site.run(*sync(double))

    assert (ran.code, ran.err) == (0, "")
    assert ran.lines == [
        "+ 0  cats lang:en -is:retweet",
        "+ 1  dogs",
        "x:0: 2 rules added, 0 rules removed, 0 there already",
        "1 other rule of the project left alone",
    ]
    owner = rules.get("aggregator-rules-owner")
    assert isinstance(owner, bytes)
    assert [rule.get("tag", "") for rule in project.rules.values()] == [
        "", f"aggregator:{owner.decode()}:x:0:0 zoo", f"aggregator:{owner.decode()}:x:0:1",
    ]  # fmt: skip

    site.run("rules", "remove", "x:0", "0", "1")
    assert site.run(*sync(double)).code == 0
    assert project.values() == {"theirs"}


def test_a_dry_run_tells_and_changes_nothing(site: Site, rules: Redis, double: Double, project: Project) -> None:
    site.run("rules", "add", "x:0", "cats")
    site.run("rules", "add", "x:0", '"open')

    ran = site.run(*sync(double, "--dry-run"))

    assert ran.code == 1 and project.rules == {}
    assert "x:0: 1 rule would be added, 0 rules would be removed, 0 there already" in ran.out
    assert 'left out: rule 1 ("open): X refuses it: missing closing quote' in ran.err


def test_what_a_full_project_has_no_room_for_is_named(
    site: Site, rules: Redis, double: Double, project: Project
) -> None:
    project.most = 1
    site.run("rules", "add", "x:0", "cats")
    site.run("rules", "add", "x:0", "dogs")

    ran = site.run(*sync(double, "--json"))

    assert ran.code == 1
    told = ran.json()
    assert [rule["rule_id"] for rule in told["added"]] == ["0"]
    assert [(out["rule_id"], "RulesCapExceeded" in out["why"]) for out in told["left_out"]] == [("1", True)]


def test_a_refused_credential_is_one_clear_line_without_the_secret(
    site: Site, rules: Redis, double: Double, project: Project
) -> None:
    project.refuses = "401 Unauthorized"
    site.run("rules", "add", "x:0", "cats")

    ran = site.run(*sync(double))

    assert ran.code == 1 and "X did not do all of it: HTTP 401 Unauthorized" in ran.err
    assert TOKEN not in ran.err + ran.out


def test_while_another_process_changes_them_nothing_is_done(
    site: Site, rules: Redis, double: Double, project: Project
) -> None:
    site.run("rules", "add", "x:0", "cats")

    with turn(rules, SetName("x", 0)):
        ran = site.run(*sync(double))

    assert ran.code == 1 and "another process is about to change the rules of x:0" in ran.err
    assert project.asked == 0
    assert site.run(*sync(double)).code == 0 and project.values() == {"cats"}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("track:0", "--credential", "x"), "only sets of type x"),
        (("x:0", "--credential", "old"), "need a bearer token"),
        (("x:0", "--credential", "none"), "none"),
    ],
)
def test_what_cannot_be_synced_is_said(site: Site, rules: Redis, words: tuple[str, ...], fault: str) -> None:
    ran = site.run("rules", "sync", *words)

    assert ran.code == 2 and fault in ran.err


def test_rules_in_the_syntax_of_x_are_kept_as_they_are_written(site: Site, rules: Redis) -> None:
    (site.root / "x.csv").write_text(
        'set,value,tag\nx:0,"(Cats OR #Dogs) lang:en",zoo\nx:0,from:NASA,\nx:0,from:nasa,\n'
    )

    imported = site.run("rules", "import", str(site.root / "x.csv"))
    refused = site.run("rules", "add", "x:0", "x" * 2049)

    assert imported.code == 0 and refused.code == 2 and "at most 2,048" in refused.err
    listed = site.run("rules", "list", "x:0", "--json").json()["rules"]
    assert [(rule["value"], rule["orig_type"]) for rule in listed] == [
        ("(Cats OR #Dogs) lang:en", "x_rule"), ("from:NASA", "x_rule"), ("from:nasa", "x_rule"),
    ]  # fmt: skip
