"""The identity of an instance: an id that is made with its folder, and that differs from the id of a copy.

The id stands in `data/instance`, because the data are the instance: `run/` and `workers_available/` can be made again.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import msgspec

from aggregator.config.instance import Instance, read_line
from aggregator.errors import ConfigError
from aggregator.files.durable import write_durably


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that an instance stores about itself."""

    id: str
    root: str
    """The folder of the instance when this was written, a real path."""
    device: int = 0
    inode: int = 0
    """Device and inode are those of the `data` folder; a copy has others."""
    machine: str = ""
    """A hash of the machine's id; empty where it has none."""
    node: str = ""
    """The node's name at the first build, for a configuration that names none: a host may be renamed."""


def read_facts(instance: Instance) -> InstanceFacts | None:
    """Return the facts in the instance's folder; None when there are none that can be read."""
    try:
        return msgspec.json.decode(instance.identity.read_bytes(), type=InstanceFacts)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def check(instance: Instance) -> InstanceFacts | None:
    """Return which instance this is, None when it was never built. Changes nothing.

    Raises ConfigError for a copy of an instance that still exists: both would do the same work under one name.
    """
    facts = read_facts(instance)
    if facts is not None and (original := _original(instance, facts)):
        raise ConfigError(
            f"{instance.root} is a copy of the instance in {original}, which is there still: both would collect the "
            f"same under one name; remove one of them, or make this an instance of its own: "
            f"{instance.command()} state fork"
        )
    return facts


def claim(instance: Instance, node: str) -> InstanceFacts:
    """Return which instance this is, and store it when the instance is new, was moved, or came from another machine.

    `node` is its node's name. Raises ConfigError for a copy, and OSError.
    """
    facts = check(instance)
    instance.identity.parent.mkdir(parents=True, exist_ok=True)
    data = instance.identity.parent.stat()
    machine = machine_id()
    if facts is None or (facts.machine and machine and facts.machine != machine):
        # a copy on another machine cannot be told from an instance that was moved there: each gets an id of its own
        facts = InstanceFacts(id=secrets.token_hex(8), root="", node=facts.node if facts else node)
    here = msgspec.structs.replace(
        facts, root=str(instance.root), device=data.st_dev, inode=data.st_ino, machine=machine, node=facts.node or node
    )
    if here != read_facts(instance):
        write_durably(instance.identity, msgspec.json.encode(here) + b"\n")
    return here


def is_original(instance: Instance) -> bool:
    """True for the folder in which the instance was built, and for no copy of it."""
    facts, data = read_facts(instance), instance.identity.parent
    here = (str(instance.root), machine_id())
    return facts is not None and (facts.root, facts.machine) == here and _place(data) == (facts.device, facts.inode)


def _place(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def fork(instance: Instance) -> InstanceFacts:
    """Make a copy an instance of its own, with a new id. Raises OSError."""
    facts = read_facts(instance)
    instance.identity.unlink(missing_ok=True)
    return claim(instance, facts.node if facts else "")


def machine_id() -> str:
    """Return a hash of this machine's id, as machine-id(5) asks for; empty where there is none."""
    known = read_line(Path("/etc/machine-id"))
    return hashlib.sha256(f"aggregator {known}".encode()).hexdigest()[:16] if known else ""


def _original(instance: Instance, facts: InstanceFacts) -> Path | None:
    """Return the folder of which this one is a copy; None when it is no copy."""
    there = Path(facts.root)
    if not facts.root or there == instance.root:
        return None
    try:
        other = read_facts(Instance(there))
        is_another = not (there / "data").samefile(instance.identity.parent)
    except OSError:
        return None
    return there if other is not None and other.id == facts.id and is_another else None
