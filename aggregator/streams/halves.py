"""JSON texts with escapes for half a character, such as `\\ud83d` without the escape that should follow it.

The grammar of JSON allows them (RFC 8259, section 8.2), and servers that cut a text within a character send them.
msgspec refuses them, as many readers do, so such an event travels as `text`, and whoever looks into it reads a copy.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape; the group is one for half a character."""
NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that it cannot read."""


def without_halves(text: bytes) -> bytes:
    """Return a JSON text with U+FFFD in place of each half of a character; all other bytes stay."""
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)


def is_json(text: bytes) -> bool:
    """True for a JSON text that msgspec reads."""
    try:
        text.decode()
        msgspec.json.decode(text, type=msgspec.Raw)
    except NO_JSON:
        return False
    return True


def read_json(text: bytes, type_: Any = Any) -> Any:
    """Return what a JSON text says; half a character is U+FFFD. Raises one of NO_JSON."""
    try:
        return msgspec.json.decode(text, type=type_)
    except NO_JSON:
        return msgspec.json.decode(without_halves(text), type=type_)
