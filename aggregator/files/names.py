"""File names as text that can be stored and shown, whatever bytes they are made of."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def text_of(name: str) -> str:
    """Return a file's name as text that can be stored and shown: bytes that are no UTF-8 become `\\xff`."""
    return name.replace("\\", "\\\\").encode(errors="surrogateescape").decode(errors="backslashreplace")


def name_of(text: str) -> str:
    """Return the name that `text_of` turned into a text."""
    return _ESCAPED.sub(
        lambda match: bytes.fromhex(match[1]).decode(errors="surrogateescape") if match[1] else "\\", text
    )


def real_name(path: Path, root: Path) -> str:
    """Return a file's real path as text, relative to the instance's folder if it lies there, since that may move."""
    real, home = os.path.realpath(path), os.path.realpath(root)
    return text_of(os.path.relpath(real, home) if real.startswith(home.rstrip("/") + "/") else real)
