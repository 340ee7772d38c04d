"""`rules`: rules in Redis and in files, changed with their history and their notice in one step."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.client import Redis

from aggregator.runtime.connection import connect
from aggregator.streams.rules.changes import Author, Changer
from aggregator.streams.rules.names import SetName
from tests.commands.conftest import Site
from tests.servers import RedisServer, wait_until
from tests.streams.tweets import FOLDER


@pytest.fixture
def rules(site: Site, own_redis: RedisServer) -> Iterator[Redis]:
    """A client of the Redis of the rules, which nobody else uses."""
    site.head += f"[rules]\nurl = {own_redis.url}\n"
    site.configure("")
    with connect(own_redis.url) as client:
        yield client


def listed(site: Site, *sets: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = site.run("rules", "list", *sets, "--json").json()["rules"]
    return found


def write(path: Path, *lines: Any) -> str:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def test_a_rule_that_is_added_has_the_fields_of_every_manager(site: Site, rules: Redis) -> None:
    added = site.run("rules", "add", "track:0", "#Cats", "--tag", "t", "--field", "appid=a", "--why", "asked for")
    site.run("rules", "add", "track:0", "dogs", "--id", "x9", "--who", "eve")

    assert (added.code, added.out) == (0, "track:0: added rule 0\n")
    fields = {name.decode(): value.decode() for name, value in rules.hgetall("traptor-track:0:0").items()}
    assert len(fields.pop("date_added")) == 19
    assert fields == {
        "rule_id": "0", "value": "#Cats", "orig_type": "hashtag", "rule_type": "track", "tag": "t", "appid": "a",
        "status": "active", "description": "",
    }  # fmt: skip
    assert [rule["rule_id"] for rule in listed(site)] == ["0", "x9"]
    assert "track:0   0  hashtag  #Cats  t" in site.run("rules", "list").out


def test_a_change_its_history_and_its_notice_are_one_step(site: Site, rules: Redis) -> None:
    notices = rules.pubsub(ignore_subscribe_messages=True)
    notices.subscribe("traptor-notify")
    with rules.monitor() as monitor:
        site.run("rules", "add", "track:0", "cats", "--who", "eve", "--why", "more cats")
        seen: list[str] = []
        for command in monitor.listen():
            seen.append(command["command"].split(" ")[0].upper())
            if seen[-1] == "EXEC":
                break

    assert seen[seen.index("MULTI") :] == ["MULTI", "DEL", "HSET", "RPUSH", "PUBLISH", "EXEC"]
    wait_until(lambda: (notices.get_message() or {}).get("data") == b"track:0")
    entry = json.loads(rules.lindex("aggregator-rules-history:track:0", 0) or b"")
    assert (entry["who"], entry["why"], entry["what"], entry["before"]) == ("eve", "more cats", "added", None)
    assert entry["after"]["value"] == "cats" and entry["at"].endswith("Z")
    notices.close()


def test_the_history_tells_who_removed_what(site: Site, rules: Redis) -> None:
    site.run("rules", "add", "follow:3", "12345678")
    removed = site.run("rules", "remove", "follow:3", "0", "7", "--who", "eve", "--why", "left")

    assert (removed.code, removed.out, removed.err) == (1, "follow:3: removed rule 0\n", "no rule 7 in follow:3\n")
    told = site.run("rules", "history", "--json").json()
    assert [(each["set"], each["what"], each["rule_id"]) for each in told] == [
        ("follow:3", "added", "0"),
        ("follow:3", "removed", "0"),
    ]
    assert told[1]["before"]["value"] == "12345678" and told[1]["after"] is None
    assert "eve   follow:3  removed  0   12345678  left" in site.run("rules", "history", "follow:3").out
    assert not rules.exists("traptor-follow:3:0")


def test_two_who_add_at_once_get_different_ids_and_both_are_in_the_history(rules: Redis) -> None:
    name = SetName("track", 0)
    rule = {"rule_id": "0", "value": "a"}
    changer = Changer(rules, name, "traptor-notify", Author("eve", ""), lambda: 0.0)
    done: list[int] = []

    def change(number: int) -> None:
        for turn in range(20):
            done.extend(len(changer.put([{**rule, "value": f"{number} {turn}"}])) for _ in range(1))

    threads = [threading.Thread(target=change, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = [json.loads(text) for text in rules.lrange(name.history, 0, -1)]
    assert len(entries) == sum(done) == 80
    assert all(before["after"] == after["before"] for before, after in pairwise(entries))
    with pytest.raises(ValueError, match="has a rule 0 already"):
        changer.put([rule], only_new=True)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["track:0", "a" * 61], "61 bytes"),
        (["track:0", "1", "--type", "userid"], "cannot be a userid; allowed: keyword, hashtag"),
        (["follow:0", "no name!"], "no user name"),
        (["locations:0", "100,100,100,100"], "Lat/lon out of range: 100, 100"),
    ],
)
def test_what_cannot_be_looked_for_is_not_added(site: Site, rules: Redis, words: list[str], fault: str) -> None:
    ran = site.run("rules", "add", *words)

    assert ran.code == 2 and fault in ran.err
    assert rules.dbsize() == 0


@pytest.mark.parametrize("words", [["locations:0", "-122.75,36.8,-121.75,37.8"], ["track:0", "--", "-cats"]])
def test_a_value_may_begin_with_a_sign(site: Site, rules: Redis, words: list[str]) -> None:
    assert site.run("rules", "add", *words).code == 0
    assert [rule["value"] for rule in listed(site)] == words[-1:]


def test_the_id_of_a_rule_that_is_gone_is_not_given_again(site: Site, rules: Redis, tmp_path: Path) -> None:
    site.run("rules", "add", "track:0", "cats")
    site.run("rules", "add", "track:0", "dogs")
    site.run("rules", "remove", "track:0", "1")
    file = tmp_path / "more.jsonl"
    file.write_text('{"value": "snow"}\n')

    site.run("rules", "import", str(file), "--into", "track:0")
    site.run("rules", "add", "track:0", "rain")

    assert [(rule["rule_id"], rule["value"]) for rule in listed(site)] == [("0", "cats"), ("2", "snow"), ("3", "rain")]


def test_an_id_that_is_taken_is_refused(site: Site, rules: Redis) -> None:
    site.run("rules", "add", "track:0", "cats", "--id", "1")

    ran = site.run("rules", "add", "track:0", "dogs", "--id", "1")

    assert (ran.code, ran.err) == (
        1,
        "aggregator: track:0 has a rule 1 already; take another --id, or remove it first\n",
    )
    assert rules.hget("traptor-track:0:1", "value") == b"cats"


def test_rules_that_no_platform_is_asked_for_are_named(site: Site, rules: Redis) -> None:
    rules.hset("traptor-follow:0:1", mapping={"rule_id": "1", "value": "cnn", "orig_type": "username"})
    rules.hset("traptor-follow:0:2", mapping={"rule_id": "2"})

    ran = site.run("rules", "list", "follow:0")

    assert "not sent: rule 1 of follow:0: no user id (found 'cnn')" in ran.err
    assert "faulty: traptor-follow:0:2 has no value" in ran.err


def test_rules_of_an_old_manager_are_imported_where_their_keys_say(site: Site, rules: Redis) -> None:
    ran = site.run("rules", "import", str(FOLDER / "rules.jsonl"))

    assert (ran.code, ran.err) == (0, "")
    assert rules.hget("traptor-track:0:10", "campaign_id") == b"default"
    assert rules.hget("traptor-track:0:12348", "orig_type") == b"keyword"
    assert rules.llen("aggregator-rules-history:track:0") == 3
    again = site.run("rules", "import", str(FOLDER / "rules.jsonl"), "--json").json()
    assert again["imported"] == {"track:0": 0, "follow:0": 0, "locations:0": 0}
    assert rules.llen("aggregator-rules-history:track:0") == 3  # nothing was different


def test_more_rules_than_a_connection_takes_are_divided_into_sets(site: Site, rules: Redis, tmp_path: Path) -> None:
    people = write(tmp_path / "people.jsonl", *({"value": str(10_000_000 + n), "tag": "p"} for n in range(5500)))
    words = write(tmp_path / "words.csv", "value,tag", *(f"word{n},w" for n in range(352)))

    site.run("rules", "import", people, "--into", "follow")
    site.run("rules", "import", words, "--into", "track")

    counts = [len(list(rules.scan_iter(f"traptor-{name}:*", 5000))) for name in ("follow:0", "follow:1", "track:0")]
    assert counts == [5000, 500, 352]
    assert rules.hget("traptor-follow:1:5000", "value") == b"10005000"
    assert rules.exists("traptor-follow:1:5499") and rules.exists("traptor-track:0:351")


def test_a_rule_that_names_its_type_alone_needs_no_set(site: Site, rules: Redis, tmp_path: Path) -> None:
    file = write(tmp_path / "rule.json", {"value": "-122.75,36.8,-121.75,37.8", "rule_type": "locations", "rule_id": 7})

    assert site.run("rules", "import", file).out == "locations:0: 1 imported\n"
    assert rules.hget("traptor-locations:0:7", "orig_type") == b"geo"
    assert "for which rule set?" in site.run("rules", "import", write(tmp_path / "x.json", {"value": "a"})).err


def test_what_means_the_same_is_skipped_and_named(site: Site, rules: Redis, tmp_path: Path) -> None:
    site.run("rules", "add", "track:0", "Dogs")
    file = write(
        tmp_path / "words.jsonl", {"value": "cats", "tag": "1"}, {"value": "dogs"}, {"value": "CATS", "tag": "2"}
    )

    ran = site.run("rules", "import", file, "--into", "track:0")

    assert ran.out == "track:0: 1 imported\n"
    assert ran.err.splitlines() == [
        f"{file}:1: means the same as line 3, which counts: skipped",
        f"{file}:2: means the same as rule 0 of track:0: skipped",
    ]
    assert [(rule["value"], rule["tag"]) for rule in listed(site)] == [("Dogs", ""), ("CATS", "2")]


def test_sets_that_are_named_may_look_for_the_same(site: Site, rules: Redis, tmp_path: Path) -> None:
    file = write(tmp_path / "words.jsonl", {"value": "cats"})

    for into in ("track:1", "track:2", "track"):
        site.run("rules", "import", file, "--into", into)

    assert [(rule["set"], rule["rule_id"]) for rule in listed(site)] == [("track:1", "0"), ("track:2", "1")]


FAULTY = ({"value": "cats"}, {"tag": "t"}, "no JSON", {"value": "b" * 61}, {"value": "dogs", "orig_type": "userid"})


def test_a_file_with_faults_changes_nothing_unless_they_are_skipped(site: Site, rules: Redis, tmp_path: Path) -> None:
    file = write(tmp_path / "words.jsonl", *FAULTY)

    refused = site.run("rules", "import", file, "--into", "track:0")
    assert refused.code == 1 and refused.out == "" and rules.dbsize() == 0
    assert refused.err.splitlines()[-1] == "nothing was imported; --skip-faulty imports the others"
    dry = site.run("rules", "import", file, "--into", "track:0", "--skip-faulty", "--dry-run")
    assert dry.out == "track:0: 1 would be imported\n" and rules.dbsize() == 0
    assert site.run("rules", "import", file, "--into", "track:0", "--skip-faulty").code == 1
    assert [rule["value"] for rule in listed(site)] == ["cats"]


def test_validate_names_file_and_line_of_each_fault(site: Site, tmp_path: Path) -> None:
    file = write(tmp_path / "words.jsonl", *FAULTY)

    ran = site.run("rules", "validate", file, "--into", "track")

    assert ran.code == 1
    assert [line.removeprefix(f"{file}:").split(" (")[0] for line in ran.err.splitlines()] == [
        "2: has no value",
        "3: no JSON: Expecting value: line 1 column 1",
        "4: a phrase of 61 bytes; at most 60 bytes of UTF-8 are allowed",
        "5: a rule of track cannot be a userid; allowed: keyword, hashtag",
    ]
    assert site.run("rules", "validate", str(FOLDER / "rules.jsonl")).out == "5 rules, all fine\n"


def test_rules_come_back_from_every_format(site: Site, rules: Redis, tmp_path: Path) -> None:
    for words in (["follow:0", "12345678", "--tag", "a,b"], ["follow:1", "87654321", "--field", "more=\u00fc"]):
        site.run("rules", "add", *words, "--type", "userid")
    before = listed(site)
    files = {form: str(tmp_path / f"rules.{form}") for form in ("jsonl", "csv", "gnip", "sqlite")}
    for form, file in files.items():
        assert site.run("rules", "export", "--format", form, "--to", file).out == "2 rules\n"

    for form, file in files.items():
        rules.flushall()
        words = {"gnip": ["--into", "follow:0"], "sqlite": ["--query", "select * from rules"]}.get(form, [])
        assert site.run("rules", "import", file, "--format", form, *words).code == 0, form
        if form == "gnip":
            assert [(r["value"], r["tag"]) for r in listed(site)] == [("12345678", "a,b"), ("87654321", "")]
        else:
            assert [{k: v for k, v in rule.items() if k != "type"} for rule in listed(site)] == before, form


def test_rules_are_taken_from_tables_and_gnip_files_as_traptors_scripts_take_them(
    site: Site, rules: Redis, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "rules.db") as table:
        table.execute("create table rules (tag, value, type)")
        table.executemany(
            "insert into rules values (?, ?, ?)",
            [
                ("a", 'url_contains:"nytimes.com"', "keyword"),
                ("b", "from:12345678 x", "username"),
                ("c", "[-10.5 20 -9 21.5]", "geo"),
            ],
        )
    table.close()
    for type_ in ("track", "follow", "locations"):
        site.run("rules", "import", str(tmp_path / "rules.db"), "--into", type_)
    gnip = {"rules": [{"value": "from:11111111 OR from:22222222", "tag": "g"}, {"value": "cats"}]}
    (tmp_path / "gnip.json").write_text(json.dumps(gnip, indent=1))
    ran = site.run("rules", "import", str(tmp_path / "gnip.json"), "--into", "follow:7", "--skip-faulty")

    assert {(rule["set"], rule["value"], rule["tag"]) for rule in listed(site)} == {
        ("track:0", "nytimes com", "a"), ("follow:0", "12345678", "b"), ("locations:0", "-10.5,20,-9,21.5", "c"),
        ("follow:7", "11111111", "g"), ("follow:7", "22222222", "g"),
    }  # fmt: skip
    assert f"{tmp_path}/gnip.json:7: no from:DIGITS" in ran.err


def test_beyond_the_limit_of_a_set_is_said(site: Site, rules: Redis, tmp_path: Path) -> None:
    file = write(tmp_path / "words.csv", "value", *(f"word{n}" for n in range(401)))

    ran = site.run("rules", "import", file, "--into", "track:0")

    assert ran.err.startswith("track:0: 401 rules; one connection may ask for 400")
    assert "not sent: rule 400 of track:0: beyond the 400" in site.run("rules", "list").err


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "tag\na\n", "`value` among them"),
        ("x.json", '{"rules":null}', "no GNIP rules"),
        ("x.txt", "", "which format?"),
        ("x.jsonl", "\udcff", "not UTF-8"),
        ("x.db", "no database", "file is not a database"),
    ],
)
def test_a_file_that_holds_no_rules_is_one_clear_line(
    site: Site, tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    ran = site.run("rules", "validate", str(tmp_path / name), "--into", "track:0")

    assert ran.code == 1 and words in ran.err and len(ran.err.splitlines()) == 1


def test_a_redis_of_the_rules_that_is_away_is_one_clear_line(site: Site) -> None:
    site.head += "[rules]\nurl = redis://user:secret@127.0.0.1:1/0\n"
    site.configure("")

    ran = site.run("rules", "list")

    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert ran.err.startswith("aggregator: the Redis of the rules at redis://user:***@127.0.0.1:1/0 is away: ")


def test_a_cluster_holds_no_rules(site: Site) -> None:
    site.head += "[rules]\nurl = cluster://127.0.0.1:7000\n"
    site.configure("")

    ran = site.run("config", "check")

    assert ran.code == 2 and "[rules] url: a cluster cannot change a rule and its history in one step" in ran.err
