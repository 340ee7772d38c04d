"""The command behind `create_supervisord_config.py` and `aggregator config build`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from aggregator.cli import for_a_shell
from aggregator.config.loading import load
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, ConfigError
from aggregator.supervision.consequences import Consequences, consequences
from aggregator.supervision.plan import build


def generate(
    root: Path, file: Path, *, dry_run: bool = False, check: bool = False, yes: bool = False, quiet: bool = False
) -> int:
    """Build an instance's files, print what changed, and return the exit code.

    `dry_run` only prints what would change. `check` does the same, and returns EXIT_CHECK_FAILED when something would.
    `yes` answers every question with yes.
    """
    try:
        config = load(file, root)
        to_come = consequences(config)
        if not (dry_run or check):
            confirm(to_come, yes=yes)
        made = build(config, dry_run=dry_run or check)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print("nothing was changed", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"{error.filename2 or error.filename}: {error.strerror}", file=sys.stderr)
        print("nothing was changed", file=sys.stderr)
        return EXIT_USAGE
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not quiet:
        for line in (*made.lines, *to_come.lines) or ("nothing to change",):
            print(line)
        asked = "asks first" if dry_run or check else "confirmed by --yes"
        for question in to_come.questions if dry_run or check or yes else ():
            print(f"{asked}: {question}")
    return EXIT_CHECK_FAILED if check and made.changes else EXIT_OK


def confirm(to_come: Consequences, *, yes: bool) -> None:
    """Ask the user to confirm the questions, if any. Raises ConfigError when the answer is no, or nobody can answer."""
    if not to_come.questions or yes:
        return
    if sys.stdin is not None and sys.stdin.isatty():
        for line in (*to_come.lines, *to_come.questions):
            print(line)
        print("Go on? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
        raise ConfigError("not confirmed")
    raise ConfigError(*to_come.questions, "to go on all the same, say --yes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, build, and return the exit code."""
    return for_a_shell(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description="Turn loglines.cfg into supervisord.conf and a file for each program.")
    parser.add_argument("-r", "--root", type=Path, default=Path(), metavar="DIR", help="the instance's folder")
    parser.add_argument("-s", "--settings", type=Path, metavar="FILE", help="default: DIR/loglines.cfg")
    parser.add_argument("-q", "--quiet", action="store_true", help="print problems only")
    parser.add_argument("--dry-run", action="store_true", help="only print what would change")
    parser.add_argument("--check", action="store_true", help="the same, and exit with 1 when something would")
    parser.add_argument("-y", "--yes", action="store_true", help="go on where it would ask")
    asked = parser.parse_args(arguments)
    file = asked.settings or asked.root / "loglines.cfg"
    return generate(asked.root, file, dry_run=asked.dry_run, check=asked.check, yes=asked.yes, quiet=asked.quiet)
