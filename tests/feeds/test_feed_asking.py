"""Feeds that are asked for by POST, through proxies, with certificates and credentials: options, faults, downloads."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from aggregator.feeds.fetching.conditional import source_of
from aggregator.feeds.messages.ticks import Downloaded, DueTick
from aggregator.feeds.settings.table import Feed
from aggregator.http.route import Credentials, Route, Tls
from tests.feeds.downloading import RUNNING, Downloading
from tests.feeds.webserver import Talk, WebServer, body, status
from tests.http.asking import Authority
from tests.http.proxyserver import ProxyServer

SECRETS = ("s3cret", "czNjcmV0")


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Faults name files from where one stands; no connection is left open."""
    monkeypatch.chdir(tmp_path)
    yield
    while RUNNING:
        RUNNING.pop().stage.stop()


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def feed(folder: Path, url: str, *options: str) -> Feed:
    """Return a feed of a configuration."""
    lines = "\n".join(("[feed_a]", f"url = {url}", "extension = xml", "period = 60s", *options))
    (folder / "loglines.cfg").write_text(f"[redis]\nurl = redis://localhost/0\n{lines}\n")
    found = load(folder / "loglines.cfg", folder).table("feed").all()["a"]
    assert isinstance(found, Feed)
    return found


def faults(folder: Path, *options: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        feed(folder, "https://x.example/feed", *options)
    return list(raised.value.problems)


def download(folder: Path, asked: Feed, **options: str) -> Downloaded:
    """Download a feed once, and return what was told."""
    return download_and_plan(folder, asked, **options)[0]


def download_and_plan(folder: Path, asked: Feed, **options: str) -> tuple[Downloaded, DueTick]:
    """Download a feed once, and return what was told and the next tick."""
    line = Downloading(folder, asked, **options)
    [tick] = line.seed()
    return line.handle_at_its_time(tick)


# Options


def test_options_say_how_a_feed_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "question.xml").write_text("<Siri/>")
    asked = feed(
        tmp_path, "https://x.example/feed", "proxy = http://me:pw@proxy.example:3128", "auth = oauth2",
        "client_id = id", "client_secret = s3cret", "token_url = https://login.example/token", "scope = feeds",
        "method = POST", "body_file = question.xml", "headers.accept = text/xml",
    )  # fmt: skip

    assert asked.route == Route(
        "http://me:pw@proxy.example:3128",
        Tls(),
        Credentials("oauth2", "", "", "", "id", "s3cret", "https://login.example/token", "feeds"),
    )
    assert (asked.method, asked.body) == ("POST", b"<Siri/>")
    assert asked.headers == {"content-type": "text/xml; charset=utf-8", "accept": "text/xml"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<Siri/>", "text/xml; charset=utf-8"),
        ('{"a": 1}', "application/json"),
        ("a=1&b=2", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_is_what_it_begins_like_unless_a_header_says_otherwise(tmp_path: Path, text: str, kind: str) -> None:
    options = ("method = POST", f"body = {text}")

    assert feed(tmp_path, "http://x.example/", *options).headers["content-type"] == kind
    own = feed(tmp_path, "http://x.example/", *options, "headers.content-type = text/plain")
    assert own.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["proxy = http://me:s3cret@x"], "7 [feed_a] proxy: bad proxy: it has no port, and programs differ in which"),
        (["proxy = x"], "7 [feed_a] proxy: bad proxy: it has no port, and programs differ in which"),
        (["proxy = socks5://me:s3cret@x"], "7 [feed_a] proxy: bad proxy: socks5 proxies are not spoken"),
        (["auth = ntlm"], "7 [feed_a] auth: bad choice (found 'ntlm'); allowed: basic or bearer or digest or oauth2"),
        (["auth = basic", "username = me"], "3 [feed_a] password: missing; auth = basic needs it"),
        (["auth = bearer"], "3 [feed_a] token: missing; auth = bearer needs it"),
        (["auth = oauth2", "client_id = a", "client_secret = s3cret"], "[feed_a] token_url: missing; auth = oauth2"),
        (["password = s3cret"], "7 [feed_a] password: not used; it is for auth = basic or digest"),
        (["auth = bearer", "token = s3cret", "scope = x"], "9 [feed_a] scope: not used; it is for auth = oauth2"),
        (["auth = bearer", "token = s3cret s3cret"], "8 [feed_a] token: bad token; allowed: one word of ASCII"),
        (["auth = basic", "username = a:b", "password = s3cret"], "8 [feed_a] username: a colon cannot stand in it"),
        (
            ["auth = bearer", "token = s3cret", "headers.authorization = s3cret"],
            "7 [feed_a] auth: headers.authorization is given too; one of them can be sent",
        ),
        (["client_key = key.pem"], "7 [feed_a] client_key: client_cert is missing, which it is the key of"),
        (["ca_file = none.pem"], "7 [feed_a] ca_file: cannot be read: No such file or directory"),
        (["ca_file = loglines.cfg"], "7 [feed_a] ca_file: cannot be used: no certificate or crl found; a PEM file"),
        (["client_cert = loglines.cfg"], "7 [feed_a] client_cert: cannot be used: no certificate and key in it; a key"),
        (["method = PUT"], "7 [feed_a] method: bad choice (found 'PUT'); allowed: GET or POST"),
        (["method = POST"], "7 [feed_a] method: body or body_file is missing, which a POST sends"),
        (["body = s3cret"], "7 [feed_a] body: not sent; method = POST sends it"),
        (["method = POST", "body = a", "body_file = b"], "9 [feed_a] body_file: body is given too; one of them"),
        (["method = POST", "body_file = none.xml"], "8 [feed_a] body_file: no such file"),
        (["method = POST", "body_file = ../x"], "8 [feed_a] body_file: outside the instance's folder"),
        (["method = POST", "body_file = /etc/passwd"], "8 [feed_a] body_file: outside the instance's folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line_and_shows_no_secret(tmp_path: Path, options: list[str], told: str) -> None:
    found = faults(tmp_path, *options)

    assert any(told in text for text in found), found
    assert not any(secret in text for secret in SECRETS for text in found)


@pytest.mark.parametrize("proxy", ["http://proxy.example:80", "proxy.example:3128", "https://me:pw@proxy.example"])
def test_the_port_of_a_proxy_may_be_left_out_for_https_alone(tmp_path: Path, proxy: str) -> None:
    assert feed(tmp_path, "http://x.example/", f"proxy = {proxy}").route.proxy == proxy


def test_a_link_does_not_lead_a_body_out_of_the_instance(tmp_path: Path) -> None:
    (tmp_path / "question.xml").symlink_to("/etc/passwd")

    [fault] = faults(tmp_path, "method = POST", "body_file = question.xml")

    assert "outside the instance's folder" in fault


@pytest.mark.parametrize("size", [0, 1024**2 + 1])
def test_a_body_has_a_bound(tmp_path: Path, size: int) -> None:
    (tmp_path / "question.xml").write_bytes(b"x" * size)

    [fault] = faults(tmp_path, "method = POST", "body_file = question.xml")

    assert "empty, or larger than 1048576 bytes" in fault


def test_a_login_in_the_address_and_auth_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auth: the url holds a login too"):
        feed(tmp_path, "https://me:pw@x.example/", "auth = bearer", "token = a")


def test_columns_of_a_feeds_file_say_it_too(tmp_path: Path) -> None:
    (tmp_path / "feeds.csv").write_text("id,url,extension,auth,token,proxy\na,http://x.example/,pb,bearer,abc,none\n")
    text = "[redis]\nurl = redis://localhost/0\n[aggregator]\nfeeds_file = feeds.csv\n"
    (tmp_path / "loglines.cfg").write_text(text)

    found = load(tmp_path / "loglines.cfg", tmp_path).table("feed").all()["a"]

    assert found.route == Route("none", Tls(), Credentials("bearer", token="abc"))


def test_a_source_is_another_one_when_it_is_asked_otherwise_and_the_same_as_before_when_not(tmp_path: Path) -> None:
    plain = feed(tmp_path, "http://x.example/")
    others = [
        msgspec.structs.replace(plain, method="POST", body=b"a"),
        msgspec.structs.replace(plain, method="POST", body=b"b"),
        msgspec.structs.replace(plain, route=Route(credentials=Credentials("bearer", token="a"))),
        msgspec.structs.replace(plain, route=Route(credentials=Credentials("bearer", token="b"))),
    ]

    assert len({source_of(each) for each in [plain, *others]}) == 5
    # as the versions before these options had it, or all feeds would be asked anew
    assert source_of(plain) == "c87e81d81a4be962"


# Downloads


def test_a_siri_request_is_posted(tmp_path: Path, server: WebServer) -> None:
    server.answers["/siri"] = body(b"<Siri/>")

    told = download(tmp_path, feed(tmp_path, f"{server.url}/siri", "method = POST", "body = <ServiceRequest/>"))

    assert told.tick.outcome == "ok"
    asked = server.last("/siri")
    assert (asked.method, asked.body) == ("POST", b"<ServiceRequest/>")


def test_a_proxy_and_authorities_of_the_section_are_the_feeds_unless_it_has_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context: ssl.SSLContext = authority.serving("feed.example")
    with WebServer(tls=context) as server, ProxyServer({"feed.example": server.port}) as proxy:
        server.answers["/feed"] = body(b"<a/>")
        asked = feed(tmp_path, "https://feed.example/feed")

        told = download(tmp_path, asked, proxy=proxy.address, ca_file=str(authority.file))
        own = feed(tmp_path, "https://feed.example/feed", "proxy = none")
        other = download(tmp_path, own, proxy=proxy.address, ca_file=str(authority.file))

    assert told.tick.outcome == "ok"
    assert "cannot be resolved" in other.tick.error


def test_a_section_refuses_authorities_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[worker_download\] ca_file: cannot be read"):
        Downloading(tmp_path, ca_file="none.pem")


def test_what_is_odd_about_a_body_is_kept_with_its_tick(tmp_path: Path, server: WebServer) -> None:
    server.answers["/feed"] = body(gzip.compress(b"<a/>") + b"\r\n", Content_Encoding="gzip, UTF-8")

    told = download(tmp_path, feed(tmp_path, f"{server.url}/feed"))

    assert told.tick.flags == ("bytes_behind_packing", "encoding_unknown")


@pytest.mark.parametrize(
    "options",
    [
        ("auth = basic", "username = me", "password = s3cret"),
        ("auth = bearer", "token = s3cret"),
        ("auth = digest", "username = me", "password = s3cret"),
        ("auth = oauth2", "client_id = me", "client_secret = s3cret", "token_url = %(token)s"),
        ("proxy = http://me:s3cret@127.0.0.1:1",),
        ("method = POST", "body = s3cret"),
    ],
    ids=lambda options: options[0],
)
def test_a_failure_tells_no_secret_to_the_queues(tmp_path: Path, server: WebServer, options: tuple[str, ...]) -> None:
    server.answers |= {"/feed": status("401 Unauthorized"), "/token": status("401 Unauthorized")}
    texts = [option.replace("%(token)s", f"{server.url}/token") for option in options]

    told = download(tmp_path, feed(tmp_path, f"{server.url}/feed", *texts))

    assert told.tick.outcome == "failed"
    raw = msgspec.json.encode(told).decode()
    assert not any(secret in raw for secret in SECRETS)


def repeated(talk: Talk) -> str:
    """Return what a server says that repeats the request."""
    said = talk.asked.headers.get("authorization", "").rpartition(" ")[2]
    return f"{said} {talk.asked.headers.get('x-api-key', '')} {talk.asked.path}"


REPEATS: dict[str, Callable[[Talk], object]] = {
    "reason": lambda talk: talk.answer(b"", f"403 {repeated(talk)}"),
    "status line": lambda talk: (talk.send(f"XTTP {repeated(talk)}\r\n\r\n".encode()), talk.cut()),
    "length": lambda talk: (talk.answer(b"", Content_Length=repeated(talk)), talk.cut()),
    "coding": lambda talk: (talk.answer(b"", Transfer_Encoding=repeated(talk)), talk.cut()),
    "malformed header": lambda talk: (talk.answer(b"a", **{"Content Length": repeated(talk)}), talk.cut()),
    "port": lambda talk: talk.answer(b"", "302 F", Location=f"http://a:{quote(repeated(talk), safe='')}/"),
    "redirect": lambda talk: (
        talk.answer(b"<a/>") if "end" in talk.asked.path
        else talk.answer(b"", "302 F", Location=f"/end?a={quote(repeated(talk))}")
    ),
    "headers": lambda talk: talk.answer(b"<a/>", ETag=f'"{repeated(talk)}"', Via=repeated(talk)),
}  # fmt: skip


@pytest.mark.parametrize("kind", REPEATS)
@pytest.mark.parametrize(
    "options",
    [
        ("/feed?key=s3cret-of-a", "headers.x-api-key = s3cret-of-b"),
        ("/feed/%(ENV_S3CRET)s?k=%(ENV_S3CRET)s",),
        ("/feed", "auth = basic", "username = me", "password = s3cret"),
        ("/feed", "auth = bearer", "token = s3cret-token"),
    ],
    ids=lambda options: options[-1],
)
def test_what_a_server_repeats_of_the_secrets_is_in_no_record(
    tmp_path: Path, server: WebServer, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], kind: str
) -> None:
    monkeypatch.setenv("S3CRET", "s3cret-in-a-path")
    path, *lines = options
    server.answer_all = REPEATS[kind]

    told, following = download_and_plan(tmp_path, feed(tmp_path, server.url + path, *lines))

    raw = msgspec.json.encode((told, following)).decode().lower()
    assert not any(secret.lower() in raw for secret in (*SECRETS, "s3cr", "bWU6czN"))
    assert "***" in raw
