"""Read an INI file, keep the line of everything in it, and report all its faults at once.

The dialect is the one that ConfigParser reads: `key = value` or `key: value`; names of options in any case; a line with
a deeper indent continues the value above; lines that start with `#` or `;` are comments, and so is the rest of a line
after white space and `;`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from aggregator.config.hints import shorten

Texts: TypeAlias = Mapping[str, Mapping[str, str]]
"""The texts of options, by section and option."""


class Problem(NamedTuple):
    """A fault or a warning, and where it stands; line 0 means the file as a whole."""

    line: int
    section: str | None
    option: str | None
    text: str
    file: str = ""
    """The file that the problem stands in, when that is not loglines.cfg itself."""

    def render(self, file: str) -> str:
        """Return the one line a user sees: ``FILE:LINE [section] option: what is wrong``."""
        file = self.file or file
        place = f"{file}:{self.line}" if self.line else file
        if self.section is not None:
            place += f" [{self.section}]"
        if self.option is not None:
            place += f" {self.option}"
        return f"{place}: {self.text}"


class Value(NamedTuple):
    """The text of an option as it stands in the file, and its line."""

    text: str
    line: int


class Section:
    """One section: its options in the order of the file."""

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line
        self.values: dict[str, Value] = {}


class Document:
    """The contents of a file, and its faults: first the faults of its form, then those that its readers find."""

    def __init__(self) -> None:
        self.sections: dict[str, Section] = {}
        self.faults: list[Problem] = []
        self._told: set[tuple[str | None, str]] = set()
        """The sections and options that have a fault already."""
        self.warnings: list[Problem] = []
        self.begins_with_section = True
        """False when something else stands before the first section."""
        self.veiled: dict[tuple[str, str | None], str] = {}
        """The text to show, by section and option, in place of a value from the environment, which may be secret."""
        self.source = b""
        """The file, byte for byte."""

    def fault(self, section: str, option: str | None, text: str) -> None:
        """Note that an option or a section is wrong. Only an option's first fault is kept: others follow from it."""
        if (section, option) in self.veiled:
            text = veil(text, self.veiled[section, option])
        if option is not None:
            if (section, option) in self._told:
                return
            self._told.add((section, option))
        self.faults.append(Problem(self.line_of(section, option), section, option, text))

    def fault_at(self, line: int, section: str, option: str, text: str) -> None:
        """Note that an option is wrong in another line than its own; later faults of the option are not kept."""
        self._told.add((section, option))
        self.faults.append(Problem(line, section, option, text))

    def warn(self, section: str, option: str | None, text: str) -> None:
        """Note something that is no fault, but was hardly meant."""
        self.warnings.append(Problem(self.line_of(section, option), section, option, text))

    def line_of(self, section: str, option: str | None = None) -> int:
        """Return the line of an option; a missing option has the line of its section's header."""
        found = self.sections.get(section)
        if found is None:
            return 0
        return found.values[option].line if option in found.values else found.line


def veil(text: str, shown: str) -> str:
    """Return the words of a fault with another value in place of the value that was found."""
    return re.sub(r"found (['\"]).*\1", lambda _: f"found {shorten(shown)}", text)


_INLINE_COMMENT = re.compile(r"\s;.*")
_HEADER = re.compile(r"\[([^\]]*)\]\s*(.*)")
_NOT_IN_A_NAME = re.compile(r'"|://')
"""A name with these characters is a list of some other language, for example of addresses, and must not be shown."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_ASSIGNS = re.compile(r"[=:]")
_HARMLESS = re.compile(r"\[?[\w.-]{0,60}")
"""The part of an unreadable line that may be shown: the beginning of a name, and no value."""


def read(file: Path, text: bytes | None = None) -> Document:
    """Return everything in a file, or in a text that the file is to have.

    A file that cannot be read gives a document with that one fault.
    """
    document = Document()
    try:
        raw = file.read_bytes() if text is None else text
    except OSError as error:
        document.faults.append(Problem(0, None, None, f"cannot be read: {error.strerror}"))
        return document
    document.source = raw
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        document.faults.append(Problem(1, None, None, "bad encoding (found UTF-16); save the file as UTF-8"))
        return document
    reader = _LineReader(document)
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        reader.line(number, line)
    reader.end_value()
    return document


def _beginning(text: str) -> str:
    match = _HARMLESS.match(text)
    shown = match[0] if match else ""
    return f"{shown!r}{'' if shown == text else '…'}"


class _LineReader:
    """Go through the lines of a file and fill a document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.section: Section | None = None
        self.repeated = False
        """True inside a second section of the same name: its options count only where the first section lacks them."""
        self.option: str | None = None
        self.more: list[str] = []
        """Lines that continue the value of the option."""
        self.indent = 0

    def line(self, number: int, raw: bytes) -> None:
        """Take in one line."""
        text = self._decode(number, raw)
        content = text.strip()
        indent = len(text) - len(text.lstrip())
        if not content:
            return
        bare = "" if content[0] in "#;" else _INLINE_COMMENT.sub("", content)
        # a CR counts in a comment too, because the whole file may stand behind it
        strange = _CONTROL.search(content if "\r" in content else bare)
        if strange:
            self._control(number, strange, indent)
        if not bare or (bare[0] == "[" and strange):
            return
        content = _CONTROL.sub("\ufffd", bare)
        if self.option is not None and indent > self.indent:
            self.more.append(content)
            return
        self.end_value()
        self.indent = indent
        self.option = None
        if content.startswith("["):
            self._header(number, content)
        else:
            self._option(number, content)

    def end_value(self) -> None:
        """Append the lines that continue a value to it."""
        if self.more and self.option is not None and self.section is not None:
            value = self.section.values[self.option]
            text = "\n".join([value.text, *self.more]).lstrip("\n")
            self.section.values[self.option] = value._replace(text=text)
        self.more = []

    def _control(self, number: int, strange: re.Match[str], indent: int) -> None:
        """Refuse a character that supervisord reads as the end of a line, or that cannot be given to a command."""
        advice = "end lines with LF or CR LF" if strange[0] == "\r" else "take it out"
        found = f"found {strange[0]!r} at column {indent + strange.start() + 1}"
        self._fault(number, f"control character ({found}); {advice}")

    def _decode(self, number: int, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            found = f"found byte 0x{raw[error.start]:02x} at column {error.start + 1}"
            self._fault(number, f"bad encoding ({found}); save the file as UTF-8")
            return raw.decode("utf-8", "replace")

    def _header(self, number: int, content: str) -> None:
        match = _HEADER.fullmatch(content)
        if not match or not match[1].strip() or _NOT_IN_A_NAME.search(match[1]) or match[2][:1] not in ("", "#", ";"):
            self._fault(number, f"bad section header (found {_beginning(content)}); allowed: [NAME]")
            # The next options belong to no section that we know: report them nowhere rather than in the section before.
            self.section, self.repeated = Section("", number), True
            return
        name = match[1].strip()
        first = self.document.sections.get(name)
        if first is not None:
            text = f"duplicate section; the first one stands in line {first.line}"
            self.document.faults.append(Problem(number, name, None, text))
        self.repeated = first is not None
        self.section = first or self.document.sections.setdefault(name, Section(name, number))

    def _option(self, number: int, content: str) -> None:
        assigns = _ASSIGNS.search(content)
        name = content[: assigns.start()].rstrip().lower() if assigns else ""
        if self.section is None:
            self.document.begins_with_section = False
            found = f" (found {_beginning(name)})" if name else ""
            self._fault(number, f"{'option' if name else 'a line'} before the first section{found}")
            return
        if assigns is None or not name:
            # the line is not shown: a line that somebody broke may be half of a secret
            self._fault(number, "neither a section nor an option; allowed: NAME = VALUE")
            return
        value = Value(content[assigns.end() :].strip(), number)
        first = self.section.values.get(name)
        if first is None:
            self.section.values[name] = value
            self.option = name
        elif not self.repeated:
            text = f"duplicate option; the first one stands in line {first.line}"
            self.document.fault_at(number, self.section.name, name, text)

    def _fault(self, number: int, text: str) -> None:
        section = self.section.name if self.section is not None and self.section.name else None
        self.document.faults.append(Problem(number, section, None, text))
