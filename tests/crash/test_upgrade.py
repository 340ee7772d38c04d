"""An instance of version 0.1.0 as of commit 7daa370 goes on: what it had in every structure is finished, once each.

`upgrade/` has what a SIGKILL of all its processes left on 2026-11-28: its files, and a state (in the form of
`aggregator state export`) with messages ready, returned, held, delayed and dead, timers that were messages then,
cursors and open periods.
"""

from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.runtime.connection import connect
from aggregator.runtime.deadletters import scan
from aggregator.runtime.keys import Keys
from aggregator.runtime.timers import pending
from aggregator.runtime.transfer import restore
from tests.crash.sections import storing
from tests.feeds.webserver import WebServer, body
from tests.instance import Instance
from tests.servers import wait_until

FIXTURE = Path(__file__).parent / "upgrade"
# without `download`: it would tell of every second that was missed since then
CONFIGURATION = """
[aggregator]
node = here
[redis]
url = REDIS
namespace = NAMESPACE
[logger_in]
stage = tail
logfile = in/a.log
servicename = s
pushto = lines
[worker_b]
stage = broker
listento = lines
fanout = out, pings, slow
[logger_o]
stage = logfile
listento = out
logfile = out.log
format = {logline}
[worker_ping]
stage = openurl
listento = pings
repository_plugin = plugins.echo
endpoint_url = TRACKER/track
timeout = 20
retrydelay = 1s
success_queue = done
[logger_done]
stage = logfile
listento = done
logfile = done.log
format = {logline}
[worker_tally]
stage = plugins.slow:Slow
listento = slow
retrydelay = 1h
""" + storing(grace="5s", keep="1h")


class _AnyQuery(dict[str, Any]):
    """Answers by path, whatever its query is."""

    def get(self, path: str, default: Any = None) -> Any:
        return super().get(path.partition("?")[0], default)


def archived(root: Path) -> Counter[str]:
    """Return the publications in the store, by their names."""
    found: Counter[str] = Counter()
    for path in (root / "data/archive").rglob("*.tar.zst"):
        with path.open("rb") as file:
            found.update(member.name for member in read_bundle(file).publications)
    return found


def lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def test_what_the_version_before_left_is_finished_once_each(redis_url: str, namespace: str) -> None:
    with WebServer() as web, connect(redis_url) as client, Instance("") as instance:
        web.answers = _AnyQuery({"/track": body(b"ok")})
        text = CONFIGURATION.replace("REDIS", redis_url).replace("NAMESPACE", namespace).replace("TRACKER", web.url)
        instance.file.write_text(instance.file.read_text().replace("[process_redis]\n", "") + text)
        with tarfile.open(FIXTURE / "instance.tar.xz") as tar:
            tar.extractall(instance.root, filter="data")
        state = gzip.decompress((FIXTURE / "state.jsonl.gz").read_bytes()).splitlines(keepends=True)
        keys = Keys(namespace)
        restore(client, keys, state)
        before = archived(instance.root) + Counter(
            path.name for path in (instance.root / "data/feeds/publications").rglob("*.json")
        )
        expected = {f"line {number}" for number in range(280)}

        instance.start(ready=lambda: True)
        with (instance.root / "in/a.log").open("a") as log:
            log.writelines(f"line {number}\n" for number in range(260, 280))
        wait_until(lambda: lines(instance.root / "done.log").keys() == expected, 120, "all pings are told")
        wait_until(lambda: archived(instance.root).keys() == before.keys(), 120, "all publications are stored")

        assert lines(instance.root / "out.log") == lines(instance.root / "done.log") == Counter(expected)
        assert set(archived(instance.root).values()) == {1}
        assert {letter.history.error[:8] for letter in scan(client, keys, "slow")} == {"thirteen"}
        assert client.hlen(keys.dead("slow")) == client.zcard(keys.delayed("slow")) == 28
        assert client.hlen(keys.dead("lines")) == 1
        assert client.zcard(keys.delayed("ticks@here")) == 2  # for a download that is not part of this pipeline
        assert not list(pending(client, keys, "published@here"))
        assert instance.cli("ledger").returncode == 0
        instance.stop()
