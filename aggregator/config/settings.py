"""Option types, and the settings that are declared by them.

A stage declares each option once, as a field of its `Settings`:

    fanout: Annotated[TargetQueues, Doc("the queues that each message is copied to")]
    timeout: Annotated[Duration, Doc("how long to wait for an answer"), Bounds(ge=0.1)] = 60.0

The type gives the parser and the words for what is allowed, `Doc` the documentation, `Bounds` the limits, and the
field's default the option's default. `config/parsing.py` reads a section by these declarations.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple
from unicodedata import category
from urllib.parse import urlsplit

import msgspec


class OptionType(NamedTuple):
    """An option type: a short name, a parser that raises ValueError, and the words for what it allows."""

    name: str
    parse: Callable[[str], Any]
    allowed: str
    unit: Literal["", "second", "byte"] = ""
    """What its numbers count: they are shown as `1h` or `64KB`, the way that one writes them."""


class Doc(NamedTuple):
    """One sentence on what an option does, for `aggregator config reference`."""

    text: str


class Bounds(NamedTuple):
    """Inclusive limits of a number, in the option's own unit."""

    ge: float | None = None
    le: float | None = None


class Option(NamedTuple):
    """What is known of one option: everything the checker and the reference page need."""

    name: str
    kind: OptionType
    doc: str
    bounds: Bounds
    default: Any
    """`msgspec.NODEFAULT` when the option must be given."""

    @property
    def required(self) -> bool:
        """True when the section must give this option."""
        return self.default is msgspec.NODEFAULT


DEFAULT_MAXDEPTH = 100_000
"""How many messages may wait in a queue whose consumer does not say. It is known without importing the stage."""

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
_LONGEST_DAYS = 36500
"""The longest duration is a hundred years; Python's clocks cannot count a wait of three hundred."""
_TOO_LARGE_BYTES = 2**63
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}(@node)?")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


def parse_duration(text: str) -> float:
    """Return seconds for `14`, `14s`, `250ms`, `5m`, `1h`, `2d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", text.strip().lower())
    if not match:
        raise ValueError
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if seconds > _LONGEST_DAYS * 86400.0:
        raise ValueError(f"more than {_LONGEST_DAYS} days")
    return seconds


def parse_size(text: str) -> int:
    """Return bytes for `1000`, `64KB`, `50MB`, `1GB` (powers of 1024, as supervisord reads them)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|tb|)", text.strip().lower())
    if not match:
        raise ValueError
    size_bytes = float(match[1]) * _UNITS_BYTES[match[2]]
    if size_bytes >= _TOO_LARGE_BYTES:
        raise ValueError("more than any file can hold")
    return int(size_bytes)


def parse_flag(text: str) -> bool:
    """Return the truth value of a word, by the words that supervisord and ConfigParser know."""
    word = text.strip().lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise ValueError


def parse_words(text: str) -> tuple[str, ...]:
    """Return the non-empty parts of a list separated by commas or line breaks."""
    return tuple(part.strip() for part in re.split(r"[,\n]", text) if part.strip())


def parse_queue(text: str) -> str:
    """Return a queue's name; `@node` at its end keeps the queue to this machine."""
    name = text.strip()
    if not _QUEUE_NAME.fullmatch(name):
        raise ValueError
    return name


def parse_queues(text: str) -> tuple[str, ...]:
    """Return one or more queue names, each once."""
    names = tuple(parse_queue(word) for word in parse_words(text))
    if not names or len(set(names)) != len(names):
        raise ValueError
    return names


def _parse_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _parse_text(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text.strip()


def _parse_codes(text: str) -> frozenset[int]:
    codes = frozenset(int(word) for word in parse_words(text))
    if not codes or not all(100 <= code <= 599 for code in codes):
        raise ValueError
    return codes


def _parse_mode(text: str) -> int:
    mode = int(text, 8)
    if not 0 <= mode <= 0o7777:
        raise ValueError
    return mode


def parse_web_url(text: str) -> str:
    """Return the address. Raises ValueError for a text that is none of a web server."""
    url = text.strip()
    host = urlsplit(url).hostname if re.match(r"https?://[^/\s]+", url) else None
    if not host:
        raise ValueError
    host.encode("idna")  # raises for a host that a resolver would refuse: with an empty part, or one over 63 characters
    return url


def _parse_name(text: str) -> str:
    if not _SAFE_NAME.fullmatch(text.strip()):
        raise ValueError
    if not text.strip(" ."):
        raise ValueError("dots alone name a folder")
    return text.strip()


def _parse_module(text: str) -> str:
    if not all(part.isidentifier() for part in text.strip().split(".")):
        raise ValueError
    return text.strip()


def _parse_template(text: str) -> str:
    for _, field, _, _ in string.Formatter().parse(text):
        if field is not None and not field.isidentifier():
            raise ValueError
    if any(character != "\t" and category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError
    return text


Text = Annotated[str, OptionType("text", _parse_text, "any text")]
Flag = Annotated[bool, OptionType("flag", parse_flag, "yes or no")]
Integer = Annotated[int, OptionType("number", lambda text: int(text), "a whole number")]
Number = Annotated[float, OptionType("number", _parse_number, "a number")]
Duration = Annotated[
    float, OptionType("duration", parse_duration, "a duration such as 14, 14s, 250ms, 5m or 1h", "second")
]
Size = Annotated[int, OptionType("size", parse_size, "a size such as 500, 64KB or 50MB", "byte")]
ListenQueue = Annotated[str, OptionType("queue", parse_queue, "a queue name: letters, digits, _ . - and at most @node")]
TargetQueue = Annotated[str, OptionType("queue", parse_queue, "a queue name: letters, digits, _ . - and at most @node")]
TargetQueues = Annotated[
    tuple[str, ...], OptionType("queues", parse_queues, "queue names with commas between them, each of them once")
]
FilePath = Annotated[str, OptionType("path", _parse_text, "a path; a relative one starts at the instance's folder")]
StatusCodes = Annotated[frozenset[int], OptionType("HTTP codes", _parse_codes, "HTTP status codes such as 200, 204")]
FileMode = Annotated[int, OptionType("mode", _parse_mode, "an octal file mode such as 0640")]
WebUrl = Annotated[str, OptionType("URL", parse_web_url, "an address that starts with http:// or https://")]
SafeName = Annotated[str, OptionType("name", _parse_name, "letters, digits, _ . - (at most 80)")]
Module = Annotated[str, OptionType("module", _parse_module, "a Python module such as plugins.accesslog")]
Template = Annotated[
    str, OptionType("template", _parse_template, "one line of text with {field} in it, and no other braces")
]


def choice(*words: str) -> OptionType:
    """Return the option type that allows exactly these words."""

    def parse(text: str) -> str:
        if text.strip() not in words:
            raise ValueError
        return text.strip()

    return OptionType("choice", parse, " or ".join(words))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all settings: each field is an option."""
