"""Find where an answer ends, strictly: what another reader would find elsewhere is not taken.

Source: RFC 9112, sections 6 and 7.1; RFC 9110, section 15.2.
"""

from __future__ import annotations

import re

from aggregator.http import response
from aggregator.http.body import Broken
from aggregator.http.response import LENGTH

LONGEST_LINE = 4096
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r?\n")


class Response(response.Response):
    """An answer whose body is wanted, without readiness to guess."""

    def begin(self) -> None:
        """Read as far as the headers. Raises Broken when a body that is wanted can be understood in two ways."""
        super().begin()
        if self.status == 101:
            raise Broken("HTTP 101: another protocol, which nobody asked for")
        # of a failure there is only the page that comes with it
        if self.status < 400 and self.status not in (204, 304):
            self._check_end()

    def _check_end(self) -> None:
        if self.head.doubt:
            raise Broken(self.head.doubt)
        codings, lengths = self.codings(), set(self.listed("content-length"))
        if codings and not self.chunked:
            raise Broken(f"Transfer-Encoding {', '.join(codings)[:40]!r}; only chunked can be read")
        if len(lengths) > 1 or not all(LENGTH.fullmatch(length) for length in lengths):
            raise Broken(f"Content-Length {', '.join(sorted(lengths))[:40]!r}; it must be one number")
        if self.head.unlike and not self.chunked and not lengths:
            raise Broken(f"a line among the headers that may belong to the body (found {self.head.unlike})")

    def _get_chunk_left(self) -> int | None:
        """Return what is left of a chunk; the standard library passes over any two bytes at its end. Raises Broken."""
        if self.chunk_left == 0:
            if self.fp.readline(2) != b"\r\n":
                raise Broken("a chunk that does not end where it should")
            self.chunk_left = None
        return super()._get_chunk_left()  # type: ignore[misc, no-any-return]

    def _read_next_chunk_size(self) -> int:
        """Return how long the next chunk is, in place of the standard library's, which reads up to the end for `-1`.

        Raises ValueError, which the caller takes for a cut body.
        """
        line = self.fp.readline(LONGEST_LINE)
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ValueError(f"no size of a chunk (found {line[:20]!r})")
        return int(match[1], 16)
