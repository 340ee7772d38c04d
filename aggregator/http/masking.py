"""Hide the secrets in an address before it is recorded, logged or shown.

Addresses may come from other servers' redirects, so all code here takes time in proportion to their length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST_SHOWN = 1000
"""The most characters of an address that are recorded or shown."""
_SECRET_NAME = re.compile(
    r"key(?!word)|token|secret|pass(?!enger)|pwd|(?<![a-z])pw(?![a-z])|auth(?!or(?!i[sz]))|bearer|jwt|session|sig|credential|app_?id|client"
    r"|subscription",
    re.IGNORECASE,
)
_BEGINS = re.compile(r"[?&;#]")
_SEPARATOR = re.compile(r"[&;#]")
_SCHEME = re.compile(r"\w+://")
_LIKE_A_SCHEME = re.compile(r"[\w\s+.-]*:?/*")
_VARIABLE = re.compile(r"%\(ENV_\w+\)s")


class Parameter(NamedTuple):
    """A parameter of an address: its name, and the start and end of its value."""

    name: str
    start: int
    end: int

    @property
    def is_secret(self) -> bool:
        """True when the parameter's name is that of a secret."""
        return names_a_secret(self.name)


def names_a_secret(name: str) -> bool:
    """True for the name of a parameter whose value is likely a secret."""
    return _SECRET_NAME.search(name) is not None


def parameters(url: str) -> Iterator[Parameter]:
    """Yield everything that looks like a parameter, in the query or the fragment.

    A value ends at `&`, `;` or `#`. A question mark within a value may begin another parameter, which then ends where
    the value ends: `#/route?token=…`, `?next=/a?token=…`.
    """
    first = _BEGINS.search(url)
    start = first.end() if first else len(url)
    while start < len(url):
        separator = _SEPARATOR.search(url, start)
        end = separator.start() if separator else len(url)
        yield from _within(url, start, end)
        start = end + 1


def _within(url: str, start: int, end: int) -> Iterator[Parameter]:
    """Yield the parameters between two separators; each name runs up to an equals sign."""
    name = start
    while name >= 0:
        equals = url.find("=", name, end)
        if equals < 0:
            return
        yield Parameter(url[name:equals], equals + 1, end)
        following = url.find("=", equals + 1, end)
        question = url.find("?", equals + 1, following if following >= 0 else end)
        while question < 0 <= following:
            equals, following = following, url.find("=", following + 1, end)
            question = url.find("?", equals + 1, following if following >= 0 else end)
        name = question + 1 if question >= 0 else -1


def mask_url(url: str) -> str:
    """Return an address with passwords, the values of parameters named like a secret, and variables hidden.

    The address must be as written in the configuration: every variable of the environment is taken for a secret. A long
    address is cut after its secrets are hidden.
    """
    scheme = _SCHEME.match(url)
    if scheme:
        login = url.rfind("@", scheme.end(), _end_of_host(url, scheme.end()))
        url = f"{scheme[0]}***{url[login:]}" if login >= 0 else url
    shown = _VARIABLE.sub("***", mask_parameters(url))
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"


def mask_bad_url(text: str) -> str:
    """Return a text that may not be a valid address, with everything hidden that may be a login or a secret value.

    Names of variables stay, as one of them may be the error.
    """
    login = text.rfind("@")
    if login >= 0:
        begin = _LIKE_A_SCHEME.match(text, 0, login)
        text = f"{begin[0] if begin else ''}***{text[login:]}"
    return mask_parameters(text)


def _end_of_host(url: str, start: int) -> int:
    ends = [at for sign in "/?#" if (at := url.find(sign, start)) >= 0]
    return min(ends, default=len(url))


def mask_parameters(url: str) -> str:
    """Return an address with the values of parameters hidden that are named like a secret."""
    shown, at = [], 0
    for parameter in parameters(url):
        if parameter.start > at and parameter.is_secret:
            shown += [url[at : parameter.start], "***"]
            at = parameter.end
    return "".join([*shown, url[at:]])
