"""Stores, a server of feeds, and property tests: as many examples as a quick run allows, all that is left in .cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests.feeds.webserver import WebServer
from tests.stores.conftest import moto, options, prefix, proxy, seaweedfs, store, troubled

__all__ = ["moto", "options", "prefix", "proxy", "seaweedfs", "store", "troubled"]

set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache" / "hypothesis")
settings.register_profile("project", max_examples=60, deadline=None)
settings.load_profile("project")


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A server of feeds that answers as the test says."""
    with WebServer() as running:
        yield running
