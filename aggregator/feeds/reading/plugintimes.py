"""Read the publication time of a body with a user's plugin."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aggregator.config.hints import shorten
from aggregator.feeds.reading.dates import check_moment
from aggregator.feeds.reading.fetched import Corrupt, Fetched, Reader, moment_of
from aggregator.registry import load_module


def plugin_reader(module: str, attribute: str, root: Path) -> Reader:
    """Return a reader that calls the plugin with the path of the body; -1 or any exception means corrupt.

    Raises ValueError when the module cannot be imported or has no such callable.
    """
    found = getattr(load_module(module, root), attribute, None)
    if not callable(found):
        raise ValueError(f"{module} has no callable {attribute}")

    def read(fetched: Fetched) -> int | float:
        if fetched.path is not None:
            return _ask(found, fetched.path)
        with tempfile.NamedTemporaryFile(prefix="aggregator-") as file:
            file.write(fetched.body)
            file.flush()
            return _ask(found, Path(file.name))

    return read


def _ask(plugin: Callable[[str], Any], path: Path) -> int | float:
    try:
        answer = plugin(str(path))
    except Exception as error:
        raise Corrupt(f"{type(error).__name__}: {error}") from error
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise Corrupt(f"the plugin returned no number (found {shorten(str(answer))})")
    return moment_of(answer, "the plugin", check_moment)
