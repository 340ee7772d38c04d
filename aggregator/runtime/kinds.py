"""Kinds of messages: one declared struct each, told apart by their `kind`.

A message names its kind: `"kind": "downloaded"`. A stage takes only its own kinds, so messages in a wrong queue, for
example after two queues were swapped, go to the dead letters unchanged. Every field of a message is checked when it
arrives, because anybody who may push to Redis may have written it. The struct declares types and ranges, and its
`__post_init__` checks the rest.
"""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import msgspec

from aggregator.config.hints import shorten
from aggregator.errors import Reject

MOST_BYTES = 1_000_000
"""The limit for a message. No message of a declared kind comes near it: headers, addresses and errors are cut."""
_OURS = b'{"kind":"'
"""How a message of a kind begins as `encode` writes it."""
_LEARNING = threading.Lock()
_T = TypeVar("_T", bound=msgspec.Struct)
Older: TypeAlias = Callable[[bytes, Mapping[str, type[_T]]], tuple[type[_T], bytes | msgspec.Raw] | None]
"""Returns which kind a message without a kind has, and its body; None when the message does not tell."""


class Kind(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A message; its `kind` is the `tag` of its class."""


class _Head(msgspec.Struct):
    kind: str | msgspec.UnsetType = msgspec.UNSET


_HEAD = msgspec.json.Decoder(_Head)


def decode(raw: bytes, *kinds: type[_T], older: Older[_T] = lambda raw, kinds: None) -> _T:
    """Return a message of one of these kinds. Raises Reject when it has another kind or an impossible value.

    Versions before there were kinds wrote messages without one: `older` tells their kind, else the first kind is taken.
    """
    if len(raw) > MOST_BYTES:
        raise Reject(f"a message of {len(raw)} bytes; no message of these kinds has more than {MOST_BYTES}")
    decoder = _decoder(kinds)
    if decoder is not None and raw.startswith(_OURS):
        # in one pass; what fails is read once more below, for the reason in words
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found: _T = decoder.decode(raw)
            return found
    wanted, body = kinds[0], msgspec.Raw(raw)
    try:
        by_tag = {str(kind.__struct_config__.tag): kind for kind in kinds}
        head = _HEAD.decode(raw) if any(k.__struct_config__.tag for k in kinds) else _Head()
        if head.kind is msgspec.UNSET:
            wanted, body = older(raw, by_tag) or (kinds[0], msgspec.Raw(raw))  # type: ignore[assignment]
        elif head.kind in by_tag:
            wanted = by_tag[head.kind]
        else:
            raise Reject(
                f"a message of kind {shorten(head.kind)} in a queue of {' and '.join(by_tag)}: were two queues "
                "swapped? Nothing was done with it; put it into the queue of the stage that takes this kind"
            )
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Reject(f"no {wanted.__name__}: {error} (found {raw[:60]!r})") from error


@functools.cache
def _decoder(kinds: tuple[type[msgspec.Struct], ...]) -> msgspec.json.Decoder[Any] | None:
    """Return what tells the kinds apart; None when one of them has no tag.

    One thread at a time: msgspec, up to 0.22 at least, makes a struct known to all threads before it knows its fields,
    and crashes when a second one reads it meanwhile.
    """
    with _LEARNING:
        for kind in kinds:
            msgspec.json.Decoder(kind)
        is_told_apart = all(kind.__struct_config__.tag for kind in kinds)
        return msgspec.json.Decoder(functools.reduce(operator.or_, kinds)) if is_told_apart else None


def encode(message: msgspec.Struct) -> bytes:
    """Return the body of a message."""
    return msgspec.json.encode(message)
