"""What was sent in secret is hidden wherever it comes back, and little else."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

import pytest

from aggregator.http.client import FAILURES
from aggregator.http.request import Request
from aggregator.http.route import Credentials, Route
from aggregator.http.secrets import Secrets, of_credentials, of_header, of_url
from tests.feeds.webserver import WebServer, status
from tests.http.asking import client
from tests.http.proxyserver import ProxyServer

KEY = 'sécret <"key"> 1/2+3'


@pytest.mark.parametrize(
    "written",
    [
        KEY, KEY.replace("cret", "CRET"), quote(KEY), quote(KEY, safe=""), quote_plus(KEY),
        KEY.encode().decode("latin-1"),
        "sécret &lt;&quot;key&quot;&gt; 1/2+3",
    ],
)  # fmt: skip
def test_a_secret_is_found_as_it_is_and_as_servers_write_it(written: str) -> None:
    assert Secrets([KEY]).hide(f"bad {written}, sorry") == "bad ***, sorry"
    assert Secrets([quote(KEY)]).hide(f"bad {written}, sorry") == "bad ***, sorry"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a s3cretkey-12 b", "a *** b"),
        ("cut at s3cretkey-1", "cut at ***"),
        ("'cut s3cre'; it must be one number", "'cut ***'; it must be one number"),
        ("s3cretkey-12s3cretkey-12", "******"),
        ("the s3crets of others", "the s3crets of others"),
        ("", ""),
    ],
)
def test_a_beginning_that_was_cut_off_is_hidden_too(text: str, shown: str) -> None:
    assert Secrets(["s3cretkey-12"]).hide(text) == shown


def test_a_short_secret_is_hidden_as_a_word_and_a_tiny_one_not_at_all() -> None:
    assert Secrets(["abc", "1", ""]).hide("abc (abc) abcd 1") == "*** (***) abcd 1"


def test_an_address_as_a_secret_does_not_hide_every_address() -> None:
    shown = Secrets(["https://here.example/?q=illness"]).hide("https://here.example/?q=illness https://there.example/")

    assert shown == "*** https://there.example/"


def test_addresses_headers_and_credentials_tell_their_secrets() -> None:
    basic = base64.b64encode(b"me:pass:word").decode()

    assert [*of_url("http://key:p%2Fw@x/a@b?token=t0&a=b&sig=")] == ["key", "p%2Fw", "t0", ""]
    assert [*of_url("http://[::1?token=t0")] == ["t0"]
    assert {basic, basic.rstrip("="), "pass:word"} <= {*of_header("authorization", f"Basic {basic}"), basic}
    assert {"opaque-token"} <= {*of_header("authorization", "Bearer opaque-token")}
    assert {"abc", "de-DE"} <= {*of_header("cookie", "session=abc; lang=de-DE")}
    assert {"k1"} <= {*of_header("x-api-key", "Token key=k1")}
    assert [*of_header("accept", "text/xml"), *of_header("content-type", "text/xml")] == []
    oauth = Credentials("oauth2", client_id="id", client_secret="s/cret", token_url="http://x/?key=k2")
    assert {"s/cret", "k2", base64.b64encode(b"id:s%2Fcret").decode().rstrip("=")} <= {*of_credentials(oauth)}


def refused(url: str, route: Route) -> str:
    """Ask in vain, and return the error and the reason without secrets."""
    with client() as asking:
        exchange = asking.open(Request(url, 60.0, route=route))
        try:
            with exchange:
                return exchange.secrets.hide(exchange.response.reason)
        except FAILURES as error:
            return exchange.secrets.hide(str(error))


def test_a_token_that_was_handed_out_is_a_secret_of_the_request() -> None:
    with WebServer() as server:
        server.answers |= {
            "/token": lambda talk: talk.answer(b'{"access_token": "handed-out"}'),
            "/feed": lambda talk: talk.answer(b"", f"403 not with {talk.asked.headers['authorization']}"),
        }
        known = Credentials("oauth2", client_id="id", client_secret="s3cret", token_url=f"{server.url}/token")

        assert refused(f"{server.url}/feed", Route(credentials=known)) == "not with ***"


def test_what_a_token_server_repeats_is_hidden() -> None:
    with WebServer() as server:
        server.answers["/token"] = lambda talk: talk.answer(
            b'{"error": "invalid %s"}' % talk.asked.body, "400 No", X=talk.asked.headers.get("authorization", "")
        )
        known = Credentials("oauth2", client_id="id", client_secret="s3cret/2", token_url=f"{server.url}/token")

        told = refused(f"{server.url}/feed", Route(credentials=known))

    assert told.startswith("no token from token_url: HTTP 400 invalid grant_type=client_credentials&")
    assert "s3cr" not in told


def test_a_login_that_a_proxy_repeats_is_hidden() -> None:
    with ProxyServer({}, "Basic nothing") as proxy:
        address = proxy.address.replace("//", "//me:s3cretpassword@")
        proxy.refusal = "407 not with me:s3cretpassword"

        told = refused("https://feed.example/", Route(proxy=address))

    assert told.endswith("Tunnel connection failed: 407 not with me:***")


def test_a_login_in_the_address_is_hidden() -> None:
    with WebServer() as server:
        server.answers["/feed"] = status("403 not with bWU6czNjcmV0 and s3cret")

        told = refused(server.url.replace("//", "//me:s3cret@") + "/feed", Route())

    assert told == "not with *** and ***"
