"""Read the values that a Python module assigns, without running it.

Understood are literals, names that were assigned before, lists, tuples and dictionaries of these, texts that are joined
with `+`, `%`, `format` or in an f-string, and variables of the environment. Other values are `Unknown`, with the line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from string import Formatter
from typing import Any, NamedTuple

LONGEST = 100_000
"""The most characters of a text and elements of a list, as sixty lines of `a = a + a` would fill any memory."""
VARIABLE = "\ue000{}\ue001"
"""The mark for a variable of the environment in a text; the characters belong to no language."""
_ENVIRON = ("os.environ", "environ")
_GETENV = ("os.getenv", "getenv", "os.environ.get", "environ.get")
_SILENT = (ast.Import, ast.ImportFrom, ast.Pass)


class Unknown(NamedTuple):
    """A value or statement that can only be known by running the module."""

    line: int


class Function(NamedTuple):
    """A function, defined in the module or elsewhere."""

    name: str
    words: frozenset[str]
    """The names used in the function; empty for a function from elsewhere."""


class Module(NamedTuple):
    """The values that a module assigns, and its statements that do something else."""

    values: dict[str, Any]
    others: list[Unknown]


def read_module(source: bytes) -> Module:
    """Return the values that a module assigns at its top level. Raises SyntaxError, ValueError and RecursionError."""
    module = Module({}, [])
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            words = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            words |= {node.attr for node in ast.walk(statement) if isinstance(node, ast.Attribute)}
            module.values[statement.name] = Function(statement.name, frozenset(words))
        elif isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            value = _value(statement.value, module.values)
            module.values.update({target.id: value for target in statement.targets if isinstance(target, ast.Name)})
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            module.values[statement.target.id] = _value(statement.value, module.values)
        elif not isinstance(statement, _SILENT) and not _is_text(statement):
            module.others.append(Unknown(statement.lineno))
    return module


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    def value(part: ast.expr) -> Any:
        return _value(part, known)

    result: Any = None
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id, Function(node.id, frozenset()))
    if isinstance(node, ast.Attribute):
        return Function(node.attr, frozenset())
    if isinstance(node, ast.List | ast.Tuple):
        return [value(part) for part in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [value(key) for key in node.keys if key is not None]
        if all(isinstance(key, str) for key in keys):
            return dict(zip(keys, map(value, node.values), strict=True))
    if isinstance(node, ast.JoinedStr):
        result = _joined(node, value)
    elif isinstance(node, ast.BinOp):
        result = _combined(node, value)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in _ENVIRON:
        result = _variable(value(node.slice))
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in _GETENV and node.args:
        result = _variable(value(node.args[0]))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        names = {word.arg: value(word.value) for word in node.keywords if word.arg}
        result = _formatted(value(node.func.value), list(map(value, node.args)), names)
    return Unknown(node.lineno) if result is None else result


def _joined(node: ast.JoinedStr, value: Callable[[ast.expr], Any]) -> str | None:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(value(part.value) if part.conversion == -1 and part.format_spec is None else None)
        else:
            parts.append(value(part))
    return _text(parts)


def _combined(node: ast.BinOp, value: Callable[[ast.expr], Any]) -> Any:
    left, right = value(node.left), value(node.right)
    if isinstance(node.op, ast.Add):
        if isinstance(left, str) and isinstance(right, str):
            return _text([left, right])
        if type(left) is list and type(right) is list and len(left) + len(right) <= LONGEST:
            return left + right
        return None
    if isinstance(node.op, ast.Mod) and isinstance(left, str):
        pieces = re.split(r"%[sd]", left.replace("%%", "\ue002"))
        values = right if type(right) is list else [right]
        if len(values) == len(pieces) - 1 and not any("%" in piece for piece in pieces):
            text = _text([part for pair in zip(pieces, [*values, ""], strict=True) for part in pair])
            return text.replace("\ue002", "%") if text is not None else None
    return None


def _formatted(template: Any, values: list[Any], names: dict[str, Any]) -> str | None:
    if not isinstance(template, str):
        return None
    parts: list[Any] = []
    numbers = iter(range(len(values)))
    for text, field, spec, conversion in Formatter().parse(template):
        parts.append(text)
        if field is None:
            continue
        place = str(next(numbers, "")) if field == "" else field
        known = values[int(place)] if place.isdecimal() and int(place) < len(values) else names.get(place)
        parts.append(None if spec or conversion else known)
    return _text(parts)


def _text(parts: list[Any]) -> str | None:
    """Return texts and whole numbers joined to one text; None when a part is neither, or the text is too long."""
    if not all(type(part) in (str, int) for part in parts):
        return None
    texts = list(map(str, parts))
    return "".join(texts) if sum(map(len, texts)) <= LONGEST else None


def _variable(name: Any) -> str | None:
    return VARIABLE.format(name) if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else None


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
