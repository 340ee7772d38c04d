"""Messages on lines: one JSON text on each, blank lines between them to keep the connection alive."""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.streams.transports.parts import Part, TooLarge


class Lines:
    """Take bytes, give messages; a line whose end has not come is not given."""

    retry_s: float | None = None
    farewell = ""

    def __init__(self, most_bytes: int, *, delimited: bool = False) -> None:
        """A message of more than `most_bytes` is passed over: `TooLarge` stands in its place.

        With `delimited`, a line of digits says how many bytes the next message has, as Twitter's `delimited=length`
        does. The messages have no line breaks of their own, so that the length is not needed to find their ends.
        """
        self._most_bytes = most_bytes
        self._delimited = delimited
        self._rest: list[bytes] = []
        """The pieces of the line that has begun; put together only once, however small they come."""
        self._rest_bytes = 0
        self._passed = 0

    @property
    def partial(self) -> bool:
        """True while a message has begun and not ended."""
        return bool(b"".join(self._rest).strip() or self._passed)

    def feed(self, piece: bytes) -> Iterator[Part | TooLarge]:
        """Yield the messages that these bytes complete."""
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        lines: list[bytes] = []
        if b"\n" in piece:
            *lines, rest = b"".join(self._rest).split(b"\n")
            self._rest, self._rest_bytes = [rest], len(rest)
        for line in lines:
            data = line.strip(b"\r ")
            if self._passed or len(data) > self._most_bytes:
                yield TooLarge(self._passed + len(line))
                self._passed = 0
            elif data and not (self._delimited and data.isdigit()):
                yield Part(data)
        if self._rest_bytes > self._most_bytes:
            self._passed += self._rest_bytes
            self._rest, self._rest_bytes = [], 0
