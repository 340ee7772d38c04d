"""Hide what a request sent in secret, where an answer or an error repeats it.

Servers repeat requests: in the reason of a failure, in a status line that is none, in headers, in the page of an error.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from aggregator.http.masking import parameters
from aggregator.http.route import Credentials
from aggregator.http.urls import RESERVED

_LEAST = 3
"""A shorter value keeps nothing secret, and is a part of too many words."""
_TELLING = 8
"""So many characters of a beginning tell a longer secret from chance: texts are cut at any place."""
_CUT = 4
"""The fewest characters of a beginning that are hidden where a text was visibly cut."""
_SCHEME = re.compile(r"\w+(?::|%3a)(?:/|%2f){2}", re.IGNORECASE)
_LOGIN = re.compile(r"\w+://([^/?#]*)@")
_PIECE = re.compile(r'[^\s,;"]+')
_HARMLESS = re.compile(r"accept.*|cache-control|content-.*|if-.*|last-event-id|pragma|range|soapaction|user-agent|via")
"""Headers that hold no secrets; their values are the words of many messages."""
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Unlike `str.lower`, this keeps the length of a text."""


class Secrets:
    """Texts that must not be shown. They are found in any case, encoded or not, and when their end was cut off."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _LEAST}
        # the longest first: what a shorter one would leave of it could be a secret too
        self._forms = sorted((form.translate(_LOWER) for form in forms), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return a text with stars in place of the secrets."""
        # order: whole ones first, as a form may begin like another one and go on otherwise
        for form in self._forms:
            text = _without(text, form, form) if len(form) >= _TELLING else _without_word(text, form)
        for form in self._forms:
            if len(form) >= _TELLING:
                scheme = _SCHEME.match(form)
                common = scheme.end() if scheme else 0
                telling = form[: common + _TELLING]
                text = _without_cut_end(_without(text, form, telling), telling, common + _CUT)
        return text


NONE = Secrets()


def _without(text: str, form: str, telling: str) -> str:
    """Hide each place of `telling`, the beginning of a form, and what follows there as in the form."""
    low = text.translate(_LOWER)
    shown, at = [], 0
    while (found := low.find(telling, at)) >= 0:
        shown += [text[at:found], "***"]
        at = found + len(telling)
        while at < len(low) and at - found < len(form) and low[at] == form[at - found]:
            at += 1
    return "".join([*shown, text[at:]])


def _without_cut_end(text: str, telling: str, fewest: int) -> str:
    """Hide a beginning of a secret at the end of a text, or before a quotation mark: messages cut what they quote."""
    low = text.translate(_LOWER)
    for size in range(len(telling) - 1, fewest - 1, -1):
        begin = telling[:size]
        if low.endswith(begin):
            return f"{text[:-size]}***"
        for mark in ("'", '"'):
            at = low.find(begin + mark)
            if at >= 0:
                return f"{text[:at]}***{text[at + size :]}"
    return text


def _without_word(text: str, form: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "***", text, flags=re.IGNORECASE)


def _forms(value: str) -> Iterator[str]:
    """Yield a value as it is, decoded, and as it is written in addresses, forms, pages and headers."""
    for plain in {value, unquote(value), unquote_plus(value)}:
        yield from (plain, escape(plain), quote_plus(plain, errors="replace"))
        yield from (quote(plain, safe, errors="replace") for safe in ("", "/", RESERVED))
        # headers are read as Latin-1, and the server repeats the UTF-8 that we sent
        yield plain.encode("utf-8", "replace").decode("latin-1")


def of_url(url: str) -> Iterator[str]:
    """Yield the login in an address, and the values of its parameters that are named like a secret."""
    if login := _LOGIN.match(url):
        yield from login[1].split(":", 1)
    yield from (url[parameter.start : parameter.end] for parameter in parameters(url) if parameter.is_secret)


def of_header(name: str, value: str) -> Iterator[str]:
    """Yield the value of a header and the secrets in it: the login of `Basic`, a token behind its scheme, cookies."""
    if _HARMLESS.fullmatch(name):
        return
    yield value
    scheme, _, rest = value.partition(" ")
    yield rest.rstrip("=")
    if scheme.lower() == "basic":
        yield _login_in(rest).partition(":")[2]
    for piece in _PIECE.findall(value):
        _, equals, inner = piece.rstrip("=").partition("=")
        if equals or len(piece) >= _TELLING:
            yield inner if equals else piece


def _login_in(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except ValueError:
        return ""


def of_credentials(known: Credentials) -> Iterator[str]:
    """Yield what is secret of credentials. What is sent of them stands in headers."""
    yield from (known.password, known.token, known.client_secret)
    yield from of_url(known.token_url)
    if known.client_secret:
        # the token server is told the login in this form; the headers of that request are not known outside it
        login = f"{quote(known.client_id, safe='')}:{quote(known.client_secret, safe='')}"
        yield base64.b64encode(login.encode()).decode().rstrip("=")
