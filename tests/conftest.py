"""What tests share: a Redis for all, a namespace for each, and private servers for those that break things."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.client import Redis

from aggregator.runtime.connection import connect
from tests.servers import RedisServer, redis_binaries


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis that tests share, each in its own namespace; do not stop or empty it."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def plugins_of_each_test() -> Iterator[None]:
    """Forget the plugins of a test's instance: `plugins` is one package, and instances have one each."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "plugins"}
    path = list(before["plugins"].__path__) if "plugins" in before else []
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]
    sys.modules.update(before)
    if path:
        before["plugins"].__path__ = path


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared Redis."""
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    """A client of the shared Redis."""
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def namespace() -> str:
    """A namespace nobody else uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A private Redis, to be killed, paused and restarted."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=list(redis_binaries()))
def each_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A private Redis, once of each make there is on this machine."""
    with RedisServer(tmp_path / "redis", redis_binaries()[request.param]) as server:
        yield server
