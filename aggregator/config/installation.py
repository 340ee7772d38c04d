"""The command that installs a package for the Python that runs this program."""

from __future__ import annotations

import shlex
import sys


def pip_install(package: str) -> str:
    """Return the command. It names this Python's own pip, because another pip would install for another Python."""
    return shlex.join([sys.executable, "-m", "pip", "install", package])
