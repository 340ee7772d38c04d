"""Notice another instance that works under our node's name: each would take the other's messages, but not its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aggregator.errors import ConfigError
from aggregator.runtime.keys import Keys
from aggregator.runtime.roster import roster

FORGOTTEN_S = 7 * 86_400
"""A worker that was not seen for so long is taken for one of the past; cron starts stages more often."""


def write_root(root: Path) -> str:
    """Return an instance's folder as Redis can keep it, whatever bytes are in its name."""
    return quote_from_bytes(os.fsencode(root))


def refuse_another(client: Any, keys: Keys, node: str, root: Path) -> None:
    """Raise ConfigError when workers of this node's name belong to an instance in another folder of this machine.

    One whose folder is gone was moved to where we are.
    """
    for facts in roster(client, keys).workers:
        if facts.node != node or not facts.root or facts.beat_age_s is None or facts.beat_age_s > FORGOTTEN_S:
            continue
        there = Path(os.fsdecode(unquote_to_bytes(facts.root)))
        if _is_another(there, root):
            raise ConfigError(
                f"the instance in {there} works in this Redis as node {node} too, and each would take the other's "
                "messages: give this one another `namespace` in [redis], or another `node` in [aggregator] when both "
                "are to share queues; if it was moved here, remove it there"
            )


def _is_another(there: Path, root: Path) -> bool:
    try:
        return (there / "data").is_dir() and not there.samefile(root)
    except OSError:
        return False
