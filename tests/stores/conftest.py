"""Stores of every kind; each test with a folder or prefix of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.stores.servers import Moto, Proxy, S3Server, SeaweedFS

KINDS = {"directory": "file", "moto": "s3", "seaweedfs": "s3"}
"""What tests of stores run on, with the scheme of its URL."""


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The moto that tests share; do not stop it."""
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The SeaweedFS that tests share; do not stop it."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A prefix nobody else uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def options(kind: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what opens the store of one test, here and in other processes."""
    if kind == "directory":
        return {"url": f"file://{tmp_path / prefix}"}
    server: S3Server = request.getfixturevalue(kind)
    return server.options(prefix)


@pytest.fixture
def store(options: dict[str, Any]) -> Iterator[Store]:
    """A store of the kind that the test asks for."""
    opened = open_store(**options)
    yield opened
    opened.close()


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[Proxy]:
    """A proxy before moto, to make trouble."""
    with Proxy(moto) as between:
        yield between


@pytest.fixture
def troubled(proxy: Proxy, prefix: str) -> Iterator[Store]:
    """A store that is reached through the proxy."""
    opened = open_store(**proxy.options(prefix))
    yield opened
    opened.close()
