"""`streams organize`: take over the data folder of an old Social Feed Manager."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from aggregator.commands import screen
from aggregator.commands.bar import Bar
from aggregator.commands.invocation import Invocation, add_json
from aggregator.commands.streams_folder import add_directory, directory_of
from aggregator.config.settings import parse_duration
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.files.names import text_of
from aggregator.streams.organizing.oldfiles import old_files, opened_files
from aggregator.streams.organizing.organize import Outcome, organize

_PERIODS = 2
"""A file is left alone until so many intervals after its last change, as `organizedata` did it."""


def add_organize(parser: argparse.ArgumentParser) -> None:
    """Declare `streams organize DIR`."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="the old program's DATA_DIR")
    add_directory(parser)
    words = "the old program's SAVE_INTERVAL; a file is left alone until twice this after its last change (default 15m)"
    parser.add_argument("--interval", metavar="TIME", type=_duration, default=900.0, help=words)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add_json(parser)
    parser.set_defaults(run=_organize)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a duration such as 900, 15m or 1h (found {text!r})") from None


def _organize(invocation: Invocation, args: argparse.Namespace) -> int:
    if not args.folder.is_dir():
        raise ConfigError(f"{screen.one_line(text_of(str(args.folder)), 400)}: no such folder")
    directory = directory_of(invocation, args)
    found = list(old_files(args.folder, time.time(), _PERIODS * args.interval, opened_files()))
    outcomes = []
    with Bar(found, "files") as bar:
        for outcome in organize(found, directory, dry_run=args.dry_run):
            outcomes.append(outcome)
            bar.line(_line(outcome, args.dry_run), quiet=args.json or (invocation.quiet and not outcome.is_failure))
            bar.advance(outcome.old.size_bytes)
    return _report(invocation, args, outcomes)


def _line(outcome: Outcome, dry_run: bool) -> str:
    name = _shown(outcome.old.path)
    if outcome.folder is None:
        return f"left {name}: {screen.one_line(outcome.reason, 200)}"
    if outcome.taken is None:
        return f"would move {name} to {_shown(outcome.folder)}/" if dry_run else f"left {name}"
    inspected = outcome.taken.inspected
    fault = f"; {inspected.fault}: its bytes are kept as they are" if inspected.fault else ""
    return f"moved {name} to {_shown(outcome.taken.target)} ({inspected.count:,} messages{fault})"


def _shown(path: Path) -> str:
    return screen.one_line(text_of(str(path)), 400)


def _report(invocation: Invocation, args: argparse.Namespace, outcomes: list[Outcome]) -> int:
    moved = [outcome for outcome in outcomes if outcome.folder is not None]
    left = [outcome for outcome in outcomes if outcome.folder is None]
    failed = [outcome for outcome in left if outcome.is_failure]
    if args.json:
        facts = {"moved": [_moved(outcome) for outcome in moved], "left": [_left(outcome) for outcome in left]}
        screen.print_json({"ok": not failed, "dry_run": args.dry_run, **facts})
    else:
        words = "would be moved" if args.dry_run else "moved"
        failures = f", {len(failed):,} of them although they were to be moved" if failed else ""
        invocation.say(f"{len(moved):,} files {words}, {len(left):,} left where they are{failures}")
    return EXIT_CHECK_FAILED if failed else EXIT_OK


def _moved(outcome: Outcome) -> dict[str, Any]:
    facts: dict[str, Any] = {"file": text_of(str(outcome.old.path)), "folder": text_of(str(outcome.folder))}
    if outcome.taken is not None:
        inspected = outcome.taken.inspected
        facts |= {"to": text_of(str(outcome.taken.target)), "count": inspected.count, "sha256": inspected.sha256}
        facts |= {"is_whole": not inspected.fault, "fault": inspected.fault}
    return facts


def _left(outcome: Outcome) -> dict[str, Any]:
    reason, is_failure = outcome.reason, outcome.is_failure
    return {"file": text_of(str(outcome.old.path)), "reason": reason, "is_failure": is_failure}
