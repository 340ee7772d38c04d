"""Find texts in XML without building a tree, and without falling for what hostile XML can do.

Expat reads the document to its end, so a cut one is found out. A document that declares entities is refused (a few
lines of them can grow to gigabytes, or name files of this machine); nothing outside the document is ever fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn
from xml.parsers import expat

MAX_DEPTH = 500
MAX_TEXT = 10_000
"""Characters of one text; a date is shorter."""


class Found:
    """The texts found in one document: (path of local names, text), in the order of the document."""

    def __init__(self, wanted: Callable[[list[str]], bool]) -> None:
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._wanted = wanted
        self._path: list[str] = []
        self._open: list[tuple[int, int, int]] = []
        """Of the wanted elements that are open: depth, and how many pieces and characters came before each."""
        self._pieces: list[str] = []
        self._length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Go into an element; its attributes are found as `@name` below it."""
        if len(self._path) >= MAX_DEPTH:
            raise ValueError(f"XML nested deeper than {MAX_DEPTH} elements")
        self._path.append(local_name(name))
        for attribute, value in attributes.items():
            path = [*self._path, f"@{local_name(attribute)}"]
            if self._wanted(path):
                self.texts.append((tuple(path), value))
        if self._wanted(self._path):
            self._open.append((len(self._path), len(self._pieces), self._length))

    def text(self, text: str) -> None:
        """Take a piece of text for all wanted elements that are open, unless the innermost, and so each, has enough."""
        if self._open and self._length - self._open[-1][2] < MAX_TEXT:
            self._pieces.append(text[:MAX_TEXT])
            self._length += len(text)

    def end(self, _name: str) -> None:
        """Leave an element."""
        if self._open and self._open[-1][0] == len(self._path):
            _, first, _ = self._open.pop()
            # no piece is empty
            text = "".join(self._pieces[first : first + MAX_TEXT])[:MAX_TEXT]
            self.texts.append((tuple(self._path), text))
            if not self._open:
                self._pieces.clear()
        self._path.pop()


def find_texts(body: bytes, wanted: Callable[[list[str]], bool]) -> list[tuple[tuple[str, ...], str]]:
    """Return (path, text) of every element and attribute whose path of local names is wanted.

    Prefixes of namespaces are left out of the names. Raises ValueError for what is no whole, harmless document.
    """
    found = Found(wanted)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.text
    parser.EntityDeclHandler = _refuse_entity
    try:
        # Several large publishers begin with an empty line, which the standard does not allow before `<?xml`.
        parser.Parse(body.lstrip(b" \t\r\n"), True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"no XML: {error}") from error
    return found.texts


def local_name(name: str) -> str:
    """Return a name without its namespace prefix."""
    return name.rpartition(":")[2]


def path_matcher(path: str) -> Callable[[list[str]], bool]:
    """Return whether a path of local names ends in the given one, or is it when that begins with a slash."""
    parts = [local_name(part) for part in path.strip("/").split("/")]
    if not all(parts):
        raise ValueError(f"bad XML path (found {path[:60]!r}); allowed: names with single slashes between, /@NAME last")
    if path.startswith("/") and not path.startswith("//"):
        return lambda found: found == parts
    return lambda found: found[-len(parts) :] == parts


def _refuse_entity(name: str, *_: object) -> NoReturn:
    raise ValueError(f"XML that declares an entity ({name[:40]!r})")
