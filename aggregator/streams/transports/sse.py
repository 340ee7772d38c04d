"""Server-Sent Events: bytes as they come become events.

Source: HTML Living Standard, section 9.2 (server-sent events).
"""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.streams.transports.parts import Part, TooLarge

_BOM = b"\xef\xbb\xbf"


class ServerSentEvents:
    """Take bytes, give events; an event whose blank line has not come is not given."""

    farewell = ""

    def __init__(self, most_bytes: int) -> None:
        """An event of more than `most_bytes` is passed over: `TooLarge` stands in its place."""
        self._most_bytes = most_bytes
        self._rest: list[bytes] = []
        """The pieces of the line that has begun; put together only once, however small they come."""
        self._rest_bytes = 0
        self._skip_lf = False
        self._begins = True
        self._data: list[bytes] = []
        self._size = 0
        self._type = b""
        self.last_id = ""
        """The id of the last event that had one; the server is asked for what follows it."""
        self.retry_s: float | None = None
        """How long the server wants to be left alone between two connections; None when it has not said."""
        self._id = b""
        self._too_large = 0

    @property
    def partial(self) -> bool:
        """True while an event has begun and not ended."""
        return bool(self._data or any(self._rest) or self._too_large)

    def feed(self, piece: bytes) -> Iterator[Part | TooLarge]:
        """Yield the events that these bytes complete."""
        if self._skip_lf and piece:
            piece = piece.removeprefix(b"\n")
            self._skip_lf = False
        self._skip_lf = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        if self._begins and (b"\n" in piece or self._rest_bytes >= len(_BOM)):
            self._begins = False
            self._rest = [b"".join(self._rest).removeprefix(_BOM)]
            self._rest_bytes = len(self._rest[0])
        lines: list[bytes] = []
        if b"\n" in piece:
            *lines, rest = b"".join(self._rest).split(b"\n")
            self._rest, self._rest_bytes = [rest], len(rest)
        for line in lines:
            if not line:
                yield from self._event()
            elif not line.startswith(b":"):
                self._field(line)
        if self._rest_bytes > self._most_bytes:
            self._too_large += self._rest_bytes
            self._rest, self._rest_bytes = [b"data:"], 5  # the line goes on; what follows belongs to the same event

    def _event(self) -> Iterator[Part | TooLarge]:
        self.last_id = self._id.decode(errors="replace")
        if self._too_large:
            yield TooLarge(self._too_large + self._size)
        elif self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            yield Part(data, self._type.decode(errors="replace"), self.last_id)
        self._data, self._size, self._too_large, self._type = [], 0, 0, b""

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1  # the line break counts, because lines may be empty
            if self._size - 1 > self._most_bytes or self._too_large:
                self._too_large += self._size
                self._data, self._size = [], 0
            else:
                self._data.append(value)
        elif name == b"event":
            self._type = value
        elif name == b"id" and b"\0" not in value:
            self._id = value
        elif name == b"retry" and value.isdigit():
            self.retry_s = int(value[:9]) / 1000
