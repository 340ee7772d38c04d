"""Find where an answer ends, strictly: an answer whose end another reader could find elsewhere is refused.

The standard library's response, with headers that are read to their end and with bounds on everything around a body.

Source: RFC 9112, sections 6 and 7.1; RFC 9110, section 15.2.
"""

from __future__ import annotations

import re
from http.client import HTTPResponse, UnknownProtocol

from aggregator.http.heads import BadHead, Head, Lines, read_head

MOST_PROMISES = 100
"""The most answers of the kind 1xx that may come before the answer itself."""
LONGEST_LINE = 4096
LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r?\n")


class Broken(Exception):
    """The answer cannot be used; the text says why."""


class Response(HTTPResponse):
    """An answer. A caller that needs its body calls `demand_body` first."""

    head: Head
    _lines: Lines

    def begin(self) -> None:
        """Read the headers of the answer itself, past those of 1xx answers before it. Raises BadHead."""
        self._lines = Lines(self.fp.readline)
        doubt, flawed = "", False
        for _ in range(MOST_PROMISES + 1):
            version, self.status, reason = self._read_status()  # type: ignore[attr-defined]
            if not version.startswith("HTTP/1.") and version != "HTTP/0.9":
                raise UnknownProtocol(version)
            head = read_head(self._lines)
            doubt, flawed = doubt or head.doubt, flawed or head.flawed
            # 101 is the last answer: after it another protocol follows
            if not 100 <= self.status < 200 or self.status == 101:
                break
        else:
            raise BadHead(f"more than {MOST_PROMISES} answers that only promise one")
        self.head = head._replace(doubt=doubt, flawed=flawed)
        self.headers = self.msg = head.fields
        self.code, self.reason = self.status, reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self._find_end()

    def _find_end(self) -> None:
        """Find the end of the body from the headers; a body whose end is in doubt is not read.

        An answer whose end may be understood in two ways closes the connection behind it.
        """
        if self.status == 101:
            # no body follows, but another protocol: whoever asked for it takes the socket over
            self.chunked, self.chunk_left, self.length, self.will_close = False, None, 0, False
            return
        codings, lengths = self.codings(), self.listed("content-length")
        # a body is chunked only once even if a server and a proxy both say so: every client in use reads it so
        self.chunked = set(codings) == {"chunked"}
        self.chunk_left = None
        length = lengths[0] if len(set(lengths)) == 1 and not codings else ""
        self.length = int(length) if LENGTH.fullmatch(length) else None
        if self.status in (204, 304) or self._method == "HEAD" or self.head.doubt:  # type: ignore[attr-defined]
            self.chunked, self.length = False, 0
        unclear = (self.length is None and not self.chunked) or len(codings) > 1
        unclear = unclear or bool(codings and (lengths or self.version == 10))
        self.will_close = unclear or self.head.flawed or self._check_close()  # type: ignore[attr-defined]

    def demand_body(self) -> None:
        """Raise Broken when the body can be understood in two ways."""
        if self.status == 101:
            raise Broken("HTTP 101: another protocol, which nobody asked for")
        # the body of a failure is only the page that comes with it
        if self.status >= 400 or self.status in (204, 304):
            return
        if self.head.doubt:
            raise Broken(self.head.doubt)
        codings, lengths = self.codings(), set(self.listed("content-length"))
        if codings and not self.chunked:
            raise Broken(f"Transfer-Encoding {', '.join(codings)[:40]!r}; only chunked can be read")
        if len(lengths) > 1 or not all(LENGTH.fullmatch(length) for length in lengths):
            raise Broken(f"Content-Length {', '.join(sorted(lengths))[:40]!r}; it must be one number")
        if self.head.unlike and not self.chunked and not lengths:
            raise Broken(f"a line among the headers that may belong to the body (found {self.head.unlike})")

    def codings(self) -> list[str]:
        """Return the transfer codings of the body, except `identity`."""
        return [coding for value in self.listed("transfer-encoding") if (coding := value.lower()) != "identity"]

    def listed(self, name: str) -> list[str]:
        """Return all values of a header that may be repeated or hold a list."""
        return [value.strip() for line in self.headers.get_all(name, ()) for value in line.split(",")]

    def read_some(self, size: int) -> bytes:
        """Return the part of the body that has arrived, at most `size` bytes; empty at its end.

        The standard library's `read1` loses count of a body whose length is known.
        """
        if self.chunked or self.fp is None:
            return self.read1(size) if self.fp is not None else b""
        data = self.fp.read1(size if self.length is None else min(size, self.length))
        if self.length is not None:
            self.length -= len(data)
        if not data or self.length == 0:
            self._close_conn()  # type: ignore[attr-defined]
        return data

    def _get_chunk_left(self) -> int | None:
        """Return how much of a chunk is left. Raises Broken.

        The standard library passes over any two bytes at the end of a chunk; here they must be a line's end.
        """
        if self.chunk_left == 0:
            if self.fp.readline(2) != b"\r\n":
                raise Broken("a chunk that does not end where it should")
            self.chunk_left = None
        return super()._get_chunk_left()  # type: ignore[misc, no-any-return]

    def _read_next_chunk_size(self) -> int:
        """Return the size of the next chunk.

        The standard library also takes `-1` for a size, and then reads up to the end of the connection. Raises
        ValueError, which the caller takes for a cut body.
        """
        line = self.fp.readline(LONGEST_LINE)
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ValueError(f"no size of a chunk (found {line[:20]!r})")
        return int(match[1], 16)

    def _read_and_discard_trailer(self) -> None:
        """Read the lines behind the last chunk; the standard library reads them without a bound."""
        self.will_close |= read_head(self._lines).flawed
