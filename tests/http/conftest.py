"""What the tests of the HTTP client share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aggregator.http.client import Client
from tests.feeds.webserver import WebServer
from tests.http.asking import client


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A web server that answers as the test says."""
    with WebServer() as running:
        yield running


@pytest.fixture
def asking() -> Iterator[Client]:
    """A client that knows nothing of this process's environment."""
    with client() as running:
        yield running
