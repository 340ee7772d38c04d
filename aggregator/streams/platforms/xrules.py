"""The rules that X keeps for a project's filtered stream: list, add and delete them.

Source: X API v2, "Filtered stream" and its OpenAPI description (docs.x.com).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

import msgspec

from aggregator.errors import ConfigError
from aggregator.http.client import FAILURES, Client, Exchange
from aggregator.http.request import Request
from aggregator.http.route import DIRECT, Route
from aggregator.http.secrets import Secrets
from aggregator.http.urls import printable
from aggregator.streams.credentials import CredentialSettings
from aggregator.streams.platforms.told import told_s, used_up_until

PATH = "tweets/search/stream/rules"
MOST_AT_ONCE = 100
"""How many rules one request is about: 1,000 rules take 10 of the 100 requests that X allows in 15 minutes."""
_PAGE = 1000
_MOST_BYTES = 32_000_000
_DEADLINE_S = 60.0
_USUAL_PAUSE_S = 60.0
"""The wait after too many requests when X does not say how long. Source: X, "Rate limits"."""
_ABOUT_RULES = (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
"""The answers that say that something is wrong with the rules, and not with the address or the server."""
_MOST_WAITS = 5
"""How often one request is refused as one too many before it is given up."""


class Failed(Exception):
    """X did not do what it was asked for. The text holds no secret."""

    def __init__(
        self, kind: Literal["network", "http", "rate_limit", "refused"], words: str, told_s: float | None = None
    ) -> None:
        """`kind` says which of the platform's waits counts, `told_s` how long X asked to be left alone."""
        super().__init__(words)
        self.kind = kind
        self.told_s = told_s


class AtX(NamedTuple):
    """A rule that X has."""

    id: str
    """X's own id."""
    value: str
    tag: str


class New(NamedTuple):
    """A rule that X is to have."""

    value: str
    tag: str


class Problem(NamedTuple):
    """Why X does not take a rule."""

    value: str
    title: str
    """X's word, such as `DuplicateRule`."""
    detail: str
    id: str
    """Of a duplicate, the id of the rule that X has; else empty."""


class Added(NamedTuple):
    """What X made of the rules that it was to add. A rule that is nowhere here was not added because of others."""

    rules: tuple[AtX, ...]
    """The rules that were added; with a dry run those that could be, which have no id."""
    problems: tuple[Problem, ...]
    is_full: bool
    """True when the project has as many rules as its contract allows (RulesCapExceeded)."""
    words: str
    """Why the request as a whole was refused; empty when it was not."""


class _Answer(NamedTuple):
    status: int
    document: dict[str, Any]
    words: str
    """What the answer says, for people."""
    secrets: Secrets
    """What the answer may repeat and must not be shown."""


class RulesAtX:
    """The rules of the project to which a credential belongs. `clock` tells Unix seconds.

    X allows 450 lists and 100 changes in 15 minutes, and tells with each answer how many are left. When none are,
    `wait` is called with the seconds until there are; without it Failed is raised at once. `proceed` is called before
    each request, and what it raises ends the work.
    """

    def __init__(
        self,
        client: Client,
        base_url: str,
        credential: CredentialSettings,
        *,
        route: Route = DIRECT,
        proceed: Callable[[], None] = lambda: None,
        wait: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ConfigError for a credential that is no bearer token."""
        if credential.kind != "bearer":
            raise ConfigError(f"the rules of X need a bearer token (found {credential.kind})")
        self._client = client
        self._url = f"{base_url.rstrip('/')}/{PATH}"
        self._token = credential.bearer_token or credential.token or ""
        self._route = route
        self._proceed = proceed
        self._wait = wait
        self._clock = clock
        self._limits: dict[str, float] = {}
        """When there are requests again of the methods of which none are left."""

    def all(self) -> list[AtX]:
        """Return all rules of the project, whoever made them. Raises Failed."""
        found: dict[str, AtX] = {}
        query = {"max_results": str(_PAGE)}
        while True:
            answer = self._ask("GET", query)
            if answer.status != HTTPStatus.OK:
                raise Failed("http", answer.words)
            found |= {rule.id: rule for rule in _rules(answer.document)}
            meta = answer.document.get("meta")
            token = meta.get("next_token") if isinstance(meta, dict) else None
            if not token or query.get("pagination_token") == token:
                return list(found.values())
            query["pagination_token"] = str(token)

    def add(self, rules: Sequence[New], *, dry_run: bool = False) -> Added:
        """Add rules, or with a dry run have X say whether it would. Raises Failed."""
        body = {"add": [{"value": rule.value, "tag": rule.tag} for rule in rules]}
        answer = self._ask("POST", {"dry_run": "true"} if dry_run else {}, body)
        raw = answer.document.get("errors")
        errors = [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []
        problems = tuple(problem for each in errors if (problem := _problem(each, answer.secrets)))
        is_full = any(_is_cap(each) for each in (answer.document, *errors))
        is_taken = answer.status in (HTTPStatus.OK, HTTPStatus.CREATED)
        if not is_taken and not is_full and answer.status not in _ABOUT_RULES:
            raise Failed("http", answer.words)
        if dry_run and is_taken:
            bad = {problem.value for problem in problems}
            added = [AtX("", *rule) for rule in rules if not is_full and rule.value not in bad]
        else:
            added = _rules(answer.document)
        return Added(tuple(added), problems, is_full, "" if is_taken else answer.words)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete rules by X's ids. Raises Failed."""
        answer = self._ask("POST", {}, {"delete": {"ids": list(ids)}})
        if answer.status != HTTPStatus.OK:
            raise Failed("http", answer.words)

    def _ask(self, method: str, query: Mapping[str, str], body: Any = None) -> _Answer:
        """Ask, and again after a wait when there were too many requests: such a request had no effect."""
        for waits_left in reversed(range(_MOST_WAITS)):
            left_s = self._limits.get(method, 0.0) - self._clock()
            if left_s > 0:
                self._pause(left_s)
            answer, wait_s = self._ask_once(method, query, body)
            if answer.status not in (420, HTTPStatus.TOO_MANY_REQUESTS):
                return answer
            if not waits_left:
                break
            self._pause(wait_s, answer.words)
        raise Failed("rate_limit", answer.words, wait_s)

    def _pause(self, told_s: float | None, words: str = "the requests that X allows in 15 minutes are used up") -> None:
        if self._wait is None:
            raise Failed("rate_limit", words, told_s)
        # X tells whole seconds, and its clock is not quite ours
        self._wait(_USUAL_PAUSE_S if told_s is None else told_s + 1.0)

    def _ask_once(self, method: str, query: Mapping[str, str], body: Any) -> tuple[_Answer, float | None]:
        self._proceed()
        headers = {"authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["content-type"] = "application/json"
        request = Request(
            f"{self._url}?{urlencode(query)}" if query else self._url,
            _DEADLINE_S,
            headers=headers,
            method=method,
            body=None if body is None else msgspec.json.encode(body),
            follow=0,
            route=self._route,
        )
        exchange = self._client.open(request)
        try:
            with exchange:
                data = b"".join(exchange.body(_MOST_BYTES))
                return self._read(method, exchange, data)
        except FAILURES as error:
            raise Failed("network", exchange.describe(error)) from error

    def _read(self, method: str, exchange: Exchange, data: bytes) -> tuple[_Answer, float | None]:
        status, headers = exchange.status or 0, exchange.headers
        self._limits.pop(method, None)
        until = used_up_until(headers, self._clock()) if "x-rate-limit-remaining" in headers else None
        if until is not None:
            self._limits[method] = until
        try:
            document = msgspec.json.decode(data or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document = {}
            if status < 300:
                raise Failed("http", f"HTTP {status}, and no JSON behind it") from None
        document = document if isinstance(document, dict) else {}
        answer = _Answer(status, document, _words(exchange, document), exchange.secrets)
        if status in (401, 403) and not _is_cap(document):
            raise Failed("refused", answer.words)
        return answer, told_s(headers, self._clock())


def _words(exchange: Exchange, document: Mapping[str, Any]) -> str:
    """Return the status and what X says beside it, without what was sent in secret."""
    status = exchange.status or 0
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    told = [str(said) for said in (document.get("title"), document.get("detail"), first.get("message")) if said]
    # order: secrets are hidden before the text is cut
    return printable(exchange.secrets.hide(f"HTTP {status} {phrase}{': ' if told else ''}{' '.join(told)}"))


def _rules(document: Mapping[str, Any]) -> list[AtX]:
    data = document.get("data")
    rules = [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []
    return [AtX(str(each.get("id")), str(each.get("value")), str(each.get("tag") or "")) for each in rules]


def _problem(error: Mapping[str, Any], secrets: Secrets) -> Problem | None:
    """Return what is wrong with one rule; None for what concerns none."""
    if not isinstance(error.get("value"), str) or _is_cap(error):
        return None
    details = error.get("details")
    detail = "; ".join(map(str, details)) if isinstance(details, list) else str(error.get("detail") or "")
    # X may say the rule before its reason, and a long rule would leave no room for it
    detail = detail.replace(error["value"], "...") if error["value"] else detail
    title, detail = (printable(secrets.hide(text)) for text in (str(error.get("title") or ""), detail))
    return Problem(error["value"], title, detail, str(error.get("id") or ""))


def _is_cap(error: Mapping[str, Any]) -> bool:
    return error.get("title") == "RulesCapExceeded" or str(error.get("type")).endswith("/problems/rule-cap")
