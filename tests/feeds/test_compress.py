"""The stage `compress`, step by step on a clock of its own."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import Reject, Retry, Unavailable
from aggregator.feeds.bundle.bundles import save_bundle
from aggregator.feeds.bundle.revisions import read_back
from aggregator.feeds.compress import REARMED, Compress
from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.naming.stamps import read_stamp, write_stamp
from aggregator.runtime.message import Message, encode_body
from tests.feeds.bundles import HOUR, subway_bodies
from tests.feeds.captures import subway_captures
from tests.feeds.stepping import FEED, Stepped, bundles_of, failed, held, publish
from tests.settling import settled


def compress(root: Path, **options: Any) -> Stepped:
    return Stepped(Compress, root, pushto="bundled@node", **options)


def files(root: Path) -> list[str]:
    """Return what lies in the folders of publications."""
    folder = root / "data/feeds/publications"
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def test_an_hour_of_real_captures_becomes_one_bundle_after_its_end_and_grace(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    captures = [(HOUR + 60 * minute, data) for minute, (_, data) in enumerate(subway_captures())]
    stage.push(*(publish(tmp_path, at, data) for at, data in captures))
    stage.run(until=HOUR + 3600 + 119)
    assert not stage.out

    stage.run(until=HOUR + 3600 + 120)
    [(message, contents)] = bundles_of(tmp_path, stage.out)
    assert message["feed"] == FEED and message["start"] == write_stamp(HOUR) and message["revision"] == 1
    assert message["file"].endswith(".r1.tar.zst")
    assert [member.mtime for member in contents.publications] == [at for at, _ in captures]
    assert contents.manifests[0].outcomes()["ok"] == 12
    stage.idle()
    assert files(tmp_path) == [] and list(stage.cursors) == [REARMED] and not stage.timers


def test_a_period_waits_for_grace_after_its_last_arrival(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600 + 100)
    stage.push(publish(tmp_path, HOUR + 2, b"two"))

    stage.run(until=HOUR + 3600 + 219)
    assert not stage.out
    stage.run(until=HOUR + 3600 + 220)
    assert len(held(tmp_path, stage.out)) == 2


def test_late_members_make_the_next_revision_with_themselves_only(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 4000)
    stage.push(publish(tmp_path, HOUR + 2, b"two", planned=HOUR + 62))
    stage.run(until=HOUR + 5000)

    first, second = stage.out
    assert (first["revision"], second["revision"]) == (1, 2) and first["file"] != second["file"]
    [(_, contents)] = bundles_of(tmp_path, [second])
    assert [member.mtime for member in contents.publications] == [HOUR + 2]
    assert [tick.planned_ms for tick in contents.manifests[0].ticks] == [(HOUR + 62) * 1000]


def test_a_tick_belongs_to_its_planned_hour_and_its_publication_to_that_of_its_timestamp(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 3599, b"late", planned=HOUR + 3605))
    stage.run(until=HOUR + 7200 + 200)

    by_start = {message["start"]: contents for message, contents in bundles_of(tmp_path, stage.out)}
    first, second = by_start[write_stamp(HOUR)], by_start[write_stamp(HOUR + 3600)]
    [beside] = first.manifests
    assert len(first.publications) == 1 and not beside.ticks
    assert [tick.planned_ms for tick in beside.elsewhere] == [(HOUR + 3605) * 1000]
    assert beside.header.url == "http://feeds.example/one"
    assert not second.publications and len(second.manifests[0].ticks) == 1


def test_an_hour_in_which_every_tick_failed_is_bundled_too(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(*(failed(HOUR + 60 * minute) for minute in range(60)))
    stage.run(until=HOUR + 4000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert not contents.publications and contents.manifests[0].outcomes()["failed"] == 60
    assert contents.manifests[0].header.tick_ms == 60_000 and contents.manifests[0].header.url


def test_a_row_of_missed_ticks_is_spread_over_the_hours_it_touches(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.now = HOUR + 3 * 3600
    row = {**failed(0), "missed_from_ms": (HOUR + 30) * 1000, "missed_to_ms": (HOUR + 2 * 3600 + 30) * 1000}
    del row["tick"]
    stage.push(row)
    stage.run(until=stage.now + 121)

    counts = [contents.manifests[0].outcomes()["missed"] for _, contents in bundles_of(tmp_path, stage.out)]
    assert counts == [60, 60, 1]


def test_a_copied_instance_has_a_manifest_of_its_own(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    for instance in ("one", "other"):
        stage.push({**failed(HOUR + 1), "instance": instance})
    stage.push({**publish(tmp_path, HOUR + 3590, b"late", planned=HOUR + 3605), "instance": "one"})
    row = {"feed": FEED, "missed_from_ms": HOUR * 1000, "missed_to_ms": HOUR * 1000, "url": "", "period_ms": 1000}
    stage.push({"kind": "missed", **row, "node": "here", "instance": "other"})
    stage.run(until=HOUR + 4000)

    by_start = {message["start"]: contents for message, contents in bundles_of(tmp_path, stage.out)}
    contents = by_start[write_stamp(HOUR)]
    found = [(one.header.node, one.header.instance, len(one.ticks), len(one.elsewhere)) for one in contents.manifests]
    assert found == [("here.one", "one", 1, 1), ("here.other", "other", 2, 0)]


@pytest.mark.parametrize("comes_more", [True, False])
def test_records_that_somebody_removed_are_reported_as_lost(tmp_path: Path, comes_more: bool) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    stage.step()
    shutil.rmtree(tmp_path / "data/feeds")
    if comes_more:
        stage.push(failed(HOUR + 61))
    stage.run(until=HOUR + 4000)

    [report] = stage.context.reports.values()
    assert (report.code, report.about, report.level, report.lasting) == ("records_gone", FEED, "error", True)


def test_two_nodes_have_a_manifest_each(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1, node="a"), failed(HOUR + 1, node="b"))
    stage.run(until=HOUR + 4000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert [manifest.header.node for manifest in contents.manifests] == ["a", "b"]


@pytest.mark.parametrize("settle", [False, True], ids=["before settling", "after settling"])
def test_a_kill_before_the_commit_neither_loses_nor_doubles_ticks(tmp_path: Path, settle: bool) -> None:
    stage = compress(tmp_path)
    stage.push(*(failed(HOUR + 60 * minute) for minute in range(5)))
    stage.step(commit=False, settle=settle)
    stage.restart()
    stage.run(until=HOUR + 4000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert len(contents.manifests[0].ticks) == 5


def test_a_kill_between_bundle_and_commit_gives_the_same_bundle_again(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    stage.now = HOUR + 3600 + 120
    stage.step(commit=False)
    [bundle] = (tmp_path / "data/feeds/bundles").rglob("*.zst")
    before = bundle.read_bytes()
    stage.restart()
    stage.run(until=HOUR + 5000)

    assert [message["revision"] for message in stage.out] == [1]
    assert bundle.read_bytes() == before and files(tmp_path) == []


@pytest.mark.parametrize("left", [1, 50, 100])
def test_a_damaged_bundle_that_an_earlier_try_left_is_made_again(tmp_path: Path, left: int) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    stage.now = HOUR + 3600 + 120
    stage.step(commit=False)
    [bundle] = (tmp_path / "data/feeds/bundles").rglob("*.zst")
    before = bundle.read_bytes()
    bundle.write_bytes(before[:left])
    stage.restart()
    stage.run(until=HOUR + 5000)

    assert [message["revision"] for message in stage.out] == [1]
    assert bundle.read_bytes() == before
    assert bundle.with_name(f"{bundle.name}.damaged").read_bytes() == before[:left]


def test_a_period_of_which_only_a_damaged_bundle_is_left_is_closed_without_one(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    cursors, timers = dict(stage.cursors), dict(stage.timers)
    stage.run(until=HOUR + 4000)
    (tmp_path / stage.out[0]["file"]).write_bytes(b"rubbish")
    stage.cursors, stage.timers, stage.out = cursors, timers, []
    stage.restart()
    stage.run(until=HOUR + 8000)

    stage.idle()
    assert not stage.out and list(stage.cursors) == [REARMED] and not stage.timers


def test_what_came_between_the_bundle_and_its_commit_is_in_one_of_the_revisions(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    stage.now = HOUR + 3600 + 120
    stage.push(failed(HOUR + 61), publish(tmp_path, HOUR + 2, b"two"))
    stage.step(commit=False)
    stage.restart()
    stage.run(until=HOUR + 5000)

    ticks = {tick.planned_ms for _, c in bundles_of(tmp_path, stage.out) for m in c.manifests for tick in m.ticks}
    assert len(set(held(tmp_path, stage.out))) == 2 and len(ticks) == 3
    assert files(tmp_path) == []


def test_ticks_of_the_next_revision_are_taken_back_when_its_opening_was_not_committed(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    stage.run(until=HOUR + 3600)
    stage.now = HOUR + 3600 + 120
    stage.step(most=0)  # the timer is a message now
    stage.push(failed(HOUR + 61))
    stage.step(commit=False)
    assert "ticks.2.jsonl" in files(tmp_path)
    stage.restart()
    # the tick comes again before the timer that closes the first revision
    stage.ready.reverse()
    stage.run(until=HOUR + 5000)

    [(message, contents)] = bundles_of(tmp_path, stage.out)
    assert message["revision"] == 1 and len(contents.manifests[0].ticks) == 2
    assert files(tmp_path) == []


def test_ticks_of_a_revision_are_taken_back_when_the_bundle_before_it_was_archived_meanwhile(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    stage.run(until=HOUR + 4000)
    stage.push(failed(HOUR + 61))
    stage.step(commit=False)
    assert files(tmp_path) == ["ticks.2.jsonl"]
    (tmp_path / stage.out.pop()["file"]).unlink()
    stage.restart()
    stage.run(until=HOUR + 8000)

    [(message, contents)] = bundles_of(tmp_path, stage.out)
    assert message["revision"] == 1
    assert [tick.planned_ms for tick in contents.manifests[0].ticks] == [(HOUR + 61) * 1000]
    assert files(tmp_path) == []


def test_a_publication_that_is_listed_for_removal_keeps_no_period_open(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    publish(tmp_path, HOUR + 2, b"its message never comes")
    stage.step()
    while not stage.out:
        stage.now = min(at for at, _ in stage.timers.values())
        stage.step(committed=False)
    stage.cursors.clear()  # killed, and Redis is gone too
    stage.timers.clear()
    stage.restart()
    stage.run(until=stage.now + 120)

    assert [message["revision"] for message in stage.out] == [1, 2]


def test_a_bundle_that_reads_back_as_another_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    written = save_bundle(path, subway_bodies())
    name = BundleName(FEED, HOUR)
    assert read_back(path, name, 1, written).sha256 == written.sha256

    save_bundle(path, subway_bodies()[1:])
    with pytest.raises(Retry, match="what was read back is not what was written"):
        read_back(path, name, 1, written)


def test_members_go_when_a_kill_came_after_the_commit(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    stage.now = HOUR + 3600 + 120
    stage.step(committed=False)
    assert len(stage.out) == 1 and len(files(tmp_path)) == 3
    stage.restart()
    stage.run(until=HOUR + 5000)

    assert files(tmp_path) == []
    assert set(held(tmp_path, stage.out)) == set(held(tmp_path, stage.out[:1]))


def test_a_late_member_between_commit_and_clearing_is_kept(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    stage.now = HOUR + 3600 + 120
    stage.step()
    late = publish(tmp_path, HOUR + 2, b"two")
    stage.ready.insert(0, encode_body(late))
    stage.run(until=HOUR + 5000)

    assert [message["revision"] for message in stage.out] == [1, 2]
    assert len(set(held(tmp_path, stage.out))) == 2 and files(tmp_path) == []


def test_what_lies_on_the_disk_is_bundled_when_redis_has_forgotten_all(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"), failed(HOUR + 61))
    stage.run(until=HOUR + 100)
    stage.cursors, stage.timers = {}, {}
    stage.restart()
    stage.run(until=HOUR + 4000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert len(contents.publications) == 1 and len(contents.manifests[0].ticks) == 2


def test_a_redis_that_comes_back_older_after_the_members_went_finds_them_in_the_bundle(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    cursors, timers = dict(stage.cursors), dict(stage.timers)
    stage.run(until=HOUR + 4000)
    stage.cursors, stage.timers, stage.out = cursors, timers, []
    stage.restart()
    stage.run(until=HOUR + 8000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert len(contents.publications) == 1
    assert [tick.planned_ms for tick in contents.manifests[0].ticks] == [(HOUR + 1) * 1000]


def test_a_timer_that_comes_twice_closes_once(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    [timer] = stage.timers.values()
    stage.timers["again"] = timer
    stage.run(until=HOUR + 4000)

    assert len(stage.out) == 1


def test_a_clock_set_back_a_day_does_not_keep_a_period_open_for_a_day(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.now = HOUR + 86_400
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run()
    stage.now = HOUR + 3600
    stage.push(failed(HOUR + 3600, feed="another"))
    stage.run(until=HOUR + 3600 + 120)

    assert [message["feed"] for message in stage.out] == [FEED]


def test_a_feed_that_lives_years_ahead_is_bundled_all_the_same(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 20 * 365 * 86_400, b"one", planned=HOUR + 1))
    stage.run(until=HOUR + 4000)

    assert len(held(tmp_path, stage.out)) == 1


def test_a_period_is_closed_at_once_when_told_to(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.push({"close": {"feed": FEED, "start": write_stamp(HOUR), "force": True}})
    stage.run()

    assert len(held(tmp_path, stage.out)) == 1 and files(tmp_path) == []


def test_equal_contents_make_equal_bundles_in_whatever_order_they_came(tmp_path: Path) -> None:
    results = []
    for folder, order in ((tmp_path / "a", 1), (tmp_path / "b", -1)):
        stage = compress(folder)
        messages = [publish(folder, HOUR + n, b"body %d" % n) for n in range(20)][::order]
        for message in messages:
            stage.push(message)
            stage.step()
        stage.run(until=HOUR + 4000)
        results.append(stage.out[0]["sha256"])

    assert results[0] == results[1]


def test_bundles_of_a_minute_in_another_format(tmp_path: Path) -> None:
    stage = compress(tmp_path, bundle="1m", grace="1s", format="gz", level="small")
    stage.push(*(publish(tmp_path, HOUR + 30 * n, b"body %d" % n, period_s=60) for n in range(4)))
    stage.run(until=HOUR + 200)

    assert [message["file"][-10:] for message in stage.out] == [".r1.tar.gz"] * 2
    assert len(held(tmp_path, stage.out)) == 4


def test_small_bundles_are_xz_unless_told_otherwise(tmp_path: Path) -> None:
    stage = compress(tmp_path, bundle="1m", grace="1s", level="small")
    stage.push(publish(tmp_path, HOUR, b"body", period_s=60))
    stage.run(until=HOUR + 200)

    assert [message["file"][-10:] for message in stage.out] == [".r1.tar.xz"]


@pytest.mark.parametrize(
    "body",
    [
        {"feed": "a"},
        {"feed": "../a", "tick": {"planned_ms": 1, "outcome": "failed"}},
        {"feed": "a", "tick": {"planned_ms": 1, "outcome": "odd"}},
        {"feed": "a", "tick": {"planned_ms": 10**18, "outcome": "failed"}},
        {"feed": "a", "missed_from_ms": 0, "missed_to_ms": 10**13, "period_ms": 1},
        {"feed": "a", "missed_from_ms": 5, "missed_to_ms": 1, "period_ms": 1},
        {"close": {"feed": "../a", "start": write_stamp(HOUR)}},
        {"clear": {"feed": "a", "start": "soon"}},
        {"clear": "all"},
    ],
)
def test_what_is_no_tick_is_rejected(tmp_path: Path, body: dict[str, Any]) -> None:
    stage = compress(tmp_path)
    raw = encode_body(body)

    with pytest.raises(Reject):
        list(stage.stage.handle(Message(raw, raw)))
    assert not settled(stage.stage) and files(tmp_path) == []


def test_a_full_disk_pauses_the_worker_and_no_tick_is_lost(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    stage.run()
    ticks = tmp_path / "data/feeds/publications" / FEED / write_stamp(HOUR) / "ticks.1.jsonl"
    ticks.rename(tmp_path / "before")
    ticks.symlink_to("/dev/full")
    raw = encode_body(failed(HOUR + 61))
    list(stage.stage.handle(Message(raw, raw)))
    with pytest.raises(Unavailable, match="No space left"):
        settled(stage.stage)

    ticks.unlink()
    (tmp_path / "before").rename(ticks)
    settled(stage.stage)
    stage.run(until=HOUR + 4000)
    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert len(contents.manifests[0].ticks) == 2


def test_a_disk_that_is_full_while_a_bundle_is_written_keeps_its_members(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 3600)
    folder = tmp_path / "data/feeds/bundles/2024-02-08/12"
    folder.mkdir(parents=True)
    part = folder / f".{FEED}-{write_stamp(HOUR)}.r1.tar.zst.{os.getpid()}.part"
    part.symlink_to("/dev/full")
    stage.now = HOUR + 3720
    with pytest.raises(Unavailable, match="No space left"):
        stage.step()
    assert not stage.out

    stage.run(until=HOUR + 4000)
    assert len(held(tmp_path, stage.out)) == 1 and files(tmp_path) == []


@pytest.mark.parametrize(("before", "after"), [("1h", "10m"), ("10m", "1h")])
def test_another_length_of_bundles_is_true_of_what_was_open_before(tmp_path: Path, before: str, after: str) -> None:
    seconds = {"1h": 3600, "10m": 600}
    stage = compress(tmp_path, bundle=before)
    for minute in (1, 11, 59):
        at, ahead = HOUR + 60 * minute, HOUR + 60 * minute + 700
        stage.push(publish(tmp_path, at, b"body %d" % minute, period_s=seconds[before]))
        stage.push(publish(tmp_path, ahead, b"ahead %d" % minute, planned=at + 30, period_s=seconds[before]))
    row = {**failed(0), "missed_from_ms": (HOUR + 720) * 1000, "missed_to_ms": (HOUR + 1260) * 1000}
    del row["tick"]
    stage.push(row)
    stage.step()

    stage.options["bundle"] = after
    stage.restart()
    stage.run(until=HOUR + 3 * 3600)

    names, ticks = set(), set()
    for message, contents in bundles_of(tmp_path, stage.out):
        start, end = read_stamp(message["start"]), read_stamp(message["start"]) + seconds[after]
        assert start % seconds[after] == 0
        assert all(start <= member.mtime < end for member in contents.publications)
        for manifest in contents.manifests:
            assert manifest.header.period_s == seconds[after]
            assert all(start * 1000 <= tick.planned_ms < end * 1000 for tick in manifest.ticks)
            ticks |= {(tick.planned_ms, tick.outcome) for tick in manifest.ticks}
        names |= {member.name for member in contents.publications}
    assert len(names) == 6 and sorted(outcome for _, outcome in ticks) == ["missed"] * 10 + ["ok"] * 6
    stage.idle()
    assert files(tmp_path) == [] and list(stage.cursors) == [REARMED]


def test_a_kill_while_periods_are_changed_loses_nothing(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"), publish(tmp_path, HOUR + 3599, b"two"))
    stage.step()
    stage.options["bundle"] = "10m"
    stage.restart()
    stage.now = HOUR + 3720
    stage.step(commit=False)
    stage.restart()
    stage.run(until=HOUR + 8000)

    ticks = {tick.planned_ms for _, c in bundles_of(tmp_path, stage.out) for m in c.manifests for tick in m.ticks}
    assert len(set(held(tmp_path, stage.out))) == 2 and len(ticks) == 2
    assert files(tmp_path) == []


def test_periods_to_which_a_change_was_interrupted_are_opened_all_the_same(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    published = [publish(tmp_path, HOUR + 1210, b"one"), publish(tmp_path, HOUR + 3599, b"two")]
    stage.step()
    stage.options["bundle"] = "10m"
    stage.restart()
    folder = tmp_path / "data/feeds/publications" / FEED / write_stamp(HOUR + 3000)
    plain = published[1]["publication"]
    variant = plain.replace(".pb", f"-{published[1]['tick']['sha256'][:8]}.pb")
    for name in (plain, variant):
        (folder / name).mkdir(parents=True)
    stage.now = HOUR + 3720
    with pytest.raises(Retry, match="directory"):
        stage.step()

    for name in (plain, variant):
        (folder / name).rmdir()
    stage.run(until=HOUR + 9000)
    assert len(held(tmp_path, stage.out)) == 2 and files(tmp_path) == []


def test_other_bytes_under_one_name_are_both_kept_when_periods_change(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 3599, b"one"))
    stage.step()
    stage.options["bundle"] = "10m"
    stage.restart()
    stage.push(publish(tmp_path, HOUR + 3599, b"two", period_s=600))
    stage.run(until=HOUR + 8000)

    bodies = {member.sha256 for _, c in bundles_of(tmp_path, stage.out) for member in c.publications}
    assert len(bodies) == 2


def test_a_file_where_a_feeds_folder_belongs_holds_up_this_feed_only_and_is_told(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    in_the_way = tmp_path / "data/feeds/publications" / FEED
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the folder belongs")
    raw = encode_body(failed(HOUR + 1))
    with pytest.raises(Retry, match=f"publications/{FEED}"):
        list(stage.stage.handle(Message(raw, raw)))
    stage.push(failed(HOUR + 1, feed="other"))
    stage.step()

    in_the_way.unlink()
    stage.push(failed(HOUR + 1))
    stage.run(until=HOUR + 4000)
    assert sorted(message["feed"] for message in stage.out) == sorted([FEED, "other"])


def test_a_file_where_the_folder_of_all_feeds_belongs_pauses_the_worker(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    (tmp_path / "data/feeds").mkdir(parents=True)
    (tmp_path / "data/feeds/publications").write_text("a file where the folder belongs")
    stage.push(failed(HOUR + 1))

    with pytest.raises(Unavailable, match="publications"):
        stage.step()


def test_a_folder_that_cannot_be_written_keeps_the_worker_from_starting_until_it_can(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    stage.run()
    ticks = tmp_path / "data/feeds/publications" / FEED / write_stamp(HOUR) / "ticks.2.jsonl"
    ticks.mkdir()
    with pytest.raises(Unavailable, match=r"ticks\.2\.jsonl"):
        stage.restart()

    ticks.rmdir()
    stage.restart()
    stage.run(until=HOUR + 4000)
    assert [message["feed"] for message in stage.out] == [FEED]


def test_stray_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run(until=HOUR + 100)
    publications = tmp_path / "data/feeds/publications"
    folder = publications / FEED / write_stamp(HOUR)
    (folder / f"{FEED}-{write_stamp(HOUR + 5)}.pb").mkdir()
    for stray in (folder / "notes.txt", publications / FEED / "a file", publications / "a file"):
        stray.touch()
    stage.restart()
    stage.run(until=HOUR + 4000)

    assert len(held(tmp_path, stage.out)) == 1
    assert files(tmp_path) == ["a file", "a file", "notes.txt"]


def test_thousands_of_feeds_take_few_files_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # of thousands of files: nothing crashes here
    stage = compress(tmp_path)
    assert not open_below(tmp_path)
    tracemalloc.start()
    for number in range(3000):
        stage.push(failed(HOUR + 1, feed=f"feed-{number}"))
        if number % 250 == 249:
            stage.step(250)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(stage.stage.book.open) == 3000  # type: ignore[attr-defined]
    assert not open_below(tmp_path)
    assert size < 10 * 1024**2  # with what this test keeps for Redis


def open_below(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open; others come and go with the garbage of other tests."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of this listing has gone
            found.append(os.readlink(descriptor))
    return [path for path in found if path.startswith(f"{folder}/")]


def test_a_period_of_many_ticks_takes_less_than_a_kilobyte_for_each_of_them(tmp_path: Path) -> None:
    ticks = 20_000
    stage = compress(tmp_path)
    template = {"outcome": "same", "status": 200, "size_bytes": 1, "sha256": "0" * 64, "header_ms": HOUR * 1000}
    for first in range(0, ticks, 1000):
        same = [{**template, "planned_ms": HOUR * 1000 + n * 180} for n in range(first, first + 1000)]
        stage.push(*({**failed(HOUR), "tick": tick} for tick in same))
        stage.run()
    stage.now = HOUR + 3720

    tracemalloc.start()
    stage.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(stage.out) == 1
    assert peak < 800 * ticks


def test_what_a_killed_process_did_not_finish_is_removed_at_the_next_start(tmp_path: Path) -> None:
    part = tmp_path / "data/feeds/bundles/2024-02-08/12" / f".{FEED}.r1.tar.zst.4711.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    compress(tmp_path)

    assert not part.exists()


def test_a_publication_whose_message_is_still_to_come_keeps_its_period_open(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    on_its_way = publish(tmp_path, HOUR + 2, b"one")
    stage.run(until=HOUR + 4000)
    assert not stage.out

    stage.push(on_its_way)
    stage.run(until=HOUR + 4300)
    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert len(contents.publications) == 1 and len(contents.manifests[0].ticks) == 2


def test_a_publication_whose_message_never_comes_is_bundled_in_the_end(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    publish(tmp_path, HOUR + 2, b"one")
    stage.run(until=HOUR + 3600 + 11 * 120)

    assert len(held(tmp_path, stage.out)) == 1 and files(tmp_path) == []


def test_a_period_whose_timer_was_lost_gets_another_at_a_start_once_an_hour(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 1, b"one"))
    stage.run()
    stage.timers, stage.now = {}, HOUR + 3 * 3600.0
    for _ in range(3):
        stage.restart()
    assert len(stage.timers) == 1

    stage.run(until=stage.now + 121)
    assert len(held(tmp_path, stage.out)) == 1
