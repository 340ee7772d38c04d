"""A real instance folder that archives feeds, the server of these feeds, and the cost of the instance's workers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from redis.client import Redis

from aggregator.config.loading import load
from aggregator.supervision import build
from benchmarks.rig import KEYS, NAMESPACE, end, start

NODE = "bench"
STAGES = ("worker_download", "worker_filter", "worker_compress", "worker_archive")
"""The sections that `configure` writes, in the order of the pipeline."""

_CONFIG = """\
[redis]
url = {url}
namespace = {namespace}

[aggregator]
node = {node}
feeds_file = feeds.csv

[worker_download]
stage = download
pushto = fetched@node

[worker_filter]
stage = filter
listento = fetched@node
pushto = published@node
bundle = {bundle}

[worker_compress]
stage = compress
listento = published@node
pushto = bundled@node
bundle = {bundle}
grace = {grace}

[worker_archive]
stage = archive
listento = bundled@node
store = archive

[store_archive]
url = file://{folder}/store
"""


class Cost(NamedTuple):
    """The CPU time and memory that a process has used so far."""

    cpu_s: float
    peak_mib: float


def configure(
    folder: Path, url: str, feeds: Sequence[tuple[str, str]], *, period: str, bundle: str = "1h", grace: str = "2m"
) -> None:
    """Write and build an instance for feeds, given as pairs of name and address; all are GTFS-realtime."""
    rows = [f"{name},{address},pb,{period},gtfs-realtime" for name, address in feeds]
    (folder / "feeds.csv").write_text("\n".join(["id,url,extension,period,timestamp", *rows, ""]))
    text = _CONFIG.format(url=url, namespace=NAMESPACE, node=NODE, folder=folder, bundle=bundle, grace=grace)
    file = folder / "loglines.cfg"
    file.write_text(text)
    build(load(file, folder))


@contextmanager
def feed_server(*options: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server of feeds; yield its address and process."""
    process = start("benchmarks.feedserver", *options, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
    finally:
        end(process)
        assert process.stdout is not None
        process.stdout.close()


def queue_key(name: str) -> str:
    """Return the key of one of the instance's queues, all of which belong to its node."""
    return KEYS.queue(f"{name}@{NODE}")


def wait_for(client: Redis, queue: str, count: int, timeout_s: float = 120.0) -> float:
    """Wait until a queue holds `count` messages, and return this moment by `time.perf_counter`."""
    deadline = time.perf_counter() + timeout_s
    while client.llen(queue_key(queue)) < count:
        if time.perf_counter() > deadline:
            raise AssertionError(f"{client.llen(queue_key(queue))} of {count} in {queue} after {timeout_s:g} s")
        time.sleep(0.002)
    return time.perf_counter()


def is_idle(client: Redis, section: str, process: subprocess.Popen[str]) -> bool:
    """True when `process` is the first worker of a section, and waits for messages."""
    found = client.hmget(KEYS.worker(f"{NODE}:{section}_0"), "pid", "state")
    return found == [str(process.pid).encode(), b"idle"]


def cost_of(process: subprocess.Popen[str] | psutil.Process) -> Cost:
    """Return the cost of a process; its memory is the most that it ever had in RAM."""
    times = psutil.Process(process.pid).cpu_times()
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "VmHWM:" in status, f"process {process.pid} has ended"
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    return Cost(times.user + times.system, peak_kib / 1024)
