"""What a stage reports reaches Redis: what is so now with the worker, a loss for as long as nobody acknowledges it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aggregator.runtime.context import Context
from aggregator.runtime.reports import MOST, MOST_LASTING, Told, acknowledge, lasting_reports
from aggregator.runtime.roster import roster
from tests.runtime.conftest import Start
from tests.runtime.desk import Desk, beat, order
from tests.servers import wait_until


def reports(desk: Desk) -> tuple[Told, ...]:
    """Return what the worker reports now."""
    return tuple(told for worker in roster(desk.client, desk.keys).workers for told in worker.reports)


def report(**more: Any) -> bytes:
    return order("report", **{"code": "follows_nothing", "about": "log", **more})


def test_a_report_shows_until_it_is_withdrawn_and_keeps_its_beginning_over_a_restart(desk: Desk, start: Start) -> None:
    desk.push("in", report())
    process = start()
    wait_until(lambda: reports(desk))
    (first,) = reports(desk)
    process.kill()
    process.wait()

    start()
    desk.push("in", report(text="it still is"))
    wait_until(lambda: [told.text for told in reports(desk)] == ["it still is"])
    (second,) = reports(desk)
    desk.push("in", order("withdraw", code="follows_nothing", about="log0"))

    wait_until(lambda: not reports(desk))
    assert (first.code, first.about, first.owner) == ("follows_nothing", "log0", "node:stage")
    assert second.since == first.since


def test_what_is_told_again_alike_is_no_change_that_has_to_be_looked_through(tmp_path: Path) -> None:
    context = Context(section="stage", number=0, node="node", root=tmp_path, clock=lambda: 1.0)
    context.report("follows_nothing", "it follows nothing", "mend it")
    before = context.reports

    context.report("follows_nothing", "it follows nothing", "mend it")
    context.withdraw("unreadable")

    assert context.reports is before


def test_a_report_of_an_earlier_incarnation_is_gone_with_it(desk: Desk, start: Start) -> None:
    desk.push("in", report())
    process = start()
    wait_until(lambda: reports(desk))
    process.kill()
    process.wait()

    later = start()
    wait_until(lambda: not reports(desk))

    assert [worker.section for worker in roster(desk.client, desk.keys).workers] == ["stage"]
    assert later.poll() is None


def test_many_reports_are_bounded_and_that_is_said(desk: Desk, start: Start) -> None:
    desk.push("in", report(times=200, text="x" * 5000))
    start()

    wait_until(lambda: len(reports(desk)) == MOST)

    assert [told.text for told in reports(desk) if told.code == "reports_left_out"] == [
        "151 reports more than are shown here"
    ]
    assert max(len(told.text) for told in reports(desk)) == 500


def test_a_report_of_odd_bytes_does_not_end_the_signs_of_life(desk: Desk, start: Start) -> None:
    desk.push("in", report(about="caf\udce9", text="\x1b[2J\udce9"), report(about="caf\udce9", lasting=True))
    start()
    wait_until(lambda: reports(desk) or lasting_reports(desk.client, desk.keys))

    since = beat(desk)
    wait_until(lambda: beat(desk) > since + 1)

    assert {told.about for told in (*reports(desk), *lasting_reports(desk.client, desk.keys))} == {"caf\\udce90"}


def test_a_loss_outlives_the_process_until_it_is_acknowledged(desk: Desk, start: Start) -> None:
    desk.push("in", report(code="vanished", times=2, lasting=True))
    process = start()
    wait_until(lambda: len(lasting_reports(desk.client, desk.keys)) == 2)
    process.terminate()
    process.wait()

    kept = [(told.code, told.about) for told in lasting_reports(desk.client, desk.keys)]
    gone = acknowledge(desk.client, desk.keys, "vanished", "log1")

    assert kept == [("vanished", "log0"), ("vanished", "log1")]
    assert gone == 1
    assert acknowledge(desk.client, desk.keys, "vanished", "log1") == 0
    assert acknowledge(desk.client, desk.keys, "vanished", None) == 1
    assert lasting_reports(desk.client, desk.keys) == ()


def test_a_loss_that_was_acknowledged_stays_gone_though_its_worker_lives(desk: Desk, start: Start) -> None:
    desk.push("in", report(code="vanished", lasting=True))
    start()
    wait_until(lambda: lasting_reports(desk.client, desk.keys))
    acknowledge(desk.client, desk.keys, "vanished", None)

    since = beat(desk)
    wait_until(lambda: beat(desk) > since + 2)

    assert lasting_reports(desk.client, desk.keys) == ()


def test_a_loss_that_is_told_of_again_keeps_its_beginning_and_takes_the_newer_words(desk: Desk, start: Start) -> None:
    for text in ("first", "second"):
        desk.push("in", report(code="vanished", lasting=True, text=text))
        process = start()
        wait_until(lambda: [told.text for told in lasting_reports(desk.client, desk.keys)] == [text])  # noqa: B023
        since = {told.since for told in lasting_reports(desk.client, desk.keys)}
        process.kill()
        process.wait()
        first = since if text == "first" else first  # noqa: F821

    assert since == first


def test_a_loss_is_told_of_before_it_is_counted(desk: Desk, start: Start) -> None:
    desk.push("in", report(code="vanished", lasting=True))

    start()

    wait_until(lambda: desk.waiting("out"))
    assert lasting_reports(desk.client, desk.keys)


@pytest.mark.timeout(120)
def test_losses_that_nobody_looks_at_are_bounded(desk: Desk, start: Start) -> None:
    desk.push("in", report(code="vanished", lasting=True, times=MOST_LASTING + 30))

    start()

    wait_until(lambda: desk.waiting("out"), 60)
    assert len(lasting_reports(desk.client, desk.keys)) == MOST_LASTING


def test_what_is_no_loss_of_ours_is_shown_and_can_be_acknowledged(desk: Desk) -> None:
    desk.client.hset(desk.keys.findings, "odd:thing", "no JSON")

    (told,) = lasting_reports(desk.client, desk.keys)

    assert (told.code, told.about, told.text) == ("odd", "thing", "unreadable (found no JSON)")
    assert acknowledge(desk.client, desk.keys, "odd", "thing") == 1
