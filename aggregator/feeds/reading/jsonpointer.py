"""Follow a JSON pointer (RFC 6901) through a body without decoding the values beside its path."""

from __future__ import annotations

from typing import Any

import msgspec

LONGEST_VALUE = 1000
"""The most bytes of the value that a pointer leads to; a time is shorter."""
MOST_BEFORE = 1000
"""The most elements of a list before the element that a pointer names."""


class Step:
    """One step of a pointer: the name of a member, or the number of an element."""

    def __init__(self, name: str) -> None:
        member = msgspec.defstruct("Member", [("value", msgspec.Raw, msgspec.UNSET)], rename={"value": name})
        self._member: msgspec.json.Decoder[Any] = msgspec.json.Decoder(member)
        self._element: msgspec.json.Decoder[Any] | None = None
        is_number = name.isdecimal() and name.isascii() and len(name) < 5
        if is_number and int(name) <= MOST_BEFORE:
            # elements after the last of these fields are skipped
            before: list[Any] = [(f"before{number}", msgspec.Raw, msgspec.UNSET) for number in range(int(name))]
            fields = [*before, ("value", msgspec.Raw, msgspec.UNSET)]
            self._element = msgspec.json.Decoder(msgspec.defstruct("Element", fields, array_like=True))

    def into(self, value: msgspec.Raw) -> msgspec.Raw:
        """Return the member or element of a value that this step names. Raises LookupError when there is none."""
        begin = bytes(memoryview(value)[:1])
        decoder = {b"{": self._member, b"[": self._element}.get(begin)
        found: msgspec.Raw | msgspec.UnsetType = decoder.decode(value).value if decoder else msgspec.UNSET
        if found is msgspec.UNSET:
            raise LookupError
        return found


def plain_value(value: msgspec.Raw) -> Any:
    """Return a number, a text or another plain value. Raises ValueError for a long value, an object or a list."""
    data = bytes(memoryview(value)[: LONGEST_VALUE + 1])
    if data[:1] in (b"{", b"["):
        raise ValueError(f"no time (found {'an object' if data[:1] == b'{' else 'a list'})")
    if len(data) > LONGEST_VALUE:
        raise ValueError(f"no time (found more than {LONGEST_VALUE} bytes)")
    return msgspec.json.decode(data)
