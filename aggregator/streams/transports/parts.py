"""What a transport makes of a stream's bytes."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """One message as the platform sent it."""

    data: bytes
    type: str = ""
    """The type that the platform gave beside the message; empty when it gave none."""
    id: str = ""
    """The id that the platform gave beside the message; empty when it gave none."""


class TooLarge(NamedTuple):
    """A message that was passed over because it is larger than allowed."""

    size_bytes: int
