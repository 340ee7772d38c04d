"""Read the messages of feeds, those of versions before there were kinds too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from aggregator.runtime import kinds

_T = TypeVar("_T", bound=msgspec.Struct)


class _Keys(msgspec.Struct):
    """The keys by which messages without a kind are told apart: orders stood under their kind."""

    close: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    clear: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    remove: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    unite: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    missed_from_ms: Any = None


def decode(raw: bytes, *wanted: type[_T]) -> _T:
    """Return a message of one of these kinds. Raises Reject when it is none of them, or says what cannot be.

    One without a kind is of the kind that its keys tell, else of the first of these kinds.
    """
    return kinds.decode(raw, *wanted, older=_older)


def _older(raw: bytes, by_tag: Mapping[str, type[_T]]) -> tuple[type[_T], bytes | msgspec.Raw] | None:
    keys = msgspec.json.decode(raw, type=_Keys)
    for tag in ("close", "clear", "remove", "unite"):
        body = getattr(keys, tag)
        if tag in by_tag and body is not msgspec.UNSET:
            return by_tag[tag], body
    if "missed" in by_tag and keys.missed_from_ms is not None:
        return by_tag["missed"], raw
    return None
