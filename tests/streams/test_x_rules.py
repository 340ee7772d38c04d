"""The rules of a set at X: theirs are made ours, and nobody else's are touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aggregator.errors import ConfigError
from aggregator.http.client import Client
from aggregator.streams.platforms.xrules import Failed, RulesAtX
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule, rule_of
from aggregator.streams.rules.syncing import Report, XRules
from aggregator.streams.rules.tags import Mark, make_tag, read_tag
from tests.servers import free_port
from tests.streams.twitterdouble import BEARER, OAUTH, Double
from tests.streams.xproject import Project

X0 = SetName("x", 0)
OURS = "aggregator:me:x:0:"


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture
def project(double: Double) -> Project:
    return double.project


Sync = Callable[..., Report]


@pytest.fixture
def sync(double: Double) -> Iterator[Sync]:
    """Sync rules, which are told by their values or as (id, value)."""
    client = Client("Aggregator/test")

    def sync(*wanted: Any, owner: str = "me", name: SetName = X0, preview: bool = False, **options: Any) -> Report:
        rules = XRules(RulesAtX(client, double.v2, BEARER, **options), owner, name, 1024)
        return rules.preview(made(*wanted)) if preview else rules.sync(made(*wanted))

    yield sync
    client.close()


def made(*wanted: Any) -> list[Rule]:
    pairs = [each if isinstance(each, tuple) else (str(number), each) for number, each in enumerate(wanted)]
    return [rule_of({"rule_id": id_, "value": value, "tag": f"t{id_}"}) for id_, value in pairs]


def test_the_rules_of_a_set_are_added_and_those_it_no_longer_has_are_removed(project: Project, sync: Sync) -> None:
    first = sync("cats", "dogs has:images")
    again = sync("cats", "dogs has:images")
    later = sync("cats", ("2", "birds"))

    assert ([rule.value for rule in first.added], again.added, again.removed) == (["cats", "dogs has:images"], [], [])
    assert (later.kept, [rule.value for rule in later.added], [rule.rule_id for rule in later.removed]) == (
        1, ["birds"], ["1"],
    )  # fmt: skip
    assert (
        project.rules.items()
        == {
            id_: {"value": value, "tag": f"{OURS}{number} t{number}"}
            for id_, value, number in zip(project.rules, ["cats", "birds"], [0, 2], strict=True)
        }.items()
    )
    assert later.in_force is not None and later.in_force.keys() == project.rules.keys()
    assert not project.faults


@pytest.mark.parametrize(
    "tag", ["", "mine", "aggregator", "aggregator:you:x:0:1", "aggregator:me:x:1:1 t", "aggregator:me:x:0:", OURS[1:]]
)
def test_rules_of_others_are_never_touched(project: Project, sync: Sync, tag: str) -> None:
    theirs = project.put("theirs", tag)

    report = sync("cats")
    sync()

    assert report.others == 1 and project.rules == {theirs: {"value": "theirs", **({"tag": tag} if tag else {})}}


def test_a_value_that_somebody_else_has_is_named_and_stays_theirs(project: Project, sync: Sync) -> None:
    theirs = project.put("cats", "theirs")

    report = sync("cats", "dogs")

    [out] = report.left_out
    assert (out.rule_id, out.value) == ("0", "cats") and theirs in out.why and "DuplicateRule" in out.why
    assert project.values(OURS) == {"dogs"} and project.rules[theirs]["tag"] == "theirs"


def test_rules_that_x_refuses_are_named_with_its_reason_and_the_others_are_added(project: Project, sync: Sync) -> None:
    report = sync("cats", '"open', "x" * 1025, "cats ", "dogs")

    assert project.values() == {"cats", "dogs"}
    assert {out.rule_id: out.why for out in report.left_out} == {
        "1": "X refuses it: missing closing quote (at position 1) (UnprocessableEntity)",
        "2": "a rule of 1,025 characters; at most 1,024 are allowed",
        "3": "means the same as rule 0",
    }


def test_the_reason_for_a_long_rule_is_not_cut_off(project: Project, double: Double) -> None:
    client = Client("Aggregator/test")
    long = "a OR " * 300 + "b"

    [out] = XRules(RulesAtX(client, double.v2, BEARER), "me", X0, 2048).sync(made(long)).left_out
    client.close()

    assert out.why == "X refuses it: Rule '...' exceeds the length of 1024 (UnprocessableEntity)"


def test_a_full_project_names_what_is_left_out(project: Project, sync: Sync) -> None:
    project.most = 250
    for number in range(40):
        project.put(f"theirs {number}")

    report = sync(*(f"word{number}" for number in range(230)))

    assert len(project.rules) == 250 and len(project.values(OURS)) == 210
    assert {out.value for out in report.left_out} == {f"word{number}" for number in range(210, 230)}
    assert all("RulesCapExceeded" in out.why for out in report.left_out)
    asked = len(project.posts)
    assert len(sync(*(f"word{number}" for number in range(230))).left_out) == 20
    assert len(project.posts) - asked <= 6  # X allows 100 in 15 minutes


def test_a_full_project_makes_room_by_what_the_set_no_longer_has(project: Project, sync: Sync) -> None:
    project.most = 4
    sync("a", "b", "c", "d")

    report = sync(("7", "e"), ("8", "f"), "c")

    assert project.values() == {"e", "f", "c"} and not report.left_out


def test_nothing_is_removed_before_what_takes_its_place_is_there(project: Project, sync: Sync) -> None:
    sync(*(f"old{number}" for number in range(5)))
    project.watch()

    sync(*((f"9{number}", f"new{number}") for number in range(5)))

    assert project.fewest == 5 and project.values() == {f"new{number}" for number in range(5)}


def test_a_hundred_rules_go_with_one_request(project: Project, sync: Sync) -> None:
    sync(*(f"word{number}" for number in range(230)))
    sync()

    assert [len(post.get("add", [])) for post in project.posts] == [100, 100, 30, 0, 0, 0]
    assert project.rules == {} and not project.faults


def test_a_dry_run_changes_nothing_and_x_has_checked_the_rules(project: Project, sync: Sync) -> None:
    sync("cats", "dogs")
    before = dict(project.rules)

    report = sync("cats", ("5", "birds"), '"open', preview=True)

    assert project.rules == before and project.posts[-1]["dry_run"] == "true"
    assert [rule.value for rule in report.added] == ["birds"] and [rule.value for rule in report.removed] == ["dogs"]
    assert [out.value for out in report.left_out] == ['"open']


def test_a_new_tag_takes_the_place_of_the_old_one(project: Project, sync: Sync) -> None:
    sync(("1", "cats"))

    report = sync(("2", "cats"))

    assert [rule["tag"] for rule in project.rules.values()] == [f"{OURS}2 t2"] and not report.left_out


def test_what_another_process_added_meanwhile_is_there_already(project: Project, sync: Sync) -> None:
    asked = []

    def meanwhile() -> None:
        asked.append(1)
        if len(asked) == 2:  # between the list and the adding
            project.put("cats", f"{OURS}0 t0")

    report = sync("cats", proceed=meanwhile)

    assert (report.kept, report.left_out, report.added) == (1, [], []) and len(project.rules) == 1
    assert report.in_force is not None and report.in_force.keys() == project.rules.keys()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", "refused"),
        ("403 Forbidden", "refused"),
        ("503 Service Unavailable", "http"),
        ("429 Too Many Requests", "rate_limit"),
    ],
)
def test_a_failure_has_its_kind_and_no_secret(project: Project, sync: Sync, status: str, kind: str) -> None:
    project.refuses = status

    report = sync("cats")

    assert report.failure is not None and (report.failure.kind, report.in_force) == (kind, None)
    assert str(BEARER.bearer_token) not in str(report.failure)


def test_too_many_requests_wait_until_x_says_so(project: Project, sync: Sync) -> None:
    project.refuses = "429 Too Many Requests"
    project.headers = {"x_rate_limit_reset": str(int(time.time()) + 700), "x_rate_limit_remaining": "0"}
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        project.refuses, project.headers = "", {}

    report = sync("cats", wait=wait, clock=lambda: time.time() + sum(waits))

    assert report.is_whole and len(waits) == 1 and 690 < waits[0] <= 702

    project.refuses = "429 Too Many Requests"
    project.headers = {"x_rate_limit_reset": str(int(time.time()) + 700)}
    failure = sync("dogs").failure
    assert failure is not None and failure.told_s is not None and 690 < failure.told_s <= 700


def test_used_up_requests_are_not_asked_for(double: Double, project: Project) -> None:
    client = Client("Aggregator/test")
    at_x = RulesAtX(client, double.v2, BEARER)
    project.headers = {"x_rate_limit_reset": str(int(time.time()) + 700), "x_rate_limit_remaining": "0"}
    at_x.all()

    with pytest.raises(Failed, match="used up"):
        at_x.all()
    client.close()

    assert project.lists == 1


def test_a_server_that_is_away_is_a_failure_of_the_network() -> None:
    client = Client("Aggregator/test")

    with pytest.raises(Failed) as failed:
        RulesAtX(client, f"http://127.0.0.1:{free_port()}/2/", BEARER).all()
    client.close()

    assert failed.value.kind == "network"


def test_only_a_bearer_token_will_do() -> None:
    with pytest.raises(ConfigError, match="bearer token"):
        RulesAtX(Client("Aggregator/test"), "http://localhost/", OAUTH)


@pytest.mark.parametrize("rule_id", ["7", "a b:c/é", "%"])
def test_a_tag_is_read_as_it_was_made(rule_id: str) -> None:
    mark = Mark("me", X0, rule_id)

    assert read_tag(make_tag(mark, "a  tag: with\nblanks")) == mark == read_tag(make_tag(mark, ""))


def test_a_list_that_x_refuses_is_no_empty_list(project: Project, double: Double) -> None:
    project.refuses = "400 Bad Request"
    client = Client("Aggregator/test")

    with pytest.raises(Failed, match="HTTP 400"):
        RulesAtX(client, double.v2, BEARER).all()
    client.close()
