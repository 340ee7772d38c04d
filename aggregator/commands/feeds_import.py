"""`feeds import`: take over the settings of the old realtime aggregator."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aggregator.commands.invocation import Invocation
from aggregator.feeds.settings.oldprogram import import_settings


def add_import(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds import FILE`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="its remote_settings.py, which is read and not run")
    parser.set_defaults(run=_import)


def _import(invocation: Invocation, args: argparse.Namespace) -> int:
    imported = import_settings(args.file)
    print(imported.text, end="")
    # on standard error, so that the user sees the notes even when standard output goes to a file
    for note in imported.notes:
        print(f"note: {note}", file=sys.stderr)
    for name, place in imported.variables.items():
        print(f"secret: set the variable {name} to {place}", file=sys.stderr)
    return 0
