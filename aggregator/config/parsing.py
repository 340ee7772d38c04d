"""Parse a section of strings into frozen settings, by the declarations of their class.

`parse_settings` reads a whole section and returns all faults in it at once; the caller adds file and line.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec

from aggregator.config.hints import shorten
from aggregator.config.settings import Bounds, Doc, Option, OptionType, Settings


class Fault(NamedTuple):
    """One fault of an option, or of the section when `option` is None."""

    option: str | None
    text: str


_S = TypeVar("_S", bound=Settings)
_UNITS = {
    "second": ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"), (0.001, "ms")),
    "byte": ((1024**3, "GB"), (1024**2, "MB"), (1024, "KB"), (1, "")),
}


def options_of(settings_class: type[Settings]) -> tuple[Option, ...]:
    """Return the options that a settings class declares, in the order of declaration."""
    return tuple(_fields_of(settings_class).values())


@functools.cache
def _fields_of(settings_class: type[Settings]) -> dict[str, Option]:
    """Return the options by the names of their fields. They are cached, because 10,000 feeds are read by one class."""
    found = {}
    for field in msgspec.structs.fields(settings_class):
        notes = _notes_of(field.type)
        kind = next((note for note in reversed(notes) if isinstance(note, OptionType)), None)
        if kind is None:
            words = "its type is none of aggregator.config.settings, such as Text, Integer or TargetQueue"
            raise TypeError(f"{settings_class.__module__}.{settings_class.__qualname__}.{field.name}: {words}")
        doc = next((note.text for note in notes if isinstance(note, Doc)), "")
        bounds = next((note for note in notes if isinstance(note, Bounds)), Bounds())
        found[field.name] = Option(field.name.rstrip("_"), kind, doc, bounds, field.default)
    return found


def _notes_of(annotation: Any) -> tuple[Any, ...]:
    """Return the notes of `Annotated[...]`, also with a `| None` inside or behind it."""
    own = tuple(getattr(annotation, "__metadata__", ()))
    inner = annotation.__origin__ if own else annotation
    return (*(note for part in get_args(inner) for note in getattr(part, "__metadata__", ())), *own)


def parse_option(option: Option, text: str) -> Any:
    """Return the value of one option.

    Raises ValueError with the words for the user: what was found and what is allowed.
    """
    try:
        value = option.kind.parse(text)
    except ValueError as error:
        told = f"{error}; " if str(error) and option.kind.name not in ("number", "HTTP codes", "mode") else ""
        raise ValueError(
            f"{told}bad {option.kind.name} (found {shorten(text)}); allowed: {option.kind.allowed}"
        ) from error
    low, high = option.bounds
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"out of bounds (found {shorten(text)}); allowed: {_limits(option.kind, low, high)}")
    return value


def _limits(kind: OptionType, low: float | None, high: float | None) -> str:
    words = [write_number(kind, limit) for limit in (low, high) if limit is not None]
    if len(words) == 2:
        return " to ".join(words)
    return f"{words[0]} or {'more' if high is None else 'less'}"


def write_number(kind: OptionType, value: float) -> str:
    """Return a number of an option as one would write it in the file, with its unit."""
    units = _UNITS.get(kind.unit, ())
    for size, unit in units if value else ():
        number = value / size
        if abs(number - round(number)) < 1e-9 and round(number) >= 1:
            return f"{round(number)}{unit}"
    return f"{value:g}"


def parse_settings(settings_class: type[_S], texts: Mapping[str, str]) -> tuple[_S | None, list[Fault]]:
    """Read the options that a settings class declares out of a section's texts; other options are left alone.

    Returns the settings and no faults, or None and every fault.
    """
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for field, option in _fields_of(settings_class).items():
        if option.name in texts:
            try:
                values[field] = parse_option(option, texts[option.name])
            except ValueError as error:
                faults.append(Fault(option.name, str(error)))
        elif option.required:
            faults.append(Fault(option.name, f"missing; {option.doc}; allowed: {option.kind.allowed}"))
    return (None if faults else settings_class(**values)), faults
