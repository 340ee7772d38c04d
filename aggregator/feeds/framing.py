"""Find where an answer ends, strictly: what another reader would find elsewhere is not taken.

Source: RFC 9112, sections 6 and 7.1; RFC 9110, section 15.2.
"""

from __future__ import annotations

from http.client import HTTPResponse

from aggregator.feeds.body import Broken


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
