"""`streams`: commands on streams and on what was recorded of them."""

from __future__ import annotations

import argparse
import importlib
from typing import NamedTuple

from aggregator.commands.invocation import common_options


class Action(NamedTuple):
    """An action: the function that adds its options, as ``module:function``, and its help text."""

    place: str
    words: str


ACTIONS = {
    "organize": Action("streams_organize:add_organize", "Take over the data folder of an old Social Feed Manager"),
    "export": Action("streams_export:add_export", "Write what was recorded as JSON lines, CSV, Parquet or ids"),
}


def add_streams(parser: argparse.ArgumentParser) -> None:
    """Declare `streams ACTION`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        sub = actions.add_parser(name, help=action.words, description=f"{action.words}.", parents=[common_options()])
        module, _, function = action.place.partition(":")
        getattr(importlib.import_module(f"aggregator.commands.{module}"), function)(sub)
