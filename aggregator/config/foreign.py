"""Describe a file that was given as ours and is not, without showing its text, which may be secret."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_MOST_BYTES = 1_000_000
"""A file larger than this is judged by its lines alone."""
_LIKE_PYTHON = re.compile(rb"(?:from\s+[\w.]+\s+)?import\s+[\w.]|def\s+\w+\s*\(|feeds\s*=\s*[\[(]")
_TELLING = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def is_python(source: bytes) -> bool:
    """True for the settings file of the old program and other Python modules; our files begin with a section."""
    if len(source) <= _MOST_BYTES:
        try:
            return any(map(_tells, ast.parse(source).body))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # the file is for another version of Python, or has a typing error
    return any(_LIKE_PYTHON.match(line) for line in source.splitlines())


def _tells(statement: ast.stmt) -> bool:
    assigned = isinstance(statement, ast.Assign) and isinstance(statement.value, ast.List | ast.Tuple | ast.Dict)
    return assigned or isinstance(statement, _TELLING)


def advice(file: Path, source: bytes) -> str:
    """Return the words for a file that has no section of ours."""
    if is_python(source):
        return f"a Python file of the old aggregator; `aggregator feeds import {file}` reads it"
    words = "no configuration of aggregator, as it begins with no section and has none that is known"
    return f"{words}; needed: sections such as [redis] or [worker_NAME]. Its lines are not shown: they may hold secrets"
