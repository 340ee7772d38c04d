"""`feeds`: commands on the feeds that are collected, and on their archive."""

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
    "list": Action("feeds_list:add_list", "Show how every feed is doing: success, contents, size, next download"),
    "retrieve": Action("feeds_retrieve:add_retrieve", "Fetch what was archived into a folder, whole and verified"),
    "coverage": Action("feeds_coverage:add_coverage", "Say how complete what was collected is, hour by hour"),
    "verify": Action("feeds_verify:add_verify", "Read what is archived again, to the last byte"),
    "import": Action("feeds_import:add_import", "Turn settings of the old realtime aggregator into sections"),
    "export": Action("feeds_export:add_export", "Turn archived GTFS-realtime into Parquet, CSV or JSON lines"),
}


def add_feeds(parser: argparse.ArgumentParser) -> None:
    """Declare `feeds ACTION`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        sub = actions.add_parser(name, help=action.words, description=f"{action.words}.", parents=[common_options()])
        module, _, function = action.place.partition(":")
        getattr(importlib.import_module(f"aggregator.commands.{module}"), function)(sub)
