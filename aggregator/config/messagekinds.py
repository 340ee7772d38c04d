"""What stages declare of their messages: whether the declaration can be read, and whether two structs fit together.

A struct with a tag is a kind of its own, and fits a struct with the same tag. Any other struct is a view of a message
that may come from other code: it fits when everything that it needs is in what is sent. What cannot be known fits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from aggregator.config.hints import meant, shorten

Struct: TypeAlias = type[msgspec.Struct]
SAME = "same"
"""The value in `emits` of a stage that sends on the messages that it reads, unchanged."""
_FORMS = {
    "a text": (str,),
    "a number": (int, float),
    "a flag": (bool,),
    "null": (NoneType,),
    "a list": (list, tuple, set, frozenset),
    "an object": (dict, Mapping),
}
"""What JSON makes of Python's types."""


def accepted(stage: Any) -> tuple[Struct, ...]:
    """Return the structs of the messages that a stage takes; none when it takes any, or nothing is known."""
    return _structs(getattr(stage, "accepts", ()))


def emitted(stage: Any, option: str) -> tuple[Struct, ...]:
    """Return the structs of the messages that a stage sends by an option; none when nothing is known."""
    return _structs(_emits(stage).get(option, ()))


def sends_on(stage: Any, option: str) -> bool:
    """True when a stage sends the messages that it reads unchanged to the queues of an option."""
    return bool(_emits(stage).get(option) == SAME)


def _emits(stage: Any) -> Mapping[str, Any]:
    found = getattr(stage, "emits", {})
    return found if isinstance(found, Mapping) else {}


def _structs(found: Any) -> tuple[Struct, ...]:
    """Return the structs of a declaration without faults; none of any other."""
    return () if any(_faults("", found)) else tuple(found)


def faults_of(stage: Any, options: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with the declarations of a stage; `options` are those of its options that name targets."""
    yield from _faults("accepts", getattr(stage, "accepts", ()))
    emits = getattr(stage, "emits", {})
    if not isinstance(emits, Mapping):
        yield f'emits is no mapping (found {_shown(emits)}); write emits = {{"OPTION": (STRUCT,)}}'
        return
    for option, found in emits.items():
        name = f"emits[{option!r}]"
        if option not in options:
            allowed = ", ".join(options) or "none, as the stage has no option for a queue to send to"
            yield f"{name} is for no option that names queues; allowed: {allowed}{meant(str(option), [*options])}"
        if isinstance(found, str) and found != SAME:
            yield f"{name} is {found!r}; allowed: SAME, or structs"
        elif found != SAME:
            yield from _faults(name, found)


def _faults(name: str, found: Any) -> Iterator[str]:
    if _is_struct(found):
        yield f"{name} is one class (found {found.__name__}); write ({found.__name__},) with a comma, a tuple of one"
    elif not isinstance(found, tuple | list):
        yield f"{name} is no tuple of structs (found {_shown(found)})"
    else:
        for each in found:
            if not _is_struct(each):
                yield f"{name} has {_shown(each)} in it, which is no msgspec.Struct: declare the fields of the message"


def _is_struct(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, msgspec.Struct)


def _shown(found: Any) -> str:
    return found.__name__ if isinstance(found, type) else shorten(str(found))


def name_of(struct: Struct) -> str:
    """Return the name of a kind of messages: its tag, or the name of its class."""
    return str(struct.__struct_config__.tag or struct.__name__)


def misfit(sent: Struct, wanted: Struct) -> str | None:
    """Return why a message of one struct cannot be read as another; None when it can, or nothing is known."""
    tag, wanted_tag = sent.__struct_config__.tag, wanted.__struct_config__.tag
    if tag and wanted_tag and tag != wanted_tag:
        return "it is of another kind"
    known, needed = _fields(sent), _fields(wanted)
    if sent is wanted or known is None or needed is None:
        return None
    for name, field in needed.items():
        if name not in known:
            if field.required:
                return f"it has no `{name}`"
            continue
        is_, wants = _forms(known[name].type), _forms(field.type)
        if is_ is not None and wants is not None and not is_ & wants:
            return f"its `{name}` is {_or(is_)}, not {_or(wants)}"
    return None


def _or(forms: Iterable[str]) -> str:
    return " or ".join(sorted(forms))


def _fields(struct: Struct) -> dict[str, msgspec.structs.FieldInfo] | None:
    """Return the fields of a struct by their names in JSON; None when these cannot be known."""
    if struct.__struct_config__.array_like:
        return None
    try:
        return {field.encode_name: field for field in msgspec.structs.fields(struct)}
    except (NameError, TypeError):  # an annotation that names nothing where the struct was declared
        return None


def _forms(annotation: Any) -> set[str] | None:
    """Return what a value of a type may be in JSON; None when that cannot be known."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _forms(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return _union(_forms(part) for part in get_args(annotation) if part is not msgspec.UnsetType)
    if origin is Literal:
        return _union(_forms(type(value)) for value in get_args(annotation))
    kind = origin or annotation
    if _is_struct(kind):
        return {"a list" if kind.__struct_config__.array_like else "an object"}
    return next(({form} for form, types in _FORMS.items() if kind in types), None)


def _union(parts: Iterable[set[str] | None]) -> set[str] | None:
    found: set[str] = set()
    for part in parts:
        if part is None:
            return None
        found |= part
    return found
