"""Write configurations and build instances from them."""

from __future__ import annotations

import os
from pathlib import Path

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.supervision import build

REDIS = "[redis]\nurl = redis://:hush@localhost/0\n"
TWO = "[process_a]\ncommand = sleep 1000\n[process_b]\ncommand = sleep 2000\n"
PIPELINE = """[logger_in]
stage = tests.samplestages:Feeder
pushto = lines
[worker_ask]
stage = tests.samplestages:Caller
listento = lines
repository_plugin = tests.sampleplugin
numprocs = 2
[sampleplugin]
pattern = x
"""


def configure(root: Path, text: str) -> Config:
    """Write a configuration, with a Redis if it names none, and load it."""
    file = root / "loglines.cfg"
    file.write_text(text if "[redis]" in text or "[process_redis]" in text else REDIS + text)
    return load(file, root)


def build_from(root: Path, text: str) -> tuple[str, ...]:
    """Build an instance; return what was done, line by line."""
    return build(configure(root, text)).lines


def snapshot(root: Path) -> dict[str, tuple[int, int, str]]:
    """Everything that a build could touch: mode, time of the last change, content or target."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name not in ("loglines.cfg", "build.lock"):
            entry = path.lstat()
            content = os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text()
            found[str(path.relative_to(root))] = (entry.st_mode, 0 if path.is_dir() else entry.st_mtime_ns, content)
    return found
