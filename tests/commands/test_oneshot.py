"""`download` and `filter` in the foreground, and `feeds import`."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from pathlib import Path

import pytest

from aggregator.commands import testrun
from aggregator.commands.invocation import Invocation
from aggregator.feeds.bundle.manifest import Outcome, Tick
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.runtime.kinds import encode
from tests.commands.conftest import Site
from tests.feeds.captures import subway_captures
from tests.feeds.webserver import WebServer, body, redirect
from tests.servers import wait_until

CAPTURE = subway_captures()[0][1]

FEEDS = """
[feed_ace]
url = {url}/ace
extension = pb
period = 300ms
timestamp = gtfs-realtime
[worker_download]
stage = download
pushto = fetched@node
[worker_filter]
stage = filter
listento = fetched@node
pushto = published@node
"""


def test_download_runs_for_a_while(site: Site) -> None:
    with WebServer() as server:
        server.answers["/ace"] = body(CAPTURE)
        site.configure(FEEDS.format(url=server.url))
        began = time.monotonic()

        download = site.start("download", "--duration", "2s")
        out, err = download.communicate(timeout=60)

    assert (download.returncode, err) == (0, "")
    assert time.monotonic() - began >= 2
    # how many it can handle in this while is the machine's affair
    ticks = [told for told in site.desk.waiting("fetched@node") if b'"tick":' in told]
    assert out == f"download: done; {len(ticks)} ticks\n"


def test_download_ends_once_enough_was_handled_and_filter_when_nothing_is_left(site: Site) -> None:
    with WebServer() as server:
        server.answers["/ace"] = body(CAPTURE)
        # long enough that not all three are late
        site.configure(FEEDS.replace("300ms", "1s").format(url=server.url))

        download = site.start("download", "--limit", "3")
        out, err = download.communicate(timeout=60)

    assert (download.returncode, err) == (0, "")
    assert int(out.split()[2]) >= 3
    filtering = site.start("filter")
    out, err = filtering.communicate(timeout=60)
    assert (filtering.returncode, err) == (0, "")
    published = site.root / "data/feeds/publications/ace/2024-02-08T120000Z/ace-2024-02-08T125915Z.pb"
    assert published.read_bytes() == CAPTURE
    told = len(site.desk.waiting("published@node"))
    warning, done = out.splitlines()
    assert "feed_clock about=ace" in warning  # the capture is of 2024
    assert done == f"filter: done; {told} ticks" and told >= 3
    assert site.desk.waiting("fetched@node") == []


def test_filter_takes_bodies_that_no_message_tells_of(site: Site) -> None:
    site.configure(FEEDS.format(url="http://127.0.0.1:1"))
    planned_ms = int(time.time() * 1000) - 600_000
    path = FeedFolders(site.root / "data/feeds").download("ace", planned_ms, "pb")
    path = path.with_name(f"{path.stem}-{hashlib.sha256(CAPTURE).hexdigest()[:8]}.pb")
    path.parent.mkdir(parents=True)
    path.write_bytes(CAPTURE)
    os.utime(path, (planned_ms / 1000, planned_ms / 1000))

    filtering = site.start("filter")
    out, _ = filtering.communicate(timeout=60)

    assert filtering.returncode == 0 and out.endswith("filter: done; 1 ticks\n")
    [told] = site.desk.waiting("published@node")
    assert b'"publication":"ace-2024-02-08T125915Z.pb"' in told and b'"flags":["found"' in told
    assert not path.exists()


def test_new_feeds_do_not_count_as_ticks_before_they_are_downloaded(site: Site) -> None:
    # the first of them comes after 0.4 s, and the last after 9
    feeds = "".join(f"[feed_f{n}]\nurl = {{url}}/f{n}\nextension = pb\nperiod = 7d\n" for n in range(8))
    with WebServer() as server:
        site.configure((feeds + FEEDS.replace("300ms", "7d")).format(url=server.url))

        download = site.start("download", "--limit", "2")
        out, err = download.communicate(timeout=60)

    assert (download.returncode, err) == (0, "")
    assert 2 <= int(out.split()[2]) <= len(server.asked)


@pytest.mark.usefixtures("long_lease")
def test_a_second_download_leaves_the_first_alone(site: Site) -> None:
    with WebServer() as server:
        server.answers["/ace"] = body(CAPTURE)
        site.configure(FEEDS.format(url=server.url))
        first = site.start("download")
        try:
            worker = site.desk.keys.worker("node:worker_download_0")
            wait_until(lambda: site.desk.client.hget(worker, "beat_at"), 60)

            second = site.run("download", "--duration", "1")

            assert second.code == 1
            assert "worker_download_0 is at work" in second.err
            assert first.poll() is None
        finally:
            first.terminate()
            first.communicate(timeout=60)
    assert first.returncode == 0


def test_addresses_that_are_hard_to_read_keep_no_process_from_ending(site: Site) -> None:
    target = "/there?" + "?key" * 2000
    feeds = "".join(f"[feed_f{n}]\nurl = {{url}}/f{n}\nextension = pb\nperiod = 1s\n" for n in range(8))
    with WebServer() as server:
        server.answers |= {f"/f{n}": redirect(target) for n in range(8)} | {target: body(b"x")}
        site.configure((feeds + FEEDS).format(url=server.url))
        download = site.start("download")
        # some ten times what it needs; each of these addresses used to take more
        resource.prlimit(download.pid, resource.RLIMIT_CPU, (15, 15))
        wait_until(lambda: server.count(target) > 16 or download.poll() is not None, 120)

        download.terminate()
        download.communicate(timeout=60)

    assert download.returncode == 0
    told = [decode(raw, Downloaded) for raw in site.desk.waiting("fetched@node")]
    assert {len(message.final_url) for message in told if message.final_url} == {1001}


def test_a_duration_that_is_none_is_bad_usage(site: Site) -> None:
    with pytest.raises(SystemExit) as raised:
        site.run("download", "--duration", "long")
    assert raised.value.code == 2


@pytest.mark.parametrize("limit", ["0", "-3", "many"])
def test_a_limit_that_is_none_is_bad_usage(site: Site, limit: str) -> None:
    with pytest.raises(SystemExit) as raised:
        site.run("download", "--limit", limit)
    assert raised.value.code == 2


def test_a_file_without_the_stage_is_told(site: Site) -> None:
    ran = site.run("filter")

    assert ran.code == 1
    assert "must have one section with stage = filter" in ran.err


def test_feeds_import_prints_sections_and_says_apart_what_is_left_to_do(site: Site, tmp_path: Path) -> None:
    old = tmp_path / "remote_settings.py"
    old.write_text("def gtfs_realtime(path): pass\nfeeds = [['a', 'http://x/?key=s3cret', 'gtfs', gtfs_realtime]]\n")

    ran = site.run("feeds", "import", str(old))

    assert (ran.code, ran.lines) == (
        0,
        ["[feed_a]", "url = http://x/?key=%(ENV_FEED_KEY)s", "extension = gtfs", "timestamp = gtfs-realtime"],
    )
    assert ran.err.splitlines() == [
        "note: it used no remote storage, so there is no section [store_main]",
        "secret: set the variable FEED_KEY to key in the address of a",
    ]


def test_feeds_import_refuses_another_file_in_one_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("x = 1\n")

    ran = site.run("feeds", "import", str(tmp_path / "other.py"))

    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "no list `feeds` in it" in ran.err


ARCHIVE = """
[feed_broken]
url = {url}/broken
extension = pb
timestamp = gtfs-realtime
[feed_gone]
url = {url}/gone
extension = pb
[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node
[worker_archive]
stage = archive
listento = bundled@node
store = disk
[store_disk]
url = file://{root}/archive
"""


def test_testrun_beside_a_worker_asks_nothing_of_any_feed(site: Site) -> None:
    with WebServer() as server:
        site.configure(FEEDS.format(url=server.url).replace("300ms", "7d"))
        site.desk.client.hset(
            site.desk.keys.worker("node:worker_filter_0"),
            mapping={"state": "idle", "pid": 1, "beat_at": site.desk.client.time()[0] + 60},
        )
        site.desk.client.sadd(site.desk.keys.workers, "node:worker_filter_0")

        ran = site.run("testrun")

    assert (ran.code, server.asked) == (1, [])
    assert "worker_filter_0 is at work" in ran.err
    assert site.desk.waiting("ticks@node") == []


def test_testrun_takes_each_feed_all_the_way_once_and_reports(site: Site) -> None:
    with WebServer() as server:
        server.answers |= {"/ace": body(CAPTURE), "/broken": body(b"<html>")}
        site.configure((FEEDS + ARCHIVE).format(url=server.url, root=site.root))

        process = site.start("testrun")
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (1, "")
    warning, *lines = out.splitlines()
    assert "feed_clock about=ace" in warning
    assert lines[0].split() == ["FEED", "OUTCOME", "PUBLISHED", "(UTC)", "TODAY"]
    assert lines[1].split() == ["ace", "ok", "2024-02-08", "12:59:15", "132,081"]
    assert lines[2].split()[:2] == ["broken", "invalid"] and "no GTFS-realtime message" in lines[2]
    assert lines[3].split()[:2] == ["gone", "failed"] and "HTTP 404 Not Found" in lines[3]
    assert lines[4] == "1 of 3 feeds answered with what they should"
    bundle = site.root / "archive/2024-02-08/12/ace-2024-02-08T120000Z.tar.zst"
    assert bundle.stat().st_size > 10_000
    assert [asked.path for asked in server.asked if asked.path == "/ace"] == ["/ace"]
    # nothing goes on afterwards that would have to be accounted for
    assert site.desk.client.zcard(site.desk.keys.timers("ticks@node")) == 0


def test_testrun_exits_with_0_when_all_feeds_answer(site: Site) -> None:
    with WebServer() as server:
        server.answers["/ace"] = body(CAPTURE)
        site.configure(FEEDS.format(url=server.url))

        process = site.start("testrun")
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "1 of 1 feeds answered with what they should"


def test_testrun_judges_a_feed_by_its_own_tick_and_not_by_a_late_one_behind_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(planned_ms: int, outcome: Outcome) -> bytes:
        tick = Tick(planned_ms=planned_ms, outcome=outcome)
        return encode(
            Downloaded(feed="ace", url="", period_ms=300, extension="pb", timestamp="none", format="other", tick=tick)
        )

    def download_once(invocation: Invocation, feeds: list[str], now_ms: int) -> None:
        site.desk.push("fetched@node", tell(now_ms, "not_modified"), tell(now_ms + 1, "late"))

    monkeypatch.setattr(testrun, "_download_once", download_once)
    site.configure(FEEDS.format(url="http://127.0.0.1:1"))

    ran = site.run("testrun")

    assert ran.code == 0
    assert ran.lines[1].split() == ["ace", "not_modified", "0"]
    assert ran.lines[2] == "1 of 1 feeds answered with what they should"


def test_testrun_ends_though_feeds_that_are_under_way_go_on_in_it(site: Site) -> None:
    feeds = "".join(f"[feed_f{n}]\nurl = {{url}}/ace\nextension = pb\nperiod = 300ms\n" for n in range(10))
    with WebServer() as server:
        server.answers["/ace"] = body(CAPTURE)
        server.delay_s = 0.25
        site.configure((feeds + FEEDS).format(url=server.url))
        # not for a while, in which a slow machine would not even begin
        site.start("download", "--limit", "1").communicate(timeout=60)

        process = site.start("testrun")
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "11 of 11 feeds answered with what they should"
    account = site.desk.books("ticks@node")
    assert account.delayed + account.timers + account.ready == 11
