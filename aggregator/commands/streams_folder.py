"""The option that names the folder of what was recorded, and its default."""

from __future__ import annotations

import argparse
from pathlib import Path

from aggregator.commands.invocation import Invocation
from aggregator.errors import ConfigError

_DEFAULT = "data/streams"


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Give a command the option that names the folder with a folder for each stream."""
    words = (
        "the folder with a folder for each stream (default: that of the section with stage = record, or data/streams)"
    )
    parser.add_argument("--directory", metavar="DIR", type=Path, help=words)


def directory_of(invocation: Invocation, args: argparse.Namespace) -> Path:
    """Return the folder with a folder for each stream. Raises ConfigError when several sections name different ones."""
    if args.directory is not None:
        return Path(args.directory)
    if not invocation.file.exists():
        return invocation.root / _DEFAULT
    programs = invocation.config(reading=True).programs.values()
    named = {program.settings.directory for program in programs if program.stage_name == "record"}
    if len(named) > 1:
        raise ConfigError(f"which folder? give --directory DIR; sections name {', '.join(sorted(named))}")
    return invocation.root / next(iter(named), _DEFAULT)
