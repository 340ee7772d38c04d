"""Folders of several users."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path, so that an instance's sockets fit below it, and that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="agg-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
