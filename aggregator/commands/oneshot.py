"""`download` and `filter`: run one stage in the foreground, for users who start it from cron."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from aggregator.commands.foreground import PATIENCE_S, Foreground
from aggregator.commands.invocation import Failed, Invocation, read_count
from aggregator.config.settings import parse_duration
from aggregator.errors import EXIT_OK
from aggregator.monitor.opening import redis_of
from aggregator.runtime.process import make_worker

LOOK_S = 0.1


def add_download(parser: argparse.ArgumentParser) -> None:
    """Declare `download [--duration TIME] [--limit N]`."""
    parser.add_argument(
        "--duration", metavar="TIME", type=_duration, help="end after this long, such as 900 or 15m (default: Ctrl-C)"
    )
    parser.add_argument(
        "--limit", metavar="N", type=read_count, help="end once so many ticks were handled, or a few more"
    )
    parser.set_defaults(run=_download)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a duration such as 900, 15m or 1h (found {text!r})") from None


def _download(invocation: Invocation, args: argparse.Namespace) -> int:
    foreground = Foreground(invocation, "download")
    until = float("inf") if args.duration is None else time.monotonic() + args.duration
    most = float("inf") if args.limit is None else args.limit
    stage_class = foreground.program.stage_class
    handled = work_until(foreground, stage_class, lambda ticks: ticks >= most or time.monotonic() >= until)
    invocation.say(f"download: done; {handled} ticks")
    return EXIT_OK


def work_until(foreground: Foreground, stage_class: Any, done: Callable[[int], bool]) -> int:
    """Run a section's worker with the given class until `done` is true, and return how many messages it handled.

    `done` is called again and again with the number of messages handled so far.

    Raises Failed when the section's own worker is at work, or Redis goes away.
    """
    config, program = foreground.config, foreground.program
    with redis_of(config) as (client, keys):
        foreground.refuse_beside_another(client, keys)
    worker = make_worker(
        stage_class,
        program.settings,
        foreground.context(),
        url=config.redis.url,
        namespace=config.redis.namespace,
        limits=config.depth_limits(program),
        patience_s=PATIENCE_S,
    )
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(lambda: done(worker.handled), ended), daemon=True)
    watch.start()
    code = worker.run()
    ended.set()
    watch.join()
    if code:
        raise Failed(f"[{program.section}] another has taken over, or Redis went away")
    return worker.handled


def _watch(done: Callable[[], bool], ended: threading.Event) -> None:
    """Send this process SIGTERM once `done` is true: the worker then finishes messages in flight or returns them."""
    while not ended.wait(LOOK_S):
        if done():
            os.kill(os.getpid(), signal.SIGTERM)
            return


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Declare `filter`."""
    parser.set_defaults(run=_filter)


def _filter(invocation: Invocation, args: argparse.Namespace) -> int:
    handled = Foreground(invocation, "filter").drain()
    invocation.say(f"filter: done; {handled} ticks")
    return EXIT_OK
