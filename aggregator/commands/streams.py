"""`streams`: commands on the streams that are captured: what they do, how to change them, what is missing."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from aggregator.commands.invocation import common_options


class Action(NamedTuple):
    """An action: the function that adds its options, as ``module:function``, and its help text."""

    place: str
    words: str


ACTIONS = {
    "list": Action("streams_list:add_list", "Show how every stream is doing: connection, last event, rate, gaps"),
    "show": Action("streams_list:add_show", "Show one stream: its settings, its filters, its files"),
    "add": Action("streams_change:add_add", "Add a stream and start it, while everything else runs on"),
    "edit": Action("streams_change:add_edit", "Change options of a stream; it alone starts anew"),
    "activate": Action("streams_change:add_activate", "Check a draft and start it"),
    "deactivate": Action("streams_change:add_deactivate", "Stop a stream and keep its section as a draft"),
    "remove": Action("streams_change:add_remove", "Stop a stream and take its section out; what was recorded stays"),
    "plan": Action("streams_plan:add_plan", "Say which connections rules need, and add streams for them"),
    "gaps": Action("streams_gaps:add_gaps", "Say what is missing of streams: when, how long, and why"),
    "organize": Action("streams_organize:add_organize", "Take over the data folder of an old Social Feed Manager"),
    "export": Action("streams_export:add_export", "Write what was recorded as JSON lines, CSV, Parquet or ids"),
}
_OPTION = re.compile(r"--[a-z]+(?:[-_][a-z]+)*")
_NEGATIVE = re.compile(r"-[0-9.]")


class StreamsParser(argparse.ArgumentParser):
    """A parser for which a value may begin with a minus sign, as the longitudes of half of the world do."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse arguments; `--locations -74,40,-73,41` is read as `--locations=-74,40,-73,41`."""
        joined: list[str] = []
        for word in args or ():
            if joined and _OPTION.fullmatch(joined[-1]) and _NEGATIVE.match(word):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return super().parse_known_args(joined, namespace)


def add_streams(parser: argparse.ArgumentParser) -> None:
    """Declare `streams ACTION`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=StreamsParser)
    for name, action in ACTIONS.items():
        sub = actions.add_parser(
            name,
            help=action.words,
            description=f"{action.words}.",
            parents=[common_options()],  # type: ignore[list-item]
            allow_abbrev=False,
        )
        module, _, function = action.place.partition(":")
        getattr(importlib.import_module(f"aggregator.commands.{module}"), function)(sub)
