"""Read the challenges of a 401: a server may offer several, in several headers or in one.

Source: RFC 9110, section 11.6.1; RFC 7616, section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PART = re.compile(r'[^,"]*(?:"(?:[^"\\]|\\.)*"?[^,"]*)*')
"""The text up to a comma that does not stand within quotation marks."""
_BEGINS = re.compile(r"([!#$%&'*+.^_`|~\w-]+)(?:[ \t]+(?!=)(.*))?", re.DOTALL)
"""A scheme, and its first parameter. A parameter that goes on with the challenge before has an equals sign instead."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
DIGEST_ALGORITHMS = ("SHA-256", "SHA-512", "SHA", "MD5", "MD5-SESS")
"""The algorithms that can be used."""


class Challenge(NamedTuple):
    """One way in which a server wants to be told who asks."""

    scheme: str
    """In lower case."""
    parameters: dict[str, str]
    """By lower-case names."""


def read_challenges(lines: Iterable[str]) -> Iterator[Challenge]:
    """Yield the challenges in the values of `WWW-Authenticate` headers."""
    for line in lines:
        challenge = None
        for part in filter(None, (part.strip() for part in _PART.findall(line))):
            begin = _BEGINS.fullmatch(part)
            if begin:
                if challenge is not None:
                    yield challenge
                challenge, part = Challenge(begin[1].lower(), {}), begin[2] or ""
            name, equals, value = (text.strip() for text in part.partition("="))
            if challenge is not None and equals:
                challenge.parameters[name.lower()] = _unquoted(value)
        if challenge is not None:
            yield challenge


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:].removesuffix('"')) if value.startswith('"') else value


def choose_digest(challenges: Iterable[Challenge]) -> dict[str, str] | None:
    """Return the parameters of the digest to answer; None when the server wants none.

    SHA-256 is preferred, then the first one that can be answered; if there is none, the first digest is returned.
    """
    digests = [
        challenge.parameters
        for challenge in challenges
        if challenge.scheme == "digest" and {"realm", "nonce"} <= challenge.parameters.keys()
    ]
    known = [_with_one_qop(parameters) for parameters in digests if _can_be_answered(parameters)]
    best = [parameters for parameters in known if parameters.get("algorithm", "").upper() == "SHA-256"]
    return next(iter((*best, *known, *digests)), None)


def _can_be_answered(parameters: dict[str, str]) -> bool:
    kinds = [kind.strip().lower() for kind in (parameters.get("qop") or "auth").split(",")]
    return "auth" in kinds and parameters.get("algorithm", "MD5").upper() in DIGEST_ALGORITHMS


def _with_one_qop(parameters: dict[str, str]) -> dict[str, str]:
    """Return the parameters with `auth` alone of several qualities of protection."""
    return {**parameters, "qop": "auth"} if parameters.get("qop") else parameters
