"""Put a worker together: the client, its queue, the stage and the loop that fits it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from aggregator.errors import ConfigError
from aggregator.runtime.connection import AWAY, REFUSED, connect, refusal, warnings_about
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Source, Stage
from aggregator.runtime.ending import Ending
from aggregator.runtime.intake import Intake
from aggregator.runtime.keys import Keys
from aggregator.runtime.loop import Loop, RedisAway
from aggregator.runtime.memory import Memory
from aggregator.runtime.queue import Identity, Queue
from aggregator.runtime.worker import Worker

FOREVER = Ending()


def log_to_stdout(level: int = logging.INFO) -> None:
    """Write one event a line; supervisord keeps the file and rotates it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _OneLine(logging.Formatter):
    """Keep an event on one line and off the cursor: file names and error texts, which strangers write, are escaped."""

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
    ending: Ending = FOREVER,
) -> Worker:
    """Return the worker of one process. `limits` has the depth limit of each target queue that has one.

    Raises ConfigError when the URL is wrong, Redis refuses us, or the settings do not fit the stage, and RedisAway when
    a cluster is away for longer than `patience_s`.
    """
    client = _connect(url, context, patience_s)
    _warn(client, context)
    queue = Queue(
        client,
        Keys(namespace),
        Identity(context.section, context.number, context.node),
        getattr(settings, "listento", None),
        limits=limits,
        alone_from=stage_class.traits.alone_from,
    )
    loop, memory = Loop(queue, context, ending, patience_s), Memory(queue)
    component = stage_class(settings, context)
    return Worker(loop, component, _intake(loop, component, memory), memory)


def _intake(loop: Loop, component: Stage | Source, memory: Memory) -> Intake:
    # imported here: a worker loads only the intake that it uses
    if isinstance(component, Source):
        from aggregator.runtime.intake.source import SourceIntake

        return SourceIntake(loop, component)
    if getattr(component.settings, "concurrency", 1) == 1:
        from aggregator.runtime.intake.serial import SerialIntake

        return SerialIntake(loop, component, memory)
    if type(component).needs is not Stage.needs:
        words = "the stage recalls what earlier messages left, so it must handle one at a time; allowed: 1"
        raise ConfigError(f"[{loop.context.section}] concurrency: {words}")
    from aggregator.runtime.intake.threaded import ThreadedIntake

    return ThreadedIntake(loop, component, memory)


def _connect(url: str, context: Context, patience_s: float) -> Any:
    """Return a client. The client of a cluster connects at once, so a cluster that is away is waited for here."""
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
    """Warn about data that this Redis, as it is set up, could lose; a Redis that is away is waited for later."""
    try:
        for sentence in warnings_about(client):
            context.log.warning("redis %s", sentence)
    except REFUSED as error:
        raise refusal(error) from error
    except AWAY as error:
        context.log.warning("redis_away reason=%s", error)
