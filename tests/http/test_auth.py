"""Who asks is said as the server wants it, to the configured server alone."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import pytest

from aggregator.http.auth import Told, make_auth
from aggregator.http.challenges import choose_digest, read_challenges
from aggregator.http.connections import Connections
from aggregator.http.framing import Broken
from aggregator.http.proxies import parse_proxy
from aggregator.http.route import Credentials, Route
from tests.feeds.webserver import Talk, WebServer, body, redirect
from tests.http.asking import client, get, on_all_names

BASIC = "Basic bWU6cMOkc3M="


def wanting(value: str, then: bytes = b"here") -> Callable[[Talk], None]:
    """Answer who says this."""

    def talk(talk: Talk) -> None:
        if talk.asked.headers.get("authorization") == value:
            talk.answer(then)
        else:
            talk.answer(b"", "401 Unauthorized", WWW_Authenticate="Bearer")

    return talk


@pytest.mark.parametrize(
    ("credentials", "value"),
    [
        (Credentials("basic", username="me", password="päss"), BASIC),
        (Credentials("bearer", token="abc.def"), "Bearer abc.def"),
    ],
)
def test_basic_and_bearer_are_said_at_once(server: WebServer, credentials: Credentials, value: str) -> None:
    server.answers["/feed"] = wanting(value)

    with client() as asking:
        assert get(asking, f"{server.url}/feed", route=Route(credentials=credentials)) == (200, b"here")

    assert server.count("/feed") == 1


@pytest.mark.parametrize("kind", ["basic", "bearer", "digest", "oauth2"])
def test_nothing_is_said_to_another_server(server: WebServer, kind: str) -> None:
    server.answers |= {
        "/a": redirect(f"http://other.example:{server.port}/b"),
        "/b": body(b"here"),
        "/token": body(b'{"access_token": "abc"}'),
    }
    credentials = Credentials(kind, "me", "pw", "token", "id", "secret", f"{server.url}/token")

    with client(connections=Connections(on_all_names(server))) as asking:
        url = f"http://feed.example:{server.port}/a"
        assert get(asking, url, route=Route(credentials=credentials), headers={"x-key": "k"}) == (200, b"here")

    assert kind == "digest" or "authorization" in server.last("/a").headers
    assert not {"authorization", "x-key"} & server.last("/b").headers.keys()


# Digest


class DigestServer:
    """Ask for a digest, and check it by the book (RFC 7616, section 3.4.1)."""

    def __init__(self, algorithm: str, password: str = "secret", questions: tuple[str, ...] = ("{digest}",)) -> None:
        """`questions` are the headers that ask; in them `{digest}` stands for the digest by this algorithm."""
        self._algorithm = algorithm
        self._password = password
        self._questions = questions
        self._nonce = 0
        self.told: list[bool] = []

    def forget(self) -> None:
        """Take no answer to the questions so far."""
        self._nonce += 1

    def __call__(self, talk: Talk) -> None:
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', talk.asked.headers.get("authorization", "")))
        self.told.append(bool(said))
        if said and said["nonce"] == f"n{self._nonce}" and said["response"] == self._response(talk, said):
            talk.answer(b"here")
        else:
            self.forget()
            digest = f'Digest realm="feeds", nonce="n{self._nonce}", qop="auth", algorithm={self._algorithm}'
            lines = "".join(f"WWW-Authenticate: {line.format(digest=digest)}\r\n" for line in self._questions)
            talk.send(f"HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 2\r\n\r\nno".encode())

    def _response(self, talk: Talk, said: dict[str, str]) -> str:
        who = self._hash(f"me:feeds:{self._password}")
        what = self._hash(f"{talk.asked.method}:{talk.asked.path}")
        return self._hash(f"{who}:{said['nonce']}:{said['nc']}:{said['cnonce']}:{said['qop']}:{what}")

    def _hash(self, text: str) -> str:
        return hashlib.new({"MD5": "md5", "SHA-256": "sha256"}[self._algorithm], text.encode()).hexdigest()


DIGEST = Route(credentials=Credentials("digest", username="me", password="secret"))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest_answers_the_servers_question_and_goes_on_with_it(server: WebServer, algorithm: str) -> None:
    asked = server.answers["/feed?a=b%20c"] = DigestServer(algorithm)

    with client() as asking:
        for _ in range(2):
            assert get(asking, f"{server.url}/feed?a=b c", route=DIGEST) == (200, b"here")

    assert asked.told == [False, True, True]


MD5 = 'Digest realm="other", nonce="x", algorithm=MD5'


@pytest.mark.parametrize(
    ("algorithm", "questions"),
    [
        ("MD5", ("{digest}", 'Basic realm="x, y"')),
        ("MD5", ('Basic realm="x"', "{digest}")),
        ("MD5", ("{digest}", "Negotiate")),
        ("MD5", ("NTLM TlRMTVNTUAA=, {digest}",)),
        ("MD5", ('Basic realm="a, Digest b", charset="UTF-8", {digest}',)),
        ("MD5", ('{digest}, Basic realm="x"',)),
        ("SHA-256", ("{digest}", MD5)),
        ("SHA-256", (MD5, "{digest}")),
        ("SHA-256", (f"{MD5}, {{digest}}, {MD5}",)),
        ("MD5", ('Digest realm="x", nonce="y", algorithm=SHA-512-256', "{digest}")),
        ("MD5", ('Digest realm="x", nonce="y", qop="auth-int"', "{digest}")),
        ("MD5", ('Digest nonce="no realm"', "{digest}", MD5)),
    ],
)
def test_of_several_questions_a_digest_that_is_known_is_answered(
    server: WebServer, algorithm: str, questions: tuple[str, ...]
) -> None:
    asked = server.answers["/feed"] = DigestServer(algorithm, questions=questions)

    with client() as asking:
        assert get(asking, f"{server.url}/feed", route=DIGEST) == (200, b"here")

    assert asked.told == [False, True]


def test_challenges_are_taken_apart() -> None:
    lines = ['Digest realm = "a \\"b\\", c", Nonce=n,, qop="auth-int, auth" , Basic', ", , ", 'nonce="lost"', 'X y="z']

    challenges = [*read_challenges(lines)]

    assert challenges == [
        ("digest", {"realm": 'a "b", c', "nonce": "n", "qop": "auth-int, auth"}), ("basic", {}), ("x", {"y": "z"}),
    ]  # fmt: skip
    assert choose_digest(challenges) == {"realm": 'a "b", c', "nonce": "n", "qop": "auth"}


def test_digest_answers_a_new_question_when_the_old_one_is_over(server: WebServer) -> None:
    asked = server.answers["/feed"] = DigestServer("MD5")

    with client() as asking:
        get(asking, f"{server.url}/feed", route=DIGEST)
        asked.forget()
        assert get(asking, f"{server.url}/feed", route=DIGEST) == (200, b"here")

    assert asked.told == [False, True, True, True]


def test_a_wrong_password_is_tried_once(server: WebServer) -> None:
    asked = server.answers["/feed"] = DigestServer("MD5", "another")

    with client() as asking:
        assert get(asking, f"{server.url}/feed", route=DIGEST)[0] == 401

    assert asked.told == [False, True]


@pytest.mark.parametrize("question", ['Basic realm="x"', "Digest", 'Digest realm="x"', ""])
def test_a_question_that_is_no_digest_is_not_answered(server: WebServer, question: str) -> None:
    server.answers["/feed"] = lambda talk: talk.answer(b"", "401 Unauthorized", WWW_Authenticate=question)

    with client() as asking:
        assert get(asking, f"{server.url}/feed", route=DIGEST)[0] == 401

    assert server.count("/feed") == 1


def test_a_digest_of_an_unknown_make_is_a_failure_that_says_so(server: WebServer) -> None:
    question = 'Digest realm="x", nonce="n", algorithm=SHA-7'
    server.answers["/feed"] = lambda talk: talk.answer(b"", "401 Unauthorized", WWW_Authenticate=question)

    with client() as asking, pytest.raises(Broken, match="asks in a way that is not known"):
        get(asking, f"{server.url}/feed", route=DIGEST)


# Client credentials


class TokenServer:
    """Hand out tokens to a client that is known."""

    def __init__(self, server: WebServer, *, takes: str = "basic", life_s: object = 3600) -> None:
        self.server = server
        self.takes = takes
        self.life_s = life_s
        self.forms: list[dict[str, list[str]]] = []
        self.given = 0
        server.answers["/token"] = self

    @property
    def route(self) -> Route:
        """Return what asks here for tokens."""
        secret = {"client_id": "me:1", "client_secret": "s/cret"}
        return Route(credentials=Credentials("oauth2", **secret, token_url=f"{self.server.url}/token", scope="feeds"))

    def __call__(self, talk: Talk) -> None:
        form = parse_qs(talk.asked.body.decode())
        self.forms.append(form)
        by_header = talk.asked.headers.get("authorization") == "Basic bWUlM0ExOnMlMkZjcmV0"
        by_form = (form.get("client_id"), form.get("client_secret")) == (["me:1"], ["s/cret"])
        if talk.asked.method == "POST" and (by_header if self.takes == "basic" else by_form):
            self.given += 1
            self.server.answers["/feed"] = wanting(f"Bearer t{self.given}")
            told = {"access_token": f"t{self.given}", "token_type": "Bearer", "expires_in": self.life_s}
            talk.answer(json.dumps(told).encode())
        else:
            told = {"error": "invalid_client", "error_description": talk.asked.body.decode()}
            talk.answer(json.dumps(told).encode(), "401 Unauthorized")


@pytest.mark.parametrize("takes", ["basic", "form"])
def test_a_token_is_asked_for_once_by_either_way_and_used(server: WebServer, takes: str) -> None:
    tokens = TokenServer(server, takes=takes)

    with client() as asking:
        for _ in range(3):
            assert get(asking, f"{server.url}/feed", route=tokens.route) == (200, b"here")

    assert tokens.given == 1
    assert (tokens.forms[-1]["grant_type"], tokens.forms[-1]["scope"]) == (["client_credentials"], ["feeds"])


@pytest.mark.parametrize("life_s", [600, "600"])
def test_a_token_is_renewed_shortly_before_its_end(server: WebServer, life_s: object) -> None:
    now = [1000.0]
    tokens = TokenServer(server, life_s=life_s)
    with client(clock=lambda: now[0]) as asking:
        for pause_s, given in ((0, 1), (569, 1), (1, 2)):
            now[0] += pause_s
            assert get(asking, f"{server.url}/feed", route=tokens.route) == (200, b"here")
            assert tokens.given == given


def test_a_token_that_is_refused_is_replaced_once(server: WebServer) -> None:
    tokens = TokenServer(server)
    with client() as asking:
        get(asking, f"{server.url}/feed", route=tokens.route)
        server.answers["/feed"] = wanting("Bearer t2")
        assert get(asking, f"{server.url}/feed", route=tokens.route) == (200, b"here")

        server.answers["/other"] = wanting("nobody")
        assert get(asking, f"{server.url}/other", route=tokens.route)[0] == 401
        assert server.count("/other") == 2


def test_threads_share_one_token(server: WebServer) -> None:
    tokens = TokenServer(server)
    together = threading.Barrier(8, timeout=60)

    def ask(_: int) -> tuple[int, bytes]:
        together.wait()
        return get(asking, f"{server.url}/feed", route=tokens.route)

    with client() as asking, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [(200, b"here")] * 8

    assert tokens.given == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda talk: talk.answer(b'{"error": "invalid_client", "x": "s/cret"}', "401 No"), "HTTP 401 invalid_client"),
        (lambda talk: talk.answer(b"s/cret", "500 Oops"), "HTTP 500"),
        (redirect("/elsewhere"), "HTTP 302"),
        (body(b"<html>"), "its answer holds none"),
        (body(b'{"access_token": 7}'), "its answer holds none"),
        (body(b'{"access_token": "a\\r\\nX: y"}'), "one that cannot stand in a header"),
        (body(b'{"access_token": "a", "expires_in": "soon"}'), "its answer holds none"),
        (body(b'{"access_token": "' + b"a" * 70_000 + b'"}'), "its answer holds none"),
    ],
)
def test_without_a_token_the_failure_says_why_and_shows_no_secret(
    server: WebServer, answer: Callable[[Talk], object], words: str
) -> None:
    tokens = TokenServer(server)
    server.answers |= {"/token": answer, "/feed": body(b"open")}

    with client() as asking, pytest.raises(Broken, match=f"^no token from token_url: {words}") as raised:
        get(asking, f"{server.url}/feed", route=tokens.route)

    assert "cret" not in str(raised.value)
    assert server.count("/feed") == 0


OAUTH = Credentials("oauth2", client_id="me", client_secret="s/cret", token_url="http://login.example/token")


def test_a_refused_request_waits_no_longer_than_it_may_for_another_that_asks_for_a_token() -> None:
    auth = make_auth(OAUTH, lambda: 0.0)
    asked, answered = threading.Event(), threading.Event()

    def ask(url: str, headers: object, body: bytes) -> Told:
        asked.set()
        answered.wait(60)
        return Told(200, b'{"access_token": "new"}')

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(auth.header, "GET", "/", ask, 60.0)
        assert asked.wait(60)
        try:
            with pytest.raises(TimeoutError):
                auth.is_worth_another([], "Bearer old", 0.01)
        finally:
            answered.set()
        assert other.result() == "Bearer new"


def test_a_token_that_was_renewed_meanwhile_is_not_forgotten() -> None:
    auth = make_auth(OAUTH, lambda: 0.0)
    handed_out: list[bytes] = []

    def ask(url: str, headers: object, body: bytes) -> Told:
        handed_out.append(body)
        return Told(200, b'{"access_token": "t%d"}' % len(handed_out))

    assert auth.header("GET", "/", ask, 60.0) == "Bearer t1"
    assert auth.is_worth_another([], "Bearer t0", 60.0)
    assert auth.header("GET", "/", ask, 60.0) == "Bearer t1"
    assert auth.is_worth_another([], "Bearer t1", 60.0)
    assert auth.header("GET", "/", ask, 60.0) == "Bearer t2"


def test_a_token_server_that_says_nothing_is_left_at_the_deadline(server: WebServer) -> None:
    tokens = TokenServer(server)
    server.answers["/token"] = Talk.hang

    with client() as asking, pytest.raises(TimeoutError):
        get(asking, f"{server.url}/feed", route=tokens.route, deadline_s=0.5)


def test_credentials_show_none_of_themselves() -> None:
    credentials = Credentials("oauth2", "me", "pass", "tok", "id", "cret")

    assert repr(parse_proxy("http://me:pw@x:3128")) == "Proxy(http://x:3128)"
    assert repr(Route("http://me:pw@x", credentials=credentials)) == (
        "Route(Tls(ca_file='', client_cert='', client_key=''), Credentials(oauth2))"
    )
