"""The global options, and the configuration that they select."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aggregator.errors import AggregatorError, ConfigError

if TYPE_CHECKING:
    from aggregator.config.configuration import Config


class Failed(AggregatorError):
    """A failure that is told to the user in one line; the command exits with 1."""


class Invocation:
    """One call of the command line: which instance, which settings, how talkative."""

    def __init__(self, root: str, settings: str | None, quiet: bool) -> None:
        self.root = Path(os.path.realpath(root))
        self.file = Path(os.path.abspath(settings)) if settings else self.root / "loglines.cfg"
        self.default_file = settings is None
        self.quiet = quiet

    def config(self, *, reading: bool = False, imports: bool | None = None) -> Config:
        """Return the checked configuration. Raises ConfigError.

        With `reading`, missing environment variables are no fault, because a monitor has no secrets, and no code that
        the instance's owner wrote is imported. With `imports=False` alone, this code is not imported either, but
        missing variables are a fault.
        """
        # imported here: some commands need no configuration, and `work` must start quickly
        from aggregator.config.loading import load

        if self.default_file and not self.file.exists():
            raise ConfigError(
                f"no loglines.cfg in {self.root}; name the instance's folder with -r DIR, "
                "or make a new instance with `aggregator init DIR`"
            )
        return self._told(load(self.file, self.root, reading=reading, imports=imports))

    def running(self) -> Config:
        """Return the configuration that workers run: the current build, or the file when it was not built.

        A file that is being edited therefore disturbs no command that only looks. Raises ConfigError.
        """
        from aggregator.config.builds import Builds
        from aggregator.config.instance import Instance
        from aggregator.config.loading import load

        build = Builds(Instance(self.root)).current()
        if build is None or build.file != self.file:
            return self.config(reading=True)
        return self._told(load(build.file, self.root, reading=True, build=build))

    def _told(self, config: Config) -> Config:
        """Print the doubts about a configuration, and return it."""
        for doubt in config.doubts:
            print(f"warning: {doubt}", file=sys.stderr)
        return config

    def say(self, text: str = "") -> None:
        """Print text that is meant for people only, unless the user asked for quiet."""
        if not self.quiet:
            print(text)


def common_options() -> argparse.ArgumentParser:
    """Return the options that every command takes, before and after its name."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-r", "--root", metavar="DIR", help="the instance: its config, data, logs (default: here)")
    parser.add_argument("-s", "--settings", metavar="FILE", help="its settings (default: DIR/loglines.cfg)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print results and errors only")
    return parser


def read_count(text: str) -> int:
    """Return a whole number from 1 on. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1 on (found {text!r})")
    return int(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a listing its option --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")
