"""A generated file, and the mark by which this program recognises the files that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MARK = "Written by create_supervisord_config.py from loglines.cfg: edit that instead."


class GeneratedFile(NamedTuple):
    """The path, text and mode that a generated file must have."""

    path: Path
    text: str
    mode: int


def is_ours(text: str) -> bool:
    """True for a text that this program wrote."""
    return any(MARK in line for line in text.split("\n", 3)[:3])
