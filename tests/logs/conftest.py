from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.logs.driving import RUNNING


@pytest.fixture(autouse=True)
def stop_tails() -> Iterator[None]:
    """Leave no file open."""
    yield
    while RUNNING:
        RUNNING.pop().tail.stop()


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that others than its owner reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the path of the log that a test follows."""
    return tmp_path / "access.log"
