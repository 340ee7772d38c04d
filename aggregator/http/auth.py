"""Say who asks: basic, bearer, digest, or a token that a token server hands out for a client's name and secret.

Callers send the headers that are made here to the configured server only.

Source: RFC 7617 (basic), RFC 6750 (bearer), RFC 7616 (digest), RFC 6749 section 4.4 (client credentials).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec

from aggregator.http.challenges import choose_digest, read_challenges
from aggregator.http.framing import Broken
from aggregator.http.route import Credentials
from aggregator.http.urls import basic, printable

SLACK_S = 30.0
"""A token is not used any more this long before it expires: it must still be valid when it arrives."""
USUAL_LIFE_S = 300.0
"""How long a token is used when the token server does not say when it expires."""


class Auth(Protocol):
    """Make the `Authorization` of requests. Safe to use from several threads."""

    def header(self, method: str, target: str, ask: AskToken, left_s: float) -> str:
        """Return the header's value for a request; '' to send no header.

        Raises Broken when no value can be made, and the exceptions that `ask` raises.
        """
        ...

    def is_worth_another(self, challenges: Sequence[str], said: str, left_s: float) -> bool:
        """Take in the `WWW-Authenticate` headers of a 401, and return whether the same request may succeed now.

        `said` is the `Authorization` that was refused. The request is tried only once more. Raises TimeoutError when
        `left_s` is over.
        """
        ...


class Told(NamedTuple):
    """The answer of a token server."""

    status: int
    body: bytes


AskToken = Callable[[str, Mapping[str, str], bytes], Told]
"""Send a POST to an address, with headers and a body."""


def make_auth(credentials: Credentials, clock: Callable[[], float]) -> Auth:
    """Return the `Auth` that makes the headers for these credentials."""
    if credentials.kind == "basic":
        return _Fixed(basic(credentials.username, credentials.password))
    if credentials.kind == "bearer":
        return _Fixed(f"Bearer {credentials.token}")
    if credentials.kind == "digest":
        return _Digest(credentials)
    return _OAuth2(credentials, clock)


class _Fixed:
    def __init__(self, value: str) -> None:
        self._value = value

    def header(self, method: str, target: str, ask: AskToken, left_s: float) -> str:
        return self._value

    def is_worth_another(self, challenges: Sequence[str], said: str, left_s: float) -> bool:
        return False


class _Digest:
    """Answer the server's challenge with a hash. Each thread counts its answers, and so has a challenge of its own."""

    def __init__(self, credentials: Credentials) -> None:
        # imported only where digest is used: it takes 4 MB
        from requests.auth import HTTPDigestAuth

        self._digest: Any = HTTPDigestAuth(credentials.username, credentials.password)

    def header(self, method: str, target: str, ask: AskToken, left_s: float) -> str:
        self._digest.init_per_thread_state()
        if not self._digest._thread_local.chal:
            return ""
        # the function takes a whole URL, of which only the path and the query count
        value: str | None = self._digest.build_digest_header(method, f"http://x{target}")
        if not value:
            raise Broken("auth = digest: the server asks in a way that is not known")
        return value

    def is_worth_another(self, challenges: Sequence[str], said: str, left_s: float) -> bool:
        question = choose_digest(read_challenges(challenges))
        if question is None:
            return False
        self._digest.init_per_thread_state()
        self._digest._thread_local.chal = question
        return True


class _Token(msgspec.Struct, frozen=True):
    """The part of a token server's answer that is used."""

    access_token: str
    expires_in: float | str | None = None


class _OAuth2:
    """Get a token for a client's name and secret, keep it until shortly before it expires, and get a new one."""

    def __init__(self, credentials: Credentials, clock: Callable[[], float]) -> None:
        self._credentials = credentials
        self._clock = clock
        self._lock = threading.Lock()
        self._value = ""
        self._good_until = 0.0

    def header(self, method: str, target: str, ask: AskToken, left_s: float) -> str:
        # one thread asks for a token, and the others wait for it
        with self._locked(left_s):
            if not self._value or self._clock() >= self._good_until:
                self._value = self._get(ask)
            return self._value

    def is_worth_another(self, challenges: Sequence[str], said: str, left_s: float) -> bool:
        with self._locked(left_s):
            # another thread may have got a new token meanwhile, which nobody has refused
            if self._value == said:
                self._value = ""
        return True

    @contextmanager
    def _locked(self, left_s: float) -> Iterator[None]:
        """Hold the lock. The thread that has it may be asking a slow token server, with a later deadline than ours."""
        if not self._lock.acquire(timeout=left_s):
            raise TimeoutError
        try:
            yield
        finally:
            self._lock.release()

    def _get(self, ask: AskToken) -> str:
        known = self._credentials
        form = {"grant_type": "client_credentials", **({"scope": known.scope} if known.scope else {})}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        login = basic(quote(known.client_id, safe=""), quote(known.client_secret, safe=""))
        told = ask(known.token_url, {**headers, "authorization": login}, urlencode(form).encode())
        if told.status in (400, 401):
            # some servers know only the other way of RFC 6749, section 2.3.1
            form |= {"client_id": known.client_id, "client_secret": known.client_secret}
            told = ask(known.token_url, headers, urlencode(form).encode())
        if told.status != 200:
            raise Broken(f"no token from token_url: HTTP {told.status} {_error_of(told.body)}".rstrip())
        try:
            token = msgspec.json.decode(told.body, type=_Token)
            life_s = float(token.expires_in or USUAL_LIFE_S)
        except (msgspec.DecodeError, ValueError) as error:
            raise Broken("no token from token_url: its answer holds none") from error
        if not token.access_token.isascii() or not token.access_token.isprintable():
            raise Broken("no token from token_url: one that cannot stand in a header")
        self._good_until = self._clock() + life_s - min(SLACK_S, life_s / 2)
        return f"Bearer {token.access_token}"


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


def _error_of(body: bytes) -> str:
    """Return the error's name alone: the rest of the answer may repeat the secrets of the request."""
    try:
        return printable(msgspec.json.decode(body, type=_Error).error)[:60]
    except msgspec.DecodeError:
        return ""


class Auths:
    """The `Auth` for each of the credentials in use. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[Credentials, Auth] = {}

    def get(self, credentials: Credentials) -> Auth:
        """Return the `Auth` for these credentials, always the same one, so that tokens are shared."""
        with self._lock:
            if credentials not in self._made:
                self._made[credentials] = make_auth(credentials, self._clock)
            return self._made[credentials]
