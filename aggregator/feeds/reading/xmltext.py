"""Find texts in XML without building a tree, safe against hostile XML.

Expat reads the document to its end, so a truncated document is detected. A document that declares entities is refused:
a few lines of them can grow to gigabytes, or name files of this machine. Nothing outside the document is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn
from xml.parsers import expat

MAX_DEPTH = 500
MAX_TEXT = 1000
"""The most characters of one text; a date is shorter."""
MOST_OPEN = 8
"""How many wanted elements may be nested; wanted elements further inside are ignored."""
MOST_NAMES = 10_000
"""The most different names of elements and attributes, as the parser keeps all of them."""
MOST_IN_NAMES = 1_000_000
"""The most characters in all different names together."""
LONGEST_TAG = 1_000_000
"""The most bytes of one tag or comment, which the parser must hold as a whole."""
FREE_PARTS = 1_500_000
BYTES_PER_PART = 6
"""How many bytes an attribute must have on average beyond FREE_PARTS; an element must have twice as many."""
MOST_DECLARED = 100
"""The most attributes that a document may declare, as the parser checks all declarations of an element each time."""
_SLICE = 64 * 1024
_BLANKS = re.compile(rb"[ \t\r\n]*")

Path = tuple[str, ...]


class Finder:
    """Pass on the texts found in one document, as (path of local names, text), in the order of their ends."""

    def __init__(self, wanted: Callable[[list[str]], bool], take: Callable[[Path, str], object]) -> None:
        self.parts = 0
        self._declared = 0
        self._wanted = wanted
        self._take = take
        self._path: list[str] = []
        self._open: list[tuple[int, int, int]] = []
        """For each open wanted element: its depth, and how many pieces and characters came before it."""
        self._pieces: list[str] = []
        self._length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Enter an element; its attributes have the path of the element with `@name` added."""
        if len(self._path) >= MAX_DEPTH:
            raise ValueError(f"XML nested deeper than {MAX_DEPTH} elements")
        self.parts += 2 + len(attributes)
        self._path.append(local_name(name))
        for attribute, value in attributes.items():
            self._path.append(f"@{local_name(attribute)}")
            if self._wanted(self._path):
                self._take(tuple(self._path), value)
            self._path.pop()
        if self._wanted(self._path) and len(self._open) < MOST_OPEN:
            self._open.append((len(self._path), len(self._pieces), self._length))

    def declare(self, _element: str, attribute: str, _kind: str, default: str | None, _required: int) -> None:
        """Refuse attributes with a default, as a long default would come with each of millions of elements."""
        self._declared += 1
        if default is not None:
            raise ValueError(f"XML that declares what an attribute is by default ({attribute[:40]!r})")
        if self._declared > MOST_DECLARED:
            raise ValueError(f"XML that declares more than {MOST_DECLARED} attributes")

    def text(self, text: str) -> None:
        """Add a piece of text for all open wanted elements, unless the innermost, and so each of them, has enough."""
        if self._open and self._length - self._open[-1][2] < MAX_TEXT:
            self._pieces.append(text[:MAX_TEXT])
            self._length += len(text)

    def end(self, _name: str) -> None:
        """Leave an element."""
        if self._open and self._open[-1][0] == len(self._path):
            _, first, _ = self._open.pop()
            # no piece is empty, so MAX_TEXT pieces are enough
            text = "".join(self._pieces[first : first + MAX_TEXT])[:MAX_TEXT]
            self._take(tuple(self._path), text)
            if not self._open:
                self._pieces.clear()
        self._path.pop()


def find_texts(body: bytes, wanted: Callable[[list[str]], bool], take: Callable[[Path, str], object]) -> None:
    """Pass path and text of every element and attribute whose path is `wanted` to `take`.

    Names are local names, without the prefix of a namespace. Raises ValueError for a document that is incomplete,
    hostile, or takes more memory or time than its size justifies.
    """
    finder = Finder(wanted, take)
    names: dict[str, str] = {}
    parser = expat.ParserCreate(intern=names)
    parser.buffer_text = True
    parser.StartElementHandler = finder.start
    parser.EndElementHandler = finder.end
    parser.CharacterDataHandler = finder.text
    parser.EntityDeclHandler = _refuse_entity
    parser.AttlistDeclHandler = finder.declare
    blanks = _BLANKS.match(body)
    # Several large publishers begin with an empty line, which the standard does not allow before `<?xml`.
    begin = blanks.end() if blanks else 0
    whole = memoryview(body)
    known = 0
    try:
        for at in range(begin, len(body), _SLICE):
            parser.Parse(whole[at : at + _SLICE])
            if min(at + _SLICE, len(body)) - begin - parser.CurrentByteIndex > LONGEST_TAG:
                raise ValueError(f"XML with a tag or comment of more than {LONGEST_TAG} bytes")
            if finder.parts > FREE_PARTS + len(body) // BYTES_PER_PART:
                raise ValueError(f"XML with more elements and attributes than {len(body)} bytes can need")
            if len(names) > known:
                known = _check_names(names)
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"no XML: {error}") from error


def _check_names(names: dict[str, str]) -> int:
    if len(names) > MOST_NAMES or sum(map(len, names)) > MOST_IN_NAMES:
        raise ValueError(f"XML with more than {MOST_NAMES} different names, or {MOST_IN_NAMES} characters in them")
    return len(names)


def local_name(name: str) -> str:
    """Return a name without its namespace prefix."""
    return name.rpartition(":")[2]


def path_matcher(path: str) -> Callable[[list[str]], bool]:
    """Return a test whether a path of local names ends in the given path, or is equal to one with a leading slash."""
    parts = [local_name(part) for part in path.strip("/").split("/")]
    if not all(parts):
        raise ValueError(f"bad XML path (found {path[:60]!r}); allowed: names with single slashes between, /@NAME last")
    if path.startswith("/") and not path.startswith("//"):
        return lambda found: found == parts
    return lambda found: found[-len(parts) :] == parts


def _refuse_entity(name: str, *_: object) -> NoReturn:
    raise ValueError(f"XML that declares an entity ({name[:40]!r})")
