"""Cookies within one request and its redirects; no cookie is kept after the request.

A server that sets a cookie and redirects the client to the same URL wants the cookie back. No list of public suffixes
is needed: by a cookie for another server, a server can say no more than it could have written into the redirect.

Source: RFC 6265, sections 5.2 to 5.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aggregator.http.urls import Origin

MOST = 50
LONGEST = 4096
"""The most bytes of one cookie, and of all cookies sent in one header."""


class _Key(NamedTuple):
    name: str
    domain: str
    path: str


class _Cookie(NamedTuple):
    value: str
    host_only: bool
    secure: bool


class Cookies:
    """The cookies of one request."""

    def __init__(self) -> None:
        self._kept: dict[_Key, _Cookie] = {}

    def __bool__(self) -> bool:
        """True when there is any cookie."""
        return bool(self._kept)

    def take(self, lines: Iterable[str], origin: Origin, path: str) -> None:
        """Take the `Set-Cookie` headers of an answer from this origin and path."""
        for line in lines:
            if len(line) <= LONGEST and line.isprintable():
                self._take(line, origin, path)

    def _take(self, line: str, origin: Origin, path: str) -> None:
        pair, *texts = line.split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        attributes = {key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in texts)}
        if not equals or not name:
            return
        domain, is_host_only = _domain(attributes.get("domain", ""), origin.host)
        where = attributes.get("path", "")
        key = _Key(name, domain, where if where.startswith("/") else _folder_of(path))
        is_secure = "secure" in attributes
        if not domain or (is_secure and origin.scheme != "https"):
            return
        self._kept.pop(key, None)
        # a cookie that expires now is deleted; a later expiry comes after the end of this request
        if not attributes.get("max-age", "1").startswith(("0", "-")) and len(self._kept) < MOST:
            self._kept[key] = _Cookie(value, is_host_only, is_secure)

    def header(self, origin: Origin, path: str) -> str:
        """Return the `Cookie` header for a request; '' when there is none."""
        found: list[tuple[int, str]] = []
        for key, cookie in self._kept.items():
            is_there = origin.host == key.domain or (not cookie.host_only and origin.host.endswith(f".{key.domain}"))
            if is_there and _lies_below(path, key.path) and (origin.scheme == "https" or not cookie.secure):
                found.append((-len(key.path), f"{key.name}={cookie.value}"))
        found.sort(key=lambda entry: entry[0])
        text = "; ".join(pair for _, pair in found)
        return text if len(text) <= LONGEST else ""


def _domain(text: str, host: str) -> tuple[str, bool]:
    """Return the domain of a cookie, and whether it is that host alone; '' for a domain that this host may not set."""
    domain = text.removeprefix(".").lower()
    if not domain or domain == host:
        return host, not domain
    is_name = "." in domain and not host.replace(".", "").isdigit() and ":" not in host
    return (domain, False) if is_name and host.endswith(f".{domain}") else ("", False)


def _folder_of(path: str) -> str:
    return path[: path.rfind("/")] or "/"


def _lies_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else f"{folder}/")
