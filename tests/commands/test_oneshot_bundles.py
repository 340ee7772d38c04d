"""`aggregator compress` and `aggregator archive`: one run, as cron starts it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.runtime.message import encode_body
from tests.commands.conftest import Site
from tests.feeds.bundles import HOUR
from tests.feeds.stepping import publish
from tests.servers import wait_until

BUNDLES = """
[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node
grace = 50ms

[worker_archive]
stage = archive
listento = bundled@node
store = local

[store_local]
url = file://{root}/archive
"""


@pytest.fixture
def bundling(site: Site) -> Site:
    """An instance with the two stages; none of them runs."""
    site.configure(BUNDLES.format(root=site.root))
    return site


def archived(site: Site) -> list[Path]:
    return sorted(path for path in (site.root / "archive").rglob("*.tar.*") if ".store" not in path.parts)


def publications(path: Path) -> int:
    with path.open("rb") as file:
        return len(read_bundle(file).publications)


def collect(site: Site, at: float) -> None:
    site.desk.push("published@node", encode_body(publish(site.root, at, f"at {at}".encode(), node="node")))


def test_what_is_over_is_bundled_and_stored(bundling: Site) -> None:
    collect(bundling, HOUR + 1)
    collect(bundling, HOUR + 2)

    assert bundling.run("compress").code == 0
    assert bundling.run("archive").code == 0
    [path] = archived(bundling)
    assert publications(path) == 2
    assert all(bundling.desk.books(f"{queue}@node").balanced for queue in ("published", "bundled"))


def test_an_open_period_waits_unless_all_are_asked_for(bundling: Site) -> None:
    # of the next hour, so that this one may end meanwhile
    collect(bundling, time.time() + 3600)

    assert bundling.run("compress").lines == ["compress: done; 1 period is open (--all bundles them now)"]
    bundling.run("archive")
    assert not archived(bundling)

    assert bundling.run("compress", "--all").lines == ["compress: done; 0 periods are open"]
    assert bundling.run("archive", "-p", "other/place").code == 0
    [path] = archived(bundling)
    assert path.is_relative_to(bundling.root / "archive/other/place")


def test_bundles_that_redis_has_forgotten_are_stored(bundling: Site) -> None:
    collect(bundling, HOUR + 1)
    bundling.run("compress")
    bundling.desk.client.delete(bundling.desk.keys.queue("bundled@node"))

    assert bundling.run("archive").code == 0
    assert len(archived(bundling)) == 1


def test_a_damaged_bundle_that_redis_has_forgotten_is_told_and_holds_up_no_other(bundling: Site) -> None:
    collect(bundling, HOUR + 1)
    collect(bundling, HOUR + 3601)
    bundling.run("compress")
    bundling.desk.client.delete(bundling.desk.keys.queue("bundled@node"))
    damaged, _ = sorted((bundling.root / "data/feeds/bundles").rglob("*.tar.*"))
    damaged.write_bytes(damaged.read_bytes()[:-9])

    ran = bundling.run("archive")

    assert ran.code == 1 and damaged.name in ran.err
    assert len(archived(bundling)) == 1


def test_what_is_stored_and_still_here_is_not_stored_again_and_goes_when_it_is_due(bundling: Site) -> None:
    collect(bundling, HOUR + 1)
    bundling.run("compress")
    first, again = bundling.run("archive"), bundling.run("archive")
    [stored_file] = (bundling.root / "data/feeds/bundles").rglob("*.stored")
    collect(bundling, HOUR + 3601)
    bundling.run("compress")
    bundling.desk.client.delete(bundling.desk.keys.queue("bundled@node"))
    last = bundling.run("archive")

    stored = "archive: done; {} stored so far"
    assert [ran.lines[-1] for ran in (first, again, last)] == [
        stored.format(words) for words in ("1 bundle", "1 bundle", "2 bundles")
    ]
    os.utime(stored_file, (1, 1))
    bundling.run("archive")
    assert len(list((bundling.root / "data/feeds/bundles").rglob("*.tar.*"))) == 1


@pytest.mark.usefixtures("long_lease")
def test_a_worker_at_work_is_not_disturbed(bundling: Site) -> None:
    process = bundling.start("work", "worker_compress", "0")
    try:
        wait_until(lambda: bundling.desk.client.hget(bundling.desk.keys.worker("node:worker_compress_0"), "beat_at"))
        ran = bundling.run("compress")
    finally:
        process.terminate()
        process.communicate(timeout=60)

    assert ran.code == 1 and "first: run/aggregator disable worker_compress" in ran.err


def test_a_store_that_is_away_is_told_and_nothing_is_lost(bundling: Site) -> None:
    collect(bundling, HOUR + 1)
    bundling.run("compress")
    nobody = "s3://bucket\nendpoint_url = http://127.0.0.1:1\naccess_key = a\nsecret_key = b"
    bundling.configure(BUNDLES.format(root=bundling.root).replace(f"file://{bundling.root}/archive", nobody))

    ran = bundling.run("archive")
    assert ran.code == 1 and ran.err.startswith("aggregator: [worker_archive] ")

    bundling.configure(BUNDLES.format(root=bundling.root))
    assert bundling.run("archive").code == 0
    assert len(archived(bundling)) == 1


def test_what_was_set_aside_is_told(bundling: Site) -> None:
    bundling.desk.push("published@node", b'{"feed":"../x"}')

    ran = bundling.run("compress")
    assert ran.code == 1 and "1 set aside; see: aggregator dead list --queue published@node" in ran.err


def test_open_periods_hold_nobody_back_however_many_there_are(bundling: Site) -> None:
    bundling.configure(
        BUNDLES.format(root=bundling.root).replace("grace", "maxdepth = 100\ngrace")
        + "[worker_filter]\nstage = filter\nlistento = fetched@node\npushto = published@node\n"
    )
    tick = {"planned_ms": int((time.time() + 3600) * 1000), "outcome": "failed", "error": "HTTP 500"}
    told = {"url": "http://x.org/f", "period_ms": 14000, "tick": tick}
    kept = {**told, "node": "node", "publication": "", "published_ms": None}
    bundling.desk.push("published@node", *(encode_body({**kept, "feed": f"f{n}"}) for n in range(150)))
    assert bundling.run("compress").lines == ["compress: done; 150 periods are open (--all bundles them now)"]
    fresh = {**told, "feed": "ace", "extension": "pb", "timestamp": "none", "format": "other"}
    bundling.desk.push("fetched@node", encode_body(fresh))

    ran = bundling.run("filter")

    assert (ran.code, ran.lines) == (0, ["filter: done; 1 ticks"])
    assert bundling.desk.books("published@node").timers == 150
