"""Open the Redis of an instance for commands that look at it, and say in one line why that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aggregator.config.configuration import Config
from aggregator.config.redisurl import mask
from aggregator.config.sections import RedisSettings
from aggregator.errors import AggregatorError
from aggregator.runtime.connection import AWAY, REFUSED, connect
from aggregator.runtime.keys import Keys


class RedisFailed(AggregatorError):
    """Redis is away, or refuses us."""


@contextmanager
def redis_of(config: Config) -> Iterator[tuple[Any, Keys]]:
    """Open the Redis of a configuration. Raises RedisFailed with one clear line when it does not serve us."""
    with open_redis(config, config.redis) as opened:
        yield opened


@contextmanager
def open_redis(config: Config, settings: RedisSettings) -> Iterator[tuple[Any, Keys]]:
    """Open a Redis that an instance has, or had. Raises RedisFailed with one clear line when it does not serve us."""
    place = mask(settings.url)
    try:
        with connect(settings.url) as client:
            yield client, Keys(settings.namespace)
    except REFUSED as error:
        raise RedisFailed(f"Redis at {place} refuses us: {error}; check user and password in [redis]") from error
    except AWAY as error:
        if isinstance(error.__cause__ or error.__context__, PermissionError):
            advice = "that is for the user whom the instance runs as"
        elif any(program.kind == "redis" for program in config.programs.values()):
            advice = f"it runs while the instance does: {config.instance.command()} run"
        else:
            advice = f"start it, or correct [redis] in {config.file}"
        raise RedisFailed(f"Redis at {place} is away: {str(error).rstrip('.')}; {advice}") from error
