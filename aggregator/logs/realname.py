"""What stored state calls a file: a name that stays whatever way the configuration spells the path."""

from __future__ import annotations

import os
from pathlib import Path

from aggregator.logs.position import text_of


def real_name(path: Path, root: Path) -> str:
    """Return a file's real path as text: relative to the instance's folder where it lies in it, so that may move."""
    real, home = os.path.realpath(path), os.path.realpath(root)
    return text_of(os.path.relpath(real, home) if real.startswith(home.rstrip("/") + "/") else real)
