"""Write and load a configuration."""

from __future__ import annotations

from pathlib import Path

from aggregator.config.configuration import Config
from aggregator.config.loading import load

PIPELINE = """
[redis]
url = redis://localhost/0
[logger_in]
stage = tests.samplestages:Feeder
pushto = lines
[worker_copy]
stage = tests.samplestages:Copier
listento = lines
fanout = ask, kept@node
maxdepth = 500
[worker_ask]
stage = tests.samplestages:Caller
listento = ask
repository_plugin = tests.sampleplugin
success_queue = asked
[logger_kept]
stage = tests.samplestages:Keeper
listento = kept@node
logfile = kept.log
[logger_asked]
stage = tests.samplestages:Keeper
listento = asked
logfile = asked.log
"""


def configure(root: Path, text: str, only: str | None = None, mode: int = 0o644) -> Config:
    """Write a configuration and load it, with `only` as the worker of that section does."""
    file = root / "loglines.cfg"
    file.write_text(text)
    file.chmod(mode)
    return load(file, root, only)
