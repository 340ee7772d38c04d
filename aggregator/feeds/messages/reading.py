"""Read the messages of feeds, including those of older versions, which had no kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from aggregator.runtime import kinds

_T = TypeVar("_T", bound=msgspec.Struct)


class _Keys(msgspec.Struct):
    """The keys that tell messages without a kind apart: an order to a stage stood under the name of its kind."""

    close: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    clear: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    remove: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    unite: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    missed_from_ms: Any = None


def decode(raw: bytes, *wanted: type[_T]) -> _T:
    """Return a message of one of the wanted kinds. Raises Reject for another kind, or for impossible values.

    A message without a kind is recognized by its keys, and is else taken for the first of the wanted kinds.
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
