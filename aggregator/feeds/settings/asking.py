"""How a feed is requested: its headers, its method, and the body of a POST."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aggregator.config.hints import shorten

if TYPE_CHECKING:
    from aggregator.feeds.settings.section import FeedSettings

HEADER_PREFIX = "headers."
LARGEST_BODY = 1024**2
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "if-none-match")
"""Headers that the download sets itself, so that no feed can set them."""


def read_headers(texts: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[str | None, str]]]:
    """Return the headers to send, and (option, fault) for each header that cannot be sent."""
    headers: dict[str, str] = {}
    faults: list[tuple[str | None, str]] = []
    for option, text in texts.items():
        if not option.startswith(HEADER_PREFIX):
            continue
        name = option.removeprefix(HEADER_PREFIX)
        if not _TOKEN.fullmatch(name) or name in _OURS:
            faults.append((option, f"no header that can be set (found {shorten(name)}); not: {', '.join(_OURS)}"))
        elif not text.isprintable() or not text.isascii() or len(text) > 4000:
            faults.append((option, "bad header; allowed: one line of ASCII"))
        else:
            headers[name] = text
    return headers, faults


def faults_of_asking(settings: FeedSettings, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for options that contradict each other, are missing or too large."""
    has_body = settings.body is not None or settings.body_file is not None
    option = "body" if settings.body is not None else "body_file"
    if settings.body is not None and settings.body_file is not None:
        yield "body_file", "body is given too; one of them can be sent"
    if has_body and settings.method != "POST":
        yield option, "not sent; method = POST sends it"
    if settings.method == "POST" and not has_body:
        yield "method", "body or body_file is missing, which a POST sends"
    if settings.body is not None and len(settings.body.encode()) > LARGEST_BODY:
        yield "body", f"larger than {LARGEST_BODY} bytes"
    if settings.auth and "authorization" in headers:
        yield "auth", "headers.authorization is given too; one of them can be sent"
    if settings.auth and "@" in urlsplit(settings.url).netloc:
        yield "auth", "the url holds a login too; one of them can be sent"


def read_body(settings: FeedSettings, root: Path) -> bytes | None:
    """Return the body of a POST. Raises ValueError for a file outside the instance, too large or not readable."""
    if settings.body_file is None:
        return None if settings.body is None else settings.body.encode()
    path = (root / settings.body_file).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError("outside the instance's folder; what is sent to others lies in it")
    try:
        if not path.is_file():
            raise ValueError(f"no such file ({shorten(str(path), 200)})")
        with path.open("rb") as file:
            body = file.read(LARGEST_BODY + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror} ({shorten(str(path), 200)})") from error
    if not 0 < len(body) <= LARGEST_BODY:
        raise ValueError(f"empty, or larger than {LARGEST_BODY} bytes")
    return body


def content_type_of(body: bytes) -> str:
    """Guess the content type of a POST's body by its beginning, for a feed without a header that says it."""
    first = body.lstrip()[:1]
    if first == b"<":
        return "text/xml; charset=utf-8"
    return "application/json" if first in (b"{", b"[") else "application/x-www-form-urlencoded"
