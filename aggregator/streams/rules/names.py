"""Names of rule sets, the Redis keys that rule managers use, and how many rules a platform takes.

These keys belong to rule managers and not to a namespace of ours, so they carry no prefix:

==========================================  ======  ====================================================
key                                         type    meaning
==========================================  ======  ====================================================
``traptor-TYPE:ID:RULE_ID``                 hash    one rule, with whatever fields its manager gave it
``aggregator-rules-history:TYPE:ID``        list    changes by `aggregator rules`, oldest first: JSON
``aggregator-rules-owner``                  string  what marks rules at X as those of this Redis; never deleted
``aggregator-rules-sync:TYPE:ID``           string  whose turn it is to change the set's rules at X; ends by itself
``TYPE:ID:heartbeat``                       string  the time of the last sign of life; ends by itself
``stats:TYPE:ID:RULE_ID``                   zset    a member for each match in the window; score = seconds
``limit:TYPE:ID``                           zset    limit notices in the window; score = Unix seconds
==========================================  ======  ====================================================

Source: Traptor 4.0.15, whose rule managers these keys must please.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from aggregator.config.settings import OptionType

ORIG_TYPES = {
    "track": ("keyword", "hashtag"),
    "follow": ("userid", "username"),
    "locations": ("geo",),
    "x": ("x_rule",),
}
"""The `orig_type` that rules of each type have; a track or follow rule with another one never matches.

The type `x` is ours: rules in the syntax of X's filtered stream. Rule managers ask for the keys of the other types.
"""
LIMITS = {"track": 400, "follow": 5000, "locations": 25}
"""How many phrases, ids or boxes one connection to the platform may ask for. X counts by project and says so itself."""
OWNER = "aggregator-rules-owner"
"""The key of the text that marks rules at X as those of this Redis."""
_NAME = re.compile(rf"({'|'.join(ORIG_TYPES)}):(\d{{1,9}})", re.ASCII)


class SetName(NamedTuple):
    """The name of a rule set: `track:0`."""

    type: str
    id: int

    def __str__(self) -> str:
        return f"{self.type}:{self.id}"

    @property
    def prefix(self) -> str:
        """What the keys of the set's rules begin with."""
        return f"traptor-{self}:"

    @property
    def history(self) -> str:
        """The list of the changes to the set."""
        return f"aggregator-rules-history:{self}"

    @property
    def turn(self) -> str:
        """The lock of who changes the set's rules at X."""
        return f"aggregator-rules-sync:{self}"

    @property
    def heartbeat(self) -> str:
        """The text that says that somebody collects by these rules."""
        return f"{self}:heartbeat"

    @property
    def limit(self) -> str:
        """The sorted set of limit notices."""
        return f"limit:{self}"

    def key(self, rule_id: str) -> str:
        """Return the hash of one rule."""
        return f"{self.prefix}{rule_id}"

    def stats(self, rule_id: str) -> str:
        """Return the sorted set of the matches of one rule."""
        return f"stats:{self}:{rule_id}"


def parse_set_name(text: str) -> SetName:
    """Return the rule set that a text names. Raises ValueError."""
    match = _NAME.fullmatch(text.strip())
    if not match:
        raise ValueError
    return SetName(match[1], int(match[2]))


RuleSetName = Annotated[
    SetName, OptionType("rule set", parse_set_name, "TYPE:ID, such as track:0, follow:1, locations:0 or x:0")
]
