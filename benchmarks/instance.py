"""A real instance folder, and its workers as real processes: `aggregator work SECTION 0`, as supervisord runs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from aggregator.config.loading import load
from aggregator.supervision import build
from benchmarks.rig import NAMESPACE, start

PIPELINE = ("logger_tail", "worker_broker", "logger_first", "logger_second")
"""The sections that `configure` writes, in the order of the pipeline."""

_CONFIG = """\
[redis]
url = {url}
namespace = {namespace}

[aggregator]
node = bench

[logger_tail]
stage = tail
logfile = input.log
servicename = bench
pushto = lines

[worker_broker]
stage = broker
listento = lines
fanout = first, second

[logger_first]
stage = logfile
listento = first
logfile = first.log
format = {{logline}}

[logger_second]
stage = logfile
listento = second
logfile = second.log
format = {{logline}}
"""


def configure(folder: Path, url: str, more: str = "") -> None:
    """Write a pipeline that copies one log to two files, line by line; `more` is text of further sections."""
    file = folder / "loglines.cfg"
    file.write_text(_CONFIG.format(url=url, namespace=NAMESPACE) + more)
    build(load(file, folder))


def start_worker(folder: Path, section: str) -> subprocess.Popen[str]:
    """Start the worker of a section."""
    return start("aggregator", "-r", folder, "work", section, 0, stdout=subprocess.DEVNULL)
