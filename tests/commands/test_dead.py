"""`aggregator dead`: what an operator does with messages that were set aside."""

from __future__ import annotations

import pytest

from tests.commands.conftest import Site
from tests.runtime.desk import bodies


def test_list_shows_id_queue_tries_and_reason(site: Site) -> None:
    (number,) = site.kill("kept", b'{"a":1}', reason="no such field")

    ran = site.run("dead", "list")

    assert ran.code == 0
    assert ran.lines[0].split() == ["ID", "QUEUE", "DIED", "TRIES", "REASON"]
    assert ran.lines[1].split()[:2] == [str(number), "kept"]
    assert ran.lines[1].endswith("2  no such field")


def test_list_is_limited_and_says_so(site: Site) -> None:
    site.kill("kept", *bodies(5))

    ran = site.run("dead", "list", "--limit", "2")

    assert len(ran.lines) == 4
    assert ran.lines[-1] == "2 of 5; --limit shows more."


def test_list_of_one_queue_leaves_out_the_others(site: Site) -> None:
    site.kill("kept", b'{"a":1}')
    (number,) = site.kill("lines", b'{"a":2}')

    found = site.run("dead", "list", "--queue", "lines", "--json").json()

    assert [letter["id"] for letter in found["letters"]] == [number]
    assert found["total"] == 1


def test_nothing_dead_is_said_in_words(site: Site) -> None:
    assert site.run("dead", "list").out == "No dead letters.\n"


def test_an_unknown_queue_is_refused_with_the_one_meant(site: Site) -> None:
    site.kill("lines", b'{"a":2}')

    ran = site.run("dead", "list", "--queue", "line")

    assert ran.code == 1
    assert ran.err == "aggregator: no queue line; did you mean lines?\n"


def test_show_prints_reason_traceback_history_and_the_body_indented(site: Site) -> None:
    (number,) = site.kill("kept", b'{"a":{"b":1}}', reason="ValueError: x", trace="Traceback:\n  line 1\n")

    ran = site.run("dead", "show", str(number))

    assert "      reason  ValueError: x" in ran.lines
    assert "       tries  2" in ran.lines
    assert ran.out.endswith('\nTraceback:\n  line 1\n\n{\n  "a": {\n    "b": 1\n  }\n}\n')


def test_show_never_lets_a_message_move_the_cursor(site: Site) -> None:
    (number,) = site.kill("kept", b"\x1b[2Jno json", reason="\x1b[31m")

    ran = site.run("dead", "show", str(number))

    assert "\x1b" not in ran.out
    assert r"\x1b[2Jno json" in ran.out


def test_show_as_json_has_the_body_as_text(site: Site) -> None:
    (number,) = site.kill("kept", b'{"a": 1}', trace="T")

    found = site.run("dead", "show", str(number), "--json").json()

    assert (found["id"], found["body"], found["trace"], found["attempts"]) == (number, '{"a": 1}', "T", 2)


def test_show_of_an_unknown_id_fails(site: Site) -> None:
    ran = site.run("dead", "show", "77")

    assert ran.code == 1
    assert ran.err.startswith("aggregator: no dead letter 77;")


def test_requeue_by_id_moves_that_letter_alone(site: Site) -> None:
    first, second = site.kill("kept", *bodies(2))

    ran = site.run("dead", "requeue", str(first))

    assert (ran.code, ran.out) == (0, "requeued 1 of kept\n")
    assert site.dead("kept") == [second]
    assert site.desk.books("kept").delayed == 1


def test_requeue_by_reason_takes_letters_whose_reason_contains_the_pattern(site: Site) -> None:
    site.kill("kept", *bodies(2), reason="HTTP 503 from http://tracker")
    others = site.kill("kept", *bodies(1), reason="not eligible")

    ran = site.run("dead", "requeue", "--reason", "http 5?? from")

    assert ran.out == "requeued 2 of kept\n"
    assert site.dead("kept") == others


def test_requeue_of_a_queue_takes_all_of_it_and_nothing_else(site: Site) -> None:
    site.kill("kept", *bodies(3))
    others = site.kill("lines", *bodies(1))

    ran = site.run("dead", "requeue", "--queue", "kept")

    assert ran.out == "requeued 3 of kept\n"
    assert site.dead("lines") == others


def test_drop_all_empties_every_queue_and_the_books_say_so(site: Site) -> None:
    site.kill("kept", *bodies(3))
    site.kill("lines", *bodies(1200))

    ran = site.run("dead", "drop", "--all", "--json")

    assert ran.json() == {"dropped": {"kept": 3, "lines": 1200}, "missing": []}
    assert site.desk.books("lines").dropped == {"operator": 1200}
    assert site.run("ledger").code == 0


def test_an_id_that_is_gone_is_named_and_the_others_are_done(site: Site) -> None:
    (number,) = site.kill("kept", *bodies(1))

    ran = site.run("dead", "drop", "999", str(number))

    assert (ran.code, ran.err) == (1, "no dead letter 999\n")
    assert site.dead("kept") == []


@pytest.mark.parametrize("words", [(), ("7", "--all"), ("7", "--reason", "x")])
def test_a_change_must_say_which_letters_it_means(site: Site, words: tuple[str, ...]) -> None:
    numbers = site.kill("kept", *bodies(1))

    ran = site.run("dead", "drop", *words)

    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert site.dead("kept") == numbers
