"""Put a worker together: the client, its queue, the stage and the loop that fits it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from aggregator.runtime.connection import AWAY, REFUSED, connect, refusal, warnings_about
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Source, Stage
from aggregator.runtime.keys import Keys
from aggregator.runtime.queue import Identity, Queue
from aggregator.runtime.worker import RedisAway, Worker


def log_to_stdout(level: int = logging.INFO) -> None:
    """Write one event a line; supervisord keeps the file and rotates it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _OneLine(logging.Formatter):
    """Keep an event on one line, and from moving the cursor: names of files and words of errors come from strangers."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def make_worker(
    stage_class: type[Stage] | type[Source],
    settings: Any,
    context: Context,
    *,
    url: str,
    namespace: str,
    limits: Mapping[str, int],
    patience_s: float = 600.0,
) -> Worker:
    """Return the worker of one process. `limits` has the depth limit of each target queue that has one.

    Raises ConfigError when the URL is wrong, or Redis refuses us, and RedisAway when a cluster is away for longer.
    """
    client = _connect(url, context, patience_s)
    _warn(client, context)
    identity = Identity(context.section, context.number, context.node)
    if issubclass(stage_class, Source):
        # imported here: a worker loads only the loop it runs
        from aggregator.runtime.source import SourceWorker

        queue = Queue(client, Keys(namespace), identity, None, limits=limits)
        return SourceWorker(queue, stage_class(settings, context), context, patience_s=patience_s)
    from aggregator.runtime.consumer import ConsumerWorker

    queue = Queue(
        client,
        Keys(namespace),
        identity,
        settings.listento,
        limits=limits,
        maxdeliveries=settings.maxdeliveries,
        alone_from=stage_class.traits.alone_from,
    )
    stage = stage_class(settings, context)
    if getattr(settings, "concurrency", 1) > 1:
        from aggregator.runtime.concurrent import ConcurrentWorker

        return ConcurrentWorker(queue, stage, context, patience_s=patience_s)
    return ConsumerWorker(queue, stage, context, patience_s=patience_s)


def _connect(url: str, context: Context, patience_s: float) -> Any:
    """Return a client. That of a cluster asks it at once, so one that is away is waited for here."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return connect(url)
        except REFUSED as error:
            raise refusal(error) from error
        except AWAY as error:
            context.log.warning("redis_away reason=%s", error)
            if time.monotonic() > end:
                raise RedisAway(str(error)) from error
            time.sleep(1.0)


def _warn(client: Any, context: Context) -> None:
    """Say loudly what this Redis could lose; one that is away is waited for later."""
    try:
        for sentence in warnings_about(client):
            context.log.warning("redis %s", sentence)
    except REFUSED as error:
        raise refusal(error) from error
    except AWAY as error:
        context.log.warning("redis_away reason=%s", error)
