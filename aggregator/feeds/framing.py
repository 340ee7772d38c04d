"""Find where an answer ends, strictly: what another reader would find elsewhere is not taken.

Source: RFC 9112, sections 6 and 7.1; RFC 9110, section 15.2.
"""

from __future__ import annotations

import re
from http.client import HTTPResponse

from aggregator.feeds.body import Broken

LONGEST_LINE = 4096
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r?\n")


class Response(HTTPResponse):
    """The standard library's response, without its readiness to guess."""

    def begin(self) -> None:
        """Read as far as the headers of the answer itself, past those that only promise one."""
        super().begin()
        while 100 <= self.status < 200:
            if self.status == 101:
                raise Broken("HTTP 101: another protocol, which nobody asked for")
            # the standard library goes past 100 alone, and takes any other for an answer without a body
            self.headers = None  # type: ignore[assignment]
            super().begin()
        if self.status not in (204, 304):
            self._settle_end()

    def _settle_end(self) -> None:
        """Take the length as it is announced. Raises Broken when that can be understood in two ways."""
        codings = [coding for coding in self._listed("transfer-encoding") if coding.lower() != "identity"]
        if codings and not (self.chunked and len(codings) == 1):
            raise Broken(f"Transfer-Encoding {', '.join(codings)[:40]!r}; only chunked can be read")
        lengths = set(self._listed("content-length"))
        if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
            raise Broken(f"Content-Length {', '.join(sorted(lengths))[:40]!r}; it must be one number")
        if self.chunked:
            # chunked counts; but who says both may have meant the other
            self.will_close |= bool(lengths)
        elif lengths:
            self.length = int(lengths.pop())

    def _listed(self, name: str) -> list[str]:
        """Return the values of a header that may stand there several times, or have several."""
        return [value.strip() for line in self.headers.get_all(name, ()) for value in line.split(",")]

    def _read_next_chunk_size(self) -> int:
        """Return how long the next chunk is, in place of the standard library's, which reads up to the end for `-1`.

        Raises ValueError, which the caller takes for a cut body.
        """
        line = self.fp.readline(LONGEST_LINE)
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ValueError(f"no size of a chunk (found {line[:20]!r})")
        return int(match[1], 16)
