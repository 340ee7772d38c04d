from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.logs.driving import RUNNING


@pytest.fixture(autouse=True)
def stop_tails() -> Iterator[None]:
    """Leave no file open."""
    yield
    while RUNNING:
        RUNNING.pop().tail.stop()
