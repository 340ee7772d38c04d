"""The standard library's response, with headers that are read to their end and bounds on all that surrounds a body."""

from __future__ import annotations

import re
from http.client import HTTPResponse, UnknownProtocol

from aggregator.http.heads import BadHead, Head, Lines, read_head

MOST_PROMISES = 100
"""Answers of the kind 1xx that may stand before the answer itself."""
LENGTH = re.compile(r"[0-9]{1,18}")


class Response(HTTPResponse):
    """An answer. Whoever needs its body looks at `head` first."""

    head: Head
    _lines: Lines

    def begin(self) -> None:
        """Read as far as the headers of the answer itself, past those that only promise one. Raises BadHead."""
        self._lines = Lines(self.fp.readline)
        doubt, flawed = "", False
        for _ in range(MOST_PROMISES + 1):
            version, self.status, reason = self._read_status()  # type: ignore[attr-defined]
            if not version.startswith("HTTP/1.") and version != "HTTP/0.9":
                raise UnknownProtocol(version)
            head = read_head(self._lines)
            doubt, flawed = doubt or head.doubt, flawed or head.flawed
            # 101 promises nothing: what follows it is another protocol
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
        """Take the end of the body as it is announced; of one in doubt nothing is read.

        What may mean two things ends the connection behind it.
        """
        codings, lengths = self.codings(), self.listed("content-length")
        self.chunked = codings == ["chunked"]
        self.chunk_left = None
        length = lengths[0] if len(set(lengths)) == 1 and not codings else ""
        self.length = int(length) if LENGTH.fullmatch(length) else None
        if self.status in (204, 304) or self.head.doubt:
            self.chunked, self.length = False, 0
        unclear = (self.length is None and not self.chunked) or bool(codings and (lengths or self.version == 10))
        self.will_close = unclear or self.head.flawed or self._check_close()  # type: ignore[attr-defined]

    def codings(self) -> list[str]:
        """Return how the body is sent, beside as it is."""
        return [coding for value in self.listed("transfer-encoding") if (coding := value.lower()) != "identity"]

    def listed(self, name: str) -> list[str]:
        """Return the values of a header that may stand there several times, or have several."""
        return [value.strip() for line in self.headers.get_all(name, ()) for value in line.split(",")]

    def _read_and_discard_trailer(self) -> None:
        """Read what stands behind the last chunk; the standard library's own has no bound."""
        self.will_close |= read_head(self._lines).flawed
