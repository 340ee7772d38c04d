"""This program as it is installed: its code, and the command that installs a package for its Python."""

from __future__ import annotations

import functools
import hashlib
import shlex
import sys
from pathlib import Path


def pip_install(package: str) -> str:
    """Return the command. It names this Python's own pip, because another pip would install for another Python."""
    return shlex.join([sys.executable, "-m", "pip", "install", package])


@functools.cache
def code_digest() -> str:
    """Return a digest of this program's own modules and scripts, which every change of the code changes."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".lua")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
