"""Find what is wrong with the class of a stage, when it is loaded: a worker that finds it later loses messages.

Most of what is found was right in an earlier contract, so each fault says what to write instead.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any, get_origin

from aggregator.config.hints import shorten
from aggregator.config.traits import Traits

_FORMER_FLAGS = {
    "exclusive": "exclusive",
    "tables": "tables",
    "writes": "writes",
    "reads": "reads",
    "tells_of_files": "names_files",
    "alone_from": "alone_from",
    "circulates": "feeds_itself",
}
"""What were attributes of the class before there were `Traits`, and their fields now."""


def faults_of(stage: type[Any], contract: str) -> Iterator[str]:
    """Yield what is wrong with a class that derives from a class of the module named `contract`."""
    yield from _former_flags(stage)
    traits = getattr(stage, "traits", None)
    if not isinstance(traits, Traits):
        yield f"traits is no Traits(...) of aggregator.config.traits (found {shorten(repr(traits))})"
    for name, declared in _methods(stage, contract):
        method = getattr(stage, name)
        given = list(inspect.signature(declared).parameters)
        if given[0] == "self" and not isinstance(inspect.getattr_static(stage, name), FunctionType):
            del given[0]  # a static method, for example
        if not _takes(method, given):
            yield f"{name}{_parameters(method)} is called as {name}{_parameters(declared)}: give it these parameters"
    settle = inspect.getattr_static(stage, "settle", None)
    if isinstance(settle, FunctionType) and _returns_mapping(settle):
        yield "settle returns a mapping: it yields outcomes, `yield Cursor(name, value)` for each position"


def _former_flags(stage: type[Any]) -> Iterator[str]:
    for name, field in _FORMER_FLAGS.items():
        value = getattr(stage, name, None)
        if isinstance(value, bool | int | str | tuple | list):
            if name == "tables" and isinstance(value, tuple | list):
                value = tuple(str(kind).rstrip("_") for kind in value)
            yield f"{name} is no attribute of its own any more: write traits = Traits({field}={value!r})"


def _methods(stage: type[Any], contract: str) -> Iterator[tuple[str, Any]]:
    """Yield the methods of the contract that a stage's class defines anew, each with the contract's own."""
    bases = [base for base in stage.__mro__ if base.__module__ == contract]
    declared = {name: base for base in reversed(bases) for name in vars(base) if not name.startswith("_")}
    for name, base in declared.items():
        theirs = inspect.getattr_static(base, name)
        ours = inspect.getattr_static(stage, name)
        if isinstance(theirs, FunctionType | classmethod) and ours is not theirs and callable(getattr(stage, name)):
            yield name, getattr(base, name)


def _takes(method: Any, given: list[str]) -> bool:
    """True when a method can be called with what the worker gives."""
    try:
        inspect.signature(method).bind(*given)
    except TypeError:
        return False
    except ValueError:
        return True  # written in C: nothing is known of its parameters
    return True


def _parameters(method: Any) -> str:
    names = [str(parameter).partition(":")[0] for parameter in inspect.signature(method).parameters.values()]
    return f"({', '.join(names)})"


def _returns_mapping(function: FunctionType) -> bool:
    """True when a function is seen to return a mapping: by its annotation, or because it writes one behind return."""
    annotation = function.__annotations__.get("return")
    named = annotation if isinstance(annotation, str) else getattr(get_origin(annotation) or annotation, "__name__", "")
    if named.partition("[")[0].rpartition(".")[2] in ("dict", "Dict", "Mapping"):
        return True
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return False  # without its source, the worker finds out
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    return any(
        isinstance(value, ast.Dict | ast.DictComp)
        or (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict")
        for value in returned
    )
