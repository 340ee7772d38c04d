"""Refuse another instance under our node's name: each would take the other's messages, but lack the other's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aggregator.config.identity import read_facts
from aggregator.config.instance import Instance
from aggregator.errors import ConfigError
from aggregator.runtime.keys import Keys
from aggregator.runtime.queue import ADVICE
from aggregator.runtime.roster import WorkerFacts, roster

FORGOTTEN_S = 7 * 86_400
"""A worker that was not seen for this long counts as one of the past; cron starts stages more often."""


def write_root(root: Path) -> str:
    """Return an instance's folder as Redis can keep it, whatever bytes are in its name."""
    return quote_from_bytes(os.fsencode(root))


def read_root(text: str) -> Path:
    """Return the folder that `write_root` turned into a text."""
    return Path(os.fsdecode(unquote_to_bytes(text)))


def refuse_another(client: Any, keys: Keys, node: str, root: Path, instance_id: str) -> str:
    """Raise ConfigError when workers of this node's name belong to another instance.

    An instance whose workers are at rest and whose folder is gone was moved to where we are, or was removed: it is not
    refused. Returns the id of the instance that had the name, for `Queue.start`.
    """
    for facts in roster(client, keys).workers:
        recent = facts.beat_age_s is not None and facts.beat_age_s <= FORGOTTEN_S
        if facts.node == node and facts.root and recent and _is_another(facts, root, instance_id):
            raise ConfigError(
                f"the instance in {read_root(facts.root)} works in this Redis as node {node} too, and {ADVICE}; "
                "if it was moved here, remove it there"
            )
    owner = client.hget(keys.instances, node)
    return owner.decode() if owner is not None else ""


def _is_another(facts: WorkerFacts, root: Path, instance_id: str) -> bool:
    there = read_root(facts.root)
    if facts.instance and instance_id:
        if facts.instance == instance_id:
            return False
        return facts.alive or _is_there(there, facts.instance)
    # a worker of an older version
    try:
        return (there / "data").is_dir() and not there.samefile(root)
    except OSError:
        return False


def _is_there(folder: Path, instance_id: str) -> bool:
    try:
        known = read_facts(Instance(folder))
    except OSError:
        return True  # a folder of another user, which we may not read
    return known is not None and known.id == instance_id
