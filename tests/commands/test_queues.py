"""`aggregator queues` and `aggregator ledger`."""

from __future__ import annotations

from tests.commands.conftest import Site
from tests.runtime.desk import bodies, forward


def test_queues_shows_what_waits_who_reads_it_and_the_key_for_others(site: Site) -> None:
    site.desk.push("lines", *bodies(3))
    worker = site.desk.worker("lines")
    worker.claim(0, 1)
    site.kill("kept", *bodies(2))

    found = {queue["queue"]: queue for queue in site.run("queues", "--json").json()["queues"]}

    lines = found["lines"]
    assert (lines["ready"], lines["in_flight"], lines["read_by"]) == (2, 1, "worker_copy")
    assert lines["key"] == site.desk.keys.queue("lines")
    assert found["kept"]["dead"] == 2


def test_queues_lists_configured_queues_before_anything_ran(site: Site) -> None:
    ran = site.run("queues")

    assert [line.split()[0] for line in ran.lines] == ["QUEUE", "asked", "done", "kept", "lines"]
    assert ran.lines[1].endswith(site.desk.keys.queue("asked"))


def test_a_queue_that_nobody_reads_is_shown_so(site: Site) -> None:
    site.desk.worker("foreign")

    (line,) = [line for line in site.run("queues").lines if line.startswith("foreign")]

    assert line.split()[1] == "nobody"


def test_the_ledger_shows_the_equation_of_each_section(site: Site) -> None:
    site.desk.push("lines", *bodies(5))
    worker = site.desk.worker("lines")
    worker.commit(forward(worker.claim(0, 4).messages, "kept", "asked"), prefix=True)
    worker.claim(0, 1)

    ran = site.run("ledger")

    (line,) = [line for line in ran.lines if line.startswith("lines")]
    words = line.split()
    assert ran.code == 0
    assert words[1:13] == ["worker_copy", "5", "=", "4", "+", "0", "+", "0", "+", "1", "+", "0"]
    assert words[-2:] == ["5", "balanced"]
    assert ran.lines[-1] == "The books balance."


def test_the_ledger_as_json_has_every_account(site: Site) -> None:
    site.desk.push("lines", *bodies(2))
    worker = site.desk.worker("lines")
    worker.commit(forward(worker.claim(0, 2).messages, "kept"), prefix=True)

    found = site.run("ledger", "--json").json()

    accounts = {account["name"]: account for account in found["accounts"]}
    assert found["balanced"] is True
    assert (accounts["lines"]["in"], accounts["lines"]["out"], accounts["lines"]["external"]) == (2, 2, 2)
    assert (accounts["kept"]["pushed"], accounts["kept"]["ready"], accounts["kept"]["external"]) == (2, 2, 0)


def test_the_ledger_fails_when_a_message_in_hand_vanished(site: Site) -> None:
    site.desk.push("lines", *bodies(2))
    worker = site.desk.worker("lines")
    worker.claim(0, 2)
    site.desk.client.lpop(site.desk.keys.held(worker.identity.name))

    ran = site.run("ledger")

    assert ran.code == 1
    assert "NOT BALANCED" in ran.out
    assert "books of lines: 2 in, but 0 out + 0 dropped + 0 dead + 1 in flight + 0 delayed: 1 missing" in ran.out


def test_the_ledger_fails_when_a_waiting_message_vanished(site: Site) -> None:
    site.desk.push("lines", *bodies(2))
    worker = site.desk.worker("lines")
    worker.commit(forward(worker.claim(0, 2).messages, "kept"), prefix=True)
    site.desk.client.lpop(site.desk.keys.queue("kept"))

    ran = site.run("ledger")

    assert ran.code == 1
    assert "queue kept: 2 pushed, but 0 taken and 1 waiting: 1 vanished" in ran.out


def test_a_source_has_books_of_its_own(site: Site) -> None:
    site.desk.worker(None)

    found = site.run("ledger", "--json").json()["accounts"]

    assert [(a["name"], a["section"], a["external"]) for a in found if a["source"]] == [("node:stage_0", "stage", None)]
