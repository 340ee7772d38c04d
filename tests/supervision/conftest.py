"""Instances in folders with short paths."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: sockets do not fit below pytest's own when tests run side by side."""
    with tempfile.TemporaryDirectory(prefix="aggregator-test-") as folder:
        yield Path(folder)
