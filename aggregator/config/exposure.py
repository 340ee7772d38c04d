"""Warn about secrets that everybody on this machine could read; they are never faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from aggregator.config import redisurl
from aggregator.config.ini import Document, Texts
from aggregator.config.programs import PREFIXES

_SECRET = re.compile(
    r"(?:passwd|password|passphrase|_pass|_pwd|secret|token|credentials|(?:api|private|secret)[_-]?(?:access[_-]?)?key)$",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@")
"""A login with a password in an address."""
_PAIR = re.compile(r"""([A-Za-z_]\w*)\s*=\s*("[^"]*"|'[^']*'|[^,\s]+)""")


def check(document: Document, raw: Texts, file: Path) -> None:
    """Look for secrets, by the names of options, that are written out where an environment variable would do."""
    for section, option, name in _environments(raw):
        words = f"{name} can be read by everybody in workers_available/{section}.conf"
        document.warn(section, option, f'{words}; set it elsewhere and write {name}="%(ENV_{name})s" here')
    if file.stat().st_mode & 0o004:
        advice = "chmod o-r it, or write %(ENV_NAME)s here and set NAME elsewhere"
        for section, option in dict.fromkeys(_literals(raw)):
            document.warn(section, option, f"can be read by everybody, as this file can; {advice}")


def _environments(raw: Texts) -> Iterator[tuple[str, str, str]]:
    """Yield (section, option, name) for each secret in a variable of a program's environment."""
    for section, options in raw.items():
        if section.startswith(PREFIXES):
            for name, value in _PAIR.findall(options.get("environment", "")):
                if _SECRET.search(name) and _is_written_out(value.strip("\"'")):
                    yield section, "environment", name


def _literals(raw: Texts) -> Iterator[tuple[str, str]]:
    """Yield (section, option) for each secret in the file."""
    for section, options in raw.items():
        for option, text in options.items():
            address = bool(_LOGIN.search(text)) or (
                section in ("redis", "rules") and option == "url" and redisurl.mask(text) != text
            )
            if (address or _SECRET.search(option)) and _is_written_out(text):
                yield section, option
    yield from ((section, option) for section, option, _ in _environments(raw))


def _is_written_out(text: str) -> bool:
    return bool(text.strip()) and "%(ENV_" not in text
