"""`health`: list each problem, since when it exists, and what to do about it; the exit code is for monitors."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from aggregator.commands import screen
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.monitor.finding import Finding, counted
from aggregator.monitor.findings import findings
from aggregator.monitor.opening import redis_of
from aggregator.monitor.snapshot import take
from aggregator.runtime.reports import acknowledge


def add_health(parser: argparse.ArgumentParser) -> None:
    """Declare `health`."""
    add_json(parser)
    parser.add_argument("--strict", action="store_true", help="warnings fail too, dead letters for example")
    parser.add_argument(
        "--acknowledge",
        metavar="CODE[:ABOUT]",
        help="let go of losses that you have seen: all of a code, or the one about a file, feed or section",
    )
    parser.set_defaults(run=_health)


def _health(invocation: Invocation, args: argparse.Namespace) -> int:
    if args.acknowledge is not None:
        return _acknowledge(invocation, args.acknowledge)
    found = findings(take(invocation.running()))
    failed = any(finding.level == "error" or args.strict for finding in found)
    if args.json:
        screen.print_json(
            {"ok": not found, "failed": failed, "findings": [finding._asdict() for finding in found]},
        )
        return EXIT_CHECK_FAILED if failed else EXIT_OK
    colours = screen.colours_wanted(sys.stdout)
    for finding in found:
        for line in _lines(finding, time.time(), colours=colours):
            print(line)
    invocation.say(counted(found) or "ok")
    return EXIT_CHECK_FAILED if failed else EXIT_OK


def _lines(finding: Finding, now: float, *, colours: bool) -> Iterator[str]:
    """Yield two lines: the problem, and below it its code, since when it exists, and what to do."""
    level = screen.paint(finding.level, "red" if finding.level == "error" else "yellow", colours=colours)
    yield f"{level}: {screen.printable(finding.about)}: {screen.printable(finding.text)}"
    since = ""
    if finding.since is not None:
        moment = datetime.fromtimestamp(finding.since, timezone.utc)
        since = f" since {moment:%Y-%m-%d %H:%M:%S} UTC, for {screen.age(max(0.0, now - finding.since))}"
    yield f"  {screen.printable(finding.code)}{since}. {screen.printable(finding.do)}".rstrip()


def _acknowledge(invocation: Invocation, wanted: str) -> int:
    """Remove reported losses, so that they are not shown again. Raises Failed when `wanted` names none."""
    code, colon, about = wanted.partition(":")
    with redis_of(invocation.running()) as (client, keys):
        gone = acknowledge(client, keys, code, about if colon else None)
    if not gone:
        raise Failed(
            f"nothing to acknowledge under {screen.printable(wanted)!r}; `run/aggregator health` shows what can be, "
            "other findings go once they are mended"
        )
    invocation.say(f"acknowledged: {gone}")
    return EXIT_OK
