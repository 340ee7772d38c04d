"""Read the body of an answer: unpack it, bound its size, and find out when it is not whole.

Some faults that no specification allows are common among servers in use, and are accepted and noted: a
`Content-Encoding` that names no packing, bytes behind the end of gzip, deflate without its header.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain

from aggregator.http.framing import Broken, Response
from aggregator.http.packings import GZIP, PIECE, unpack

_REGISTERED = frozenset(
    "aes128gcm br compress dcb dcz deflate exi gzip pack200-gzip x-compress x-gzip zstd".split()  # noqa: SIM905
)
"""The names that a `Content-Encoding` may have. Source: IANA's registry of content codings."""
_ALWAYS = ("gzip", "deflate")
"""Packings that are accepted even if the request did not offer them."""


class Body:
    """The unpacked pieces of a body, each small however well it was packed.

    `notes` and the sizes are complete after the last piece.
    """

    def __init__(
        self, response: Response, max_size: int | None, offered: tuple[str, ...] = (), *, keep_gzip: bool = False
    ) -> None:
        """Without `max_size`, as for a stream, the body has no bound; its pieces are handed on as they come.

        A gzip body is unpacked even if no header declares it. With `keep_gzip` the gzip file itself is wanted, whatever
        the headers say of it. Raises Broken for a body that is larger than `max_size`, whose end can be understood in
        two ways, or that is packed in a way nobody asked for.
        """
        self._response = response
        self._max_size = max_size
        self._keep_gzip = keep_gzip
        self.notes: set[str] = set()
        """The oddities of the body, each as one word."""
        self.wire_bytes = 0
        """The size of the body as it came, packed or not."""
        self.size_bytes = 0
        response.demand_body()
        if max_size is not None and response.length is not None and response.length > max_size:
            raise Broken(f"larger than max_size ({response.length} bytes announced)")
        self._packing = self._read_packing(offered)
        self.has_end = bool(self._packing) or response.chunked or response.length is not None
        """True when the answer said where its body ends; without that a cut body looks whole."""

    def _read_packing(self, offered: tuple[str, ...]) -> str:
        names = [name for text in self._response.listed("content-encoding") if (name := text.lower()) != "identity"]
        packings = [name for name in names if name in _REGISTERED]
        if any(name and name not in _REGISTERED for name in names):
            self.notes.add("encoding_unknown")
        text = ", ".join(packings)
        packing = text.removeprefix("x-") if text == "x-gzip" else text
        if packing and packing not in (*_ALWAYS, *offered):
            raise Broken(f"packed as {text[:40]!r}, which nobody asked for")
        return packing

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises Broken for a body that is too large, cut, or not packed as its headers say."""
        for piece in self._unpacked():
            self.size_bytes += len(piece)
            if self._max_size is not None and self.size_bytes > self._max_size:
                raise Broken(f"larger than max_size (more than {self._max_size} bytes)")
            yield piece

    def _wire(self) -> Iterator[bytes]:
        """Yield the pieces as they come, still packed."""
        read = self._response.read if self._max_size is not None else self._response.read_some
        while piece := read(PIECE):
            self.wire_bytes += len(piece)
            if self._max_size is not None and self.wire_bytes > self._max_size:
                raise Broken(f"larger than max_size (more than {self._max_size} bytes)")
            yield piece
        # http.client notices a cut chunk by itself, but not that fewer bytes came than Content-Length says
        if self._response.length:
            raise Broken(f"cut short: {self._response.length} bytes are missing")

    def _unpacked(self) -> Iterator[bytes]:
        wire = self._wire()
        if self._packing not in ("", "gzip"):
            return unpack(wire, self._packing, self.notes)
        # some servers hand out packed files without a header, and some declare a gzip file as packed for the transfer
        first = next(wire, b"")
        whole = chain([first] if first else [], wire)
        if not first.startswith(GZIP):
            return unpack(whole, "gzip", self.notes) if self._packing else whole
        if self._keep_gzip and not (self._packing and _holds_gzip(first)):
            return whole
        return unpack(whole, "gzip", self.notes)


def _holds_gzip(first: bytes) -> bool:
    """True for the beginning of gzip data that holds a gzip file: the file was packed once more for the transfer."""
    try:
        return zlib.decompressobj(31).decompress(first, len(GZIP)) == GZIP
    except zlib.error:
        return False
