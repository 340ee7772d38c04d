"""What ``%`` means in loglines.cfg, and in the program files that are made from it.

In loglines.cfg ``%(ENV_NAME)s`` is a variable of the environment, ``%(here)s`` the folder of the file and ``%%`` a
percent sign. ``%(process_num)d`` and ``%(program_name)s`` are left to supervisord. Every other ``%`` is a plain percent
sign, because addresses and time formats are full of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

OWN_PLACEHOLDER = re.compile(r"%\((?:process_num\)0?[0-9]{0,2}[ds]|program_name\)0?[0-9]{0,2}s)")
"""The placeholders that supervisord fills in for each process. A name takes no number format, and a width of many
digits would fill the memory."""
_PLACEHOLDER = re.compile(rf"%%|%\((ENV_[A-Za-z_][A-Za-z0-9_]*|here)\)s|({OWN_PLACEHOLDER.pattern})|%")


def expand(text: str, here: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return a value as the pipeline sees it, and the names of missing environment variables."""
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if match[1] is None:
            return match[0]
        if match[1] == "here":
            return here
        name = match[1].removeprefix("ENV_")
        if name not in environ:
            missing.append(name)
        return environ.get(name, match[0])

    return _PLACEHOLDER.sub(replace, text), missing


def for_supervisord(text: str, here: str) -> str:
    """Return a value as it is written in a program file.

    Environment variables stay names, so that no secret is written down; supervisord fills them in. `here` is the text
    that stands for the folder of loglines.cfg there. Every other percent sign is doubled, because supervisord reads no
    program at all when it cannot read one percent sign.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] == "here":
            return here
        return "%%" if match[0] == "%" else match[0]

    return _PLACEHOLDER.sub(replace, text)


def variables(text: str) -> list[str]:
    """Return the names of the environment variables that a value asks for."""
    names = (match[1] for match in _PLACEHOLDER.finditer(text))
    return [name.removeprefix("ENV_") for name in names if name is not None and name != "here"]


def taken(texts: Iterable[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that texts take from the environment; each of them may be a secret."""
    names = {name for text in texts if "%(ENV_" in text for name in variables(text)}
    return tuple(sorted(environ[name] for name in names if name in environ))


def doubled(text: str) -> list[str]:
    """Return the names in texts that look like placeholders behind two percent signs: the text itself is meant."""
    ends = (match.end() for match in _PLACEHOLDER.finditer(text) if match[0] == "%%")
    names = (re.match(r"\((\w+)\)", text[end:]) for end in ends)
    return [name[1] for name in names if name]


def here_inside(text: str) -> bool:
    """True when ``%(here)s`` stands in a path anywhere but in front of its first slash."""
    found = [match for match in _PLACEHOLDER.finditer(text) if match[1] == "here"]
    return any(match.start() != 0 or not text.startswith("/", match.end()) for match in found)


def fill(text: str, program: str, number: int) -> str:
    """Return what supervisord makes of a value for one process of a program."""
    values = {"process_num": number, "program_name": program}

    def replace(match: re.Match[str]) -> str:
        return match[2] % values if match[2] else match[0]

    return _PLACEHOLDER.sub(replace, text)
