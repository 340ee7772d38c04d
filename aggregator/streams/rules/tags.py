"""The tags by which rules at X are known as ours; nowhere else are they written or read.

A project's rules are shared by all who use its credentials, so a rule without such a tag is somebody else's.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from aggregator.streams.rules.names import SetName

_TAG = re.compile(r"aggregator:([^:\s]+):x:([0-9]{1,9}):([^:\s]+)(?: .*)?", re.DOTALL)


class Mark(NamedTuple):
    """Whose a rule at X is."""

    owner: str
    """What marks the rules of one Redis; see `stored.owner_of`."""
    name: SetName
    rule_id: str


def make_tag(mark: Mark, tag: str) -> str:
    """Return `aggregator:OWNER:SET:RULE_ID TAG`, where TAG is the rule's own tag with single blanks."""
    own = f"aggregator:{quote(mark.owner, safe='')}:{mark.name}:{quote(mark.rule_id, safe='')}"
    return f"{own} {' '.join(tag.split())}".rstrip()


def read_tag(text: str) -> Mark | None:
    """Return whose a rule with this tag is; None when it is none of ours, whoever made it."""
    match = _TAG.fullmatch(text)
    return Mark(unquote(match[1]), SetName("x", int(match[2])), unquote(match[3])) if match else None
