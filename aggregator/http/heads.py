"""Read the headers of an answer: malformed lines are left out or named, and the lines behind them are read too.

The standard library ends at the first line that it cannot read, and takes the headers behind that line for a body. Here
a line that can only be noise is left out. A malformed line that another reader could take for a header about the body's
end or packing is a doubt: a caller that needs the body must not trust it.

Source: RFC 9112, sections 2.2, 5 and 7.1.2; RFC 9110, section 5.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from typing import NamedTuple

MOST_BYTES = 256 * 1024
"""The most bytes of all headers of one answer, with those of its 1xx answers and its trailers."""
MOST_LINES = 10_000

_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_WORDS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-][A-Za-z0-9!#$%&'*+.^_`|~ \t-]*")
"""A name with spaces in it: not a header's name, but its line clearly belongs to headers and not to a body."""
_NO_LETTERS = re.compile(rb"[^a-z]+")
_ABOUT_THE_BODY = (b"contentlength", b"transferencoding", b"contentencoding")
"""The letters of the headers that say where a body ends and how it is packed."""
_CR_OR_NUL = re.compile(rb"[\r\0]")


class BadHead(HTTPException):
    """The headers cannot be used; the text says why."""


class Head(NamedTuple):
    """The headers of an answer."""

    fields: HTTPMessage
    doubt: str
    """Why it is not certain where the body ends or how it is packed; empty when that is certain."""
    unlike: str
    """The first line that was left out and could also be the beginning of the body; empty when there is none."""
    flawed: bool
    """True when any line was left out, put right or doubted."""


class Lines:
    """The lines of one answer's headers, bounded in number and size. They end with LF, or with CR LF."""

    def __init__(self, readline: Callable[[int], bytes]) -> None:
        self._readline = readline
        self._bytes = MOST_BYTES
        self._lines = MOST_LINES

    def next(self) -> bytes | None:
        """Return the next line without its end; None where the answer breaks off. Raises BadHead."""
        line = self._readline(self._bytes + 1)
        self._bytes -= len(line)
        self._lines -= 1
        if self._bytes < 0 or self._lines < 0:
            raise BadHead(f"headers of more than {MOST_BYTES} bytes or {MOST_LINES} lines")
        return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else None


def read_head(lines: Lines) -> Head:
    """Read headers up to the empty line behind them. Raises BadHead for too many."""
    reader = _Reader()
    while line := lines.next():
        reader.take(line)
    if line is None:
        reader.doubts("the answer broke off in its headers")
    return reader.head()


class _Reader:
    def __init__(self) -> None:
        self._fields: list[tuple[bytes, list[bytes]]] = []
        """Names of headers, and the pieces of their values; a folded header has more than one piece."""
        self._doubt = ""
        self._unlike = ""
        self._flawed = False
        self._goes_on = False
        """True while a folded line would belong to a header that was accepted."""

    def take(self, line: bytes) -> None:
        """Take one line of headers."""
        if _CR_OR_NUL.search(line):
            self._flawed = True
            # other readers end the line at such a character, drop it, or refuse the answer
            if any(_is_about_the_body(part.partition(b":")[0]) for part in line.replace(b"\0", b"").split(b"\r")):
                self.doubts("a header with a bare CR or a NUL", line)
            line = _CR_OR_NUL.sub(b" ", line)
        if line[:1] in (b" ", b"\t"):
            self._fold(line)
            return
        name, colon, value = line.partition(b":")
        bare = name.rstrip(b" \t")
        self._goes_on = bool(colon) and _TOKEN.fullmatch(bare) is not None
        if self._goes_on:
            self._flawed |= bare != name
            self._fields.append((bare, [value.strip(b" \t")]))
        else:
            self._leave_out(line, name, has_colon=bool(colon))

    def _fold(self, line: bytes) -> None:
        """Join a folded line to the header above it."""
        self._flawed = True
        if not line.strip():
            self.doubts("a line of white space among the headers")
        elif self._goes_on and _is_about_the_body(self._fields[-1][0]):
            self.doubts("a folded header", self._fields[-1][0])
        elif b":" in line and _is_about_the_body(line.partition(b":")[0]):
            self.doubts("a folded header", line)
        elif self._goes_on:
            self._fields[-1][1].append(line.strip())

    def _leave_out(self, line: bytes, name: bytes, *, has_colon: bool) -> None:
        self._flawed = True
        if _is_about_the_body(name):
            self.doubts("a malformed header", line)
        if not (has_colon and _WORDS.fullmatch(name)):
            self._unlike = self._unlike or _shown(line)

    def doubts(self, why: str, line: bytes = b"") -> None:
        """Note a reason not to trust the headers about the body; the first reason is kept."""
        self._flawed = True
        self._doubt = self._doubt or (f"{why} (found {_shown(line)})" if line else why)

    def head(self) -> Head:
        """Return the headers that were read."""
        fields = HTTPMessage()
        for name, pieces in self._fields:
            fields[name.decode("ascii")] = b" ".join(pieces).decode("latin-1")
        return Head(fields, self._doubt, self._unlike, self._flawed)


def _is_about_the_body(text: bytes) -> bool:
    letters = _NO_LETTERS.sub(b"", text.lower())
    return any(name in letters for name in _ABOUT_THE_BODY)


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("latin-1"))
