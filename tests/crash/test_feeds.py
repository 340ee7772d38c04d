"""The feed pipeline under a true supervisord and a real S3 server, while every one of them is killed."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import simplejson

from aggregator.feeds.bundle.bundles import check_contents, read_bundle
from aggregator.feeds.bundle.manifest import Manifest, unite_manifests
from aggregator.feeds.naming.publications import parse_publication
from aggregator.stores import open_store
from tests.feeds.webserver import Talk, WebServer
from tests.instance import Instance
from tests.servers import wait_until
from tests.stores.servers import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS

FEEDS = ("north", "south", "east")
LIFE_S = 6
SERVED_FOR_GOOD = 3
"""How often a publication is served, at least. A killed download is taken again, and must not find another one."""
KILLING_S = 45.0

PIPELINE = f"""[worker_download]
stage = download
pushto = fetched@node
[worker_filter]
stage = filter
listento = fetched@node
pushto = published@node
bundle = 1m
[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node
bundle = 1m
grace = 3s
[worker_archive]
stage = archive
listento = bundled@node
store = s3
retrydelay = 200ms
[store_s3]
url = s3://{BUCKET}/archive
endpoint_url = %s
access_key = {ACCESS_KEY}
secret_key = {SECRET_KEY}
""" + "".join(
    f"[feed_{name}]\nurl = %s/{name}\nextension = json\ntimestamp = json:/at\nperiod = 1s\ntimeout = 3s\n"
    for name in FEEDS
)


class Feeds:
    """What the server gave out, whole."""

    def __init__(self) -> None:
        self.served: Counter[tuple[str, int]] = Counter()
        self.frozen = False
        self._current: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, talk: Talk) -> None:
        """Answer with the publication that is current."""
        name = talk.asked.path.strip("/")
        at = self._publication(name)
        talk.answer(simplejson.dumps({"at": at, "feed": name, "filler": "x" * 500}).encode())
        with self._lock:
            self.served[name, at] += 1

    def _publication(self, name: str) -> int:
        with self._lock:
            at = self._current.setdefault(name, int(time.time()))
            if not self.frozen and time.time() >= at + LIFE_S and self.served[name, at] >= SERVED_FOR_GOOD:
                self._current[name] = int(time.time())
            return self._current[name]


def kill_something(instance: Instance, s3: SeaweedFS, chance: random.Random, step: int) -> str:
    if step % 12 == 5:
        s3.kill()
        s3.start()
        return "s3"
    if step % 12 == 9:
        name = "process_redis_0"
    else:
        name = chance.choice(["worker_download_0", "worker_filter_0", "worker_compress_0", "worker_archive_0"])
    instance.kill(name)
    return name


@pytest.mark.timeout(400)
def test_every_publication_served_is_stored_once_while_everything_is_killed(tmp_path: Path) -> None:
    chance, feeds, kills = random.Random(2), Feeds(), Counter[str]()
    with SeaweedFS(tmp_path / "s3") as s3, WebServer() as web:
        for name in FEEDS:
            web.answers[f"/{name}"] = feeds.answer
        with Instance(PIPELINE % (s3.endpoint_url, *[web.url] * len(FEEDS))) as instance:
            instance.start()
            wait_until(lambda: len({name for name, _ in list(feeds.served)}) == len(FEEDS), 60)
            end, next_kill = time.monotonic() + KILLING_S, 0.0

            def killed_enough() -> bool:
                nonlocal next_kill
                if time.monotonic() >= next_kill:
                    kills[kill_something(instance, s3, chance, sum(kills.values()))] += 1
                    next_kill = time.monotonic() + 1.2
                return time.monotonic() > end

            wait_until(killed_enough, KILLING_S + 60)
            feeds.frozen = True
            # Once its periods have closed everything must be in the store, and the books balance.
            store = open_store(**s3.options("archive"))
            wait_until(lambda: _missing(store, feeds) == set(), 150, "every publication served is stored")
            wait_until(instance.all_at_work, 60, "what was killed last is back")
            stored, manifests = _stored(store)
            ledger = instance.cli("ledger")
            dead = [name for name, account in instance.books().items() if account.dead]
            store.close()

    assert set(stored.values()) == {1}
    for name in FEEDS:
        planned = sorted(tick.planned_ms for manifest in manifests[name] for tick in manifest.ticks)
        # the very first is planned for at once, all others lie on the feed's grid
        assert planned[1:] == list(range(planned[1], planned[-1] + 1000, 1000))
    assert ledger.returncode == 0, ledger.stdout
    assert dead == []
    assert {"s3", "process_redis_0"} <= set(kills) and len(kills) >= 5


def _stored(store: object) -> tuple[Counter[tuple[str, int]], dict[str, list[Manifest]]]:
    """Return how often each publication is in the store, and the manifests of each feed."""
    found: Counter[tuple[str, int]] = Counter()
    manifests: dict[str, list[Manifest]] = defaultdict(list)
    for info in list(store.list("")):  # type: ignore[attr-defined]
        if ".tar." not in info.key:
            continue
        with store.open_read(info.key) as file:  # type: ignore[attr-defined]
            contents = read_bundle(io.BytesIO(file.read()))
        assert check_contents(contents) == []
        for member in contents.publications:
            publication = parse_publication(member.name)
            found[publication.feed, publication.published_at] += 1
        for manifest in unite_manifests(contents.manifests):
            manifests[manifest.header.feed].append(manifest)
    return found, manifests


def _missing(store: object, feeds: Feeds) -> set[tuple[str, int]]:
    return set(feeds.served) - set(_stored(store)[0])
