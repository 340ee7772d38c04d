"""Work is found on the disk: bodies, periods and bundles that no message tells of, because their Redis is gone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.client import Redis

from aggregator.config.loading import load
from aggregator.feeds.archive import Archive
from aggregator.feeds.compress import Compress
from aggregator.feeds.fetching.headernotes import read_headers
from aggregator.feeds.fetching.partialfile import PartialFile
from aggregator.feeds.filtering.state import decode_state
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.runtime.contract import Drop
from aggregator.runtime.keys import Keys
from aggregator.runtime.message import History, Message
from aggregator.stores import open_store
from aggregator.stores.settings import StoreSettings
from aggregator.supervision import build
from tests.feeds.bundles import HOUR, subway_bodies
from tests.feeds.captures import subway_captures
from tests.feeds.filtering import NOW_MS, Filtering
from tests.feeds.machines import Machine, stored
from tests.feeds.stepping import FEED, Stepped, failed, held, publish
from tests.feeds.test_archive import local_bundle, local_files, names_in
from tests.processes import PROJECT
from tests.servers import wait_until

CAPTURES = [body for _, body in subway_captures()]


@pytest.fixture
def line(tmp_path: Path) -> Filtering:
    line = Filtering(tmp_path)
    line.configure(timestamp="gtfs-realtime", format="gtfs-realtime")
    return line


def compress(root: Path, **options: Any) -> Stepped:
    return Stepped(Compress, root, pushto="bundled@node", **options)


def archive(root: Path, **options: Any) -> Stepped:
    settings = {"store": "test", "prefix": "feeds", "keep": "0", **options}
    return Stepped(Archive, root, store_settings=StoreSettings(url=f"file://{root}/store"), **settings)


# Downloads


def test_a_body_without_a_message_is_taken_once_it_lay_there_for_a_minute(line: Filtering) -> None:
    line.download(CAPTURES[0])
    line.age(59)
    assert line.idle() == []

    line.planned_ms += 60_000
    [message] = line.idle()

    filtered = line.handle(message)
    assert (filtered.tick.outcome, filtered.tick.flags) == ("ok", ("found", "past"))
    assert filtered.tick.planned_ms == NOW_MS + 10_000
    assert filtered.publication == "ace-2024-02-08T125915Z.pb"
    assert line.publications() == {filtered.publication: CAPTURES[0]}
    assert line.stage.context.counts["found"] == 1


def test_a_look_is_taken_once_a_minute(line: Filtering) -> None:
    assert line.idle() == []
    line.download(CAPTURES[0], after_s=50)
    line.age(500)

    assert line.idle() == []
    line.planned_ms += 10_000
    assert len(line.idle()) == 1


def test_a_body_is_told_of_once_also_when_its_message_is_set_aside_and_again_in_another_redis(line: Filtering) -> None:
    line.download(CAPTURES[0])
    line.age(500)
    assert len(line.idle()) == 1

    line.planned_ms += 61_000
    assert line.idle() == []
    line.restart()
    assert line.idle() == []
    line.cursors.clear()
    line.restart()
    assert len(line.idle()) == 1


def test_nothing_is_remembered_of_a_body_that_was_taken(line: Filtering) -> None:
    line.download(CAPTURES[0])
    line.age(500)
    line.handle(line.idle()[0])
    line.planned_ms += 61_000
    line.idle()

    assert [name for name in line.cursors if name.startswith("found:")] == []
    assert line.downloads() == line.decided() == []


def test_a_body_counts_once_when_its_own_message_comes_after_all(line: Filtering) -> None:
    message = line.download(CAPTURES[0])
    line.age(500)
    [found] = line.idle()
    line.handle(found)

    assert list(line.stage.handle(message)) == [Drop("told_before")]


def test_a_body_counts_once_when_its_own_message_comes_first(line: Filtering) -> None:
    message = line.download(CAPTURES[0])
    line.age(500)
    [found] = line.idle()
    line.handle(message)
    for path in line.folders.publications.rglob("*.pb"):
        path.unlink()

    assert list(line.stage.handle(found)) == [Drop("told_before")]


def test_a_body_on_which_was_decided_without_a_commit_is_taken_in_a_new_redis(line: Filtering) -> None:
    line.handle(line.download(CAPTURES[0]), commit=False)
    line.age(500)
    line.restart()
    assert len(line.decided()) == 1

    [found] = line.idle()

    assert line.handle(found).publication == "ace-2024-02-08T125915Z.pb"
    assert line.publications() == {"ace-2024-02-08T125915Z.pb": CAPTURES[0]}


def test_the_bodies_of_a_feed_that_is_not_configured_are_kept_and_reported(line: Filtering) -> None:
    line.download(CAPTURES[0], feed="gone")
    line.age(500)

    assert line.idle() == []

    [report] = line.stage.context.reports.values()
    assert (report.code, report.about, report.lasting) == ("body_without_feed", "gone", True)
    assert len(line.downloads()) == 1


def test_a_body_that_changed_is_kept_and_reported(line: Filtering) -> None:
    line.download(CAPTURES[0])
    line.downloads()[0].write_bytes(b"something else")
    line.age(500)

    assert line.idle() == []

    [report] = line.stage.context.reports.values()
    assert (report.code, report.lasting) == ("download_damaged", True)
    assert len(line.downloads()) == 1


def test_a_body_found_late_is_not_what_the_feed_shows_now(line: Filtering) -> None:
    line.configure(timestamp="none", format="other", extension="txt")
    about = {"timestamp": "none", "format": "other", "extension": "txt"}
    line.take(b"off", **about)
    line.download(b"on", **about)
    line.age(500)
    line.take(b"off again", **about)
    line.planned_ms += 61_000

    assert line.handle(line.idle()[0]).tick.outcome == "ok"

    assert sorted(line.publications().values()) == [b"off", b"off again", b"on"]
    assert line.take(b"off again", **about).tick.outcome == "same"
    assert line.take(b"on", **about).tick.outcome == "ok"


def test_a_message_that_is_tried_again_late_is_not_what_the_feed_shows_now_either(line: Filtering) -> None:
    line.configure(timestamp="none", format="other")
    about = {"timestamp": "none", "format": "other"}
    line.take(b"new", **about)
    tried = line.download(b"on", **about)
    line.take(b"off", **about)

    [_] = line.stage.handle(Message(tried.raw, tried.raw, History(attempts=1)))
    line.commit()

    assert line.take(b"off", **about).tick.outcome == "same"
    assert line.take(b"on", **about).tick.outcome == "ok"


def test_the_headers_that_tell_the_time_are_found_with_the_body(line: Filtering) -> None:
    line.configure(timestamp="http", format="other", extension="txt")
    message = line.download(b"text", timestamp="http", format="other", extension="txt")
    told = msgspec.json.decode(message.raw, type=Downloaded)
    path = line.root / told.file
    path.unlink()
    with PartialFile(path.parent, "x") as partial:
        partial.write(b"text")
        partial.keep(path.name, {"last-modified": formatdate(HOUR, usegmt=True), "server": "x"})
    line.age(500)
    # where the file system can keep them; else the file's own time stands in
    expected = HOUR if read_headers(path) else line.planned_ms // 1000 - 500

    [found] = line.idle()

    assert line.handle(found).published_ms == expected * 1000


def test_many_bodies_are_taken_in_their_order_a_hundred_in_a_look(line: Filtering) -> None:
    line.configure(timestamp="none", format="other")
    for number in range(130):
        line.download(b"%d" % number, timestamp="none", format="other")
    line.age(500)

    found = [*line.idle(), *line.idle()]

    assert [line.handle(message).tick.planned_ms for message in found] == [
        NOW_MS + 10_000 * (number + 1) for number in range(130)
    ]
    assert decode_state(line.cursors["feed:ace"]).outcome == "ok"


# Periods


def test_a_period_that_nobody_told_of_is_opened_while_compress_runs(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    publish(tmp_path, HOUR + 10, b"one")

    assert stage.idle() == 0
    stage.now += 61
    assert stage.idle() == 1

    stage.run(until=HOUR + 8000)
    assert len(held(tmp_path, stage.out)) == 1
    assert not (tmp_path / "data/feeds/publications" / FEED / write_stamp(HOUR)).exists()


def test_a_period_whose_timer_is_lost_gets_another_and_not_one_a_minute(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(failed(HOUR + 1))
    stage.step()
    stage.timers.clear()

    timers = []
    for minute in range(200):
        stage.now = HOUR + minute * 61
        if stage.idle():
            timers.append(minute)
            stage.timers.clear()
            stage.ready.clear()

    assert timers and timers[0] * 61 >= 3600 and len(timers) < 10
    stage.now += 7200
    assert stage.idle() == 1
    stage.run()
    assert len(stage.out) == 1


def test_periods_of_another_length_that_come_late_are_found_and_moved(tmp_path: Path) -> None:
    stage = compress(tmp_path, bundle="1m")
    message = publish(tmp_path, HOUR + 125, b"laid down by a filter that still says 1h")
    for path in local_files(tmp_path):
        os.utime(path, (HOUR, HOUR))
    stage.push(message)
    stage.run(until=HOUR + 2000)
    assert held(tmp_path, stage.out) == []

    stage.idle()
    stage.run(until=HOUR + 2300)

    assert held(tmp_path, stage.out) == [message["publication"]]
    assert stage.out[-1]["start"] == write_stamp(HOUR + 120)


def test_members_lists_whose_clearing_never_came_go_with_the_next_one(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 10, b"one"))
    stage.step()
    stage.now = HOUR + 4000
    stage.step(committed=False)
    stage.cursors.clear()
    stage.restart()

    stage.run(until=HOUR + 9000)

    assert len(stage.out) == 2
    assert not (tmp_path / "data/feeds/publications" / FEED / write_stamp(HOUR)).exists()


# Bundles


@pytest.mark.parametrize("format_name", ["zst", "xz"])
def test_a_bundle_that_nobody_told_of_is_stored_in_whatever_format(tmp_path: Path, format_name: str) -> None:
    stage = archive(tmp_path)
    message = local_bundle(tmp_path, subway_bodies(), format_name=format_name)
    path = tmp_path / message["file"]
    os.utime(path, (stage.now - 59, stage.now - 59))
    assert stage.idle() == 0

    stage.now += 60
    assert stage.idle() == 1
    stage.run()

    assert len(list(open_store(f"file://{tmp_path}/store").list("feeds/"))) == 1
    assert not path.exists()
    stage.now += 61
    assert stage.idle() == 0
    assert [name for name in stage.cursors if name.startswith("found:")] == []


def test_a_bundle_that_is_stored_and_kept_is_not_stored_again(tmp_path: Path) -> None:
    stage = archive(tmp_path, keep="1d")
    message = local_bundle(tmp_path, subway_bodies())
    os.utime(tmp_path / message["file"], (stage.now - 80_000, stage.now - 80_000))
    stage.push(message)
    stage.run()

    stage.now += 86_000
    assert stage.idle() == 0


def test_a_stored_file_that_cannot_be_removed_holds_up_no_other_and_is_told(tmp_path: Path) -> None:
    stage = archive(tmp_path, keep="1m")
    stage.push(local_bundle(tmp_path, subway_bodies()))
    stage.run()
    [stored] = tmp_path.rglob("*.stored")
    in_the_way = stored.with_name("a.stored")
    in_the_way.mkdir()

    stage.now += 61
    stage.idle()

    assert not stored.exists() and in_the_way.is_dir()
    assert [code for code, _ in stage.context.reports] == ["not_removed"]


def test_a_bundle_that_was_stored_by_a_process_killed_right_then_is_told_of_again(tmp_path: Path) -> None:
    stage = archive(tmp_path, keep="1d")
    message = local_bundle(tmp_path, subway_bodies())
    stage.push(message)
    stage.step(committed=False)
    stage.restart()

    stage.now += 600
    assert stage.idle() == 1
    stage.run()
    stage.now += 86_401
    stage.idle()
    assert not (tmp_path / message["file"]).exists() and not list(tmp_path.rglob("*.stored"))


def test_a_bundle_counts_once_when_its_own_message_comes_too(tmp_path: Path) -> None:
    stage = archive(tmp_path)
    message = local_bundle(tmp_path, subway_bodies())
    assert stage.idle() == 1
    stage.push(message, message)
    stage.run()

    [info] = open_store(f"file://{tmp_path}/store").list("feeds/")
    assert len(names_in(open_store(f"file://{tmp_path}/store"), info.key)) == 12


def test_a_bundle_that_is_damaged_is_reported_and_kept(tmp_path: Path) -> None:
    stage = archive(tmp_path)
    path = tmp_path / local_bundle(tmp_path, subway_bodies())["file"]
    path.write_bytes(path.read_bytes()[:-100])

    assert stage.idle() == 0
    stage.now += 61
    assert stage.idle() == 0

    [report] = stage.context.reports.values()
    assert (report.code, report.about, report.level) == ("bundle_damaged", path.name, "error")
    assert path.exists()


# Real workers


def test_what_another_redis_knew_of_is_archived_though_workers_are_killed(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    root = tmp_path / "machine"
    with Machine(root, redis_url, namespace, {"url": f"file://{tmp_path}/store"}, grace="0") as machine:
        local_bundle(root, subway_bodies()[:4])
        for number, (at, body) in enumerate(subway_captures()[4:8]):
            publish(root, at + 3600 * number, body)
        for path in local_files(root):
            os.utime(path, (HOUR, HOUR))
        machine.start()
        for _ in range(4):
            machine.kill_one()
            machine.start(random.choice(["worker_compress", "worker_archive"]))
        machine.wait_until_done(60)

    store = open_store(f"file://{tmp_path}/store")
    assert sum(len(contents.publications) for contents in stored(store).values()) == 8
    assert FeedFolders(root / "data/feeds").bundles.exists()


def test_a_filter_that_is_killed_while_it_takes_what_it_found_takes_each_body_once(
    tmp_path: Path, redis_url: str, redis_client: Redis, namespace: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/node").write_text("here\n")
    (tmp_path / "loglines.cfg").write_text(
        f"[redis]\nurl = {redis_url}\nnamespace = {namespace}\n[feed_ace]\nurl = http://x.example/\nextension = txt\n"
        "[worker_filter]\nstage = filter\nlistento = fetched@node\npushto = published@node\nbatch = 7\n"
        "maxdeliveries = 1000\n"
    )
    build(load(tmp_path / "loglines.cfg", tmp_path))
    line = Filtering(tmp_path)
    for number in range(150):
        line.download(b"%d" % number, timestamp="none", format="other", extension="txt")
    line.age(500)
    keys = Keys(namespace)

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "aggregator", "-r", str(tmp_path), "work", "worker_filter", "0"]
        return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)

    worker = start()
    try:
        for least in (1, 30, 60, 90, 120):
            wait_until(lambda least=least: redis_client.llen(keys.queue("published@here")) >= least, 60)  # type: ignore[misc]
            worker.kill()
            worker.wait()
            worker = start()
        wait_until(lambda: redis_client.llen(keys.queue("published@here")) >= 150 and not line.downloads(), 60)
    finally:
        worker.kill()
        worker.wait()

    told = [msgspec.json.decode(raw) for raw in redis_client.lrange(keys.queue("published@here"), 0, -1)]
    assert [one["tick"]["planned_ms"] for one in told] == [NOW_MS + 10_000 * number for number in range(1, 151)]
    assert {one["tick"]["outcome"] for one in told} == {"ok"}
    assert sorted(line.publications().values()) == sorted(b"%d" % number for number in range(150))
