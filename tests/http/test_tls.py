"""Whom TLS trusts, and what it shows of us."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from aggregator.feeds.fetching.fetch import Failed, Fetcher, Request
from aggregator.http.failures import describe_tls
from aggregator.http.options import faults_of_files
from aggregator.http.route import Route, Tls
from aggregator.http.tls import make_context
from tests.feeds.webserver import WebServer, body
from tests.http.asking import Authority, client, get


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    with WebServer(tls=authority.serving("127.0.0.1")) as server:
        server.answers["/feed"] = body(b"safe")
        yield server


def test_an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else(
    server: WebServer, authority: Authority
) -> None:
    with client() as asking:
        assert get(asking, f"{server.url}/feed", route=authority.route()) == (200, b"safe")
        # also not over the connection that is kept
        with pytest.raises(ssl.SSLCertVerificationError):
            get(asking, f"{server.url}/feed")


def test_a_name_that_the_certificate_does_not_have_is_refused(server: WebServer, authority: Authority) -> None:
    with client() as asking, pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        get(asking, f"https://localhost:{server.port}/feed", route=authority.route())


def test_the_intermediate_that_a_server_leaves_out_can_be_named_and_the_error_says_so(tmp_path: Path) -> None:
    middle = Authority(tmp_path, trustme.CA().create_child_ca())
    leaf = middle.authority.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(str(tmp_path / "leaf.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "leaf.pem"), append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem")
    fetcher = Fetcher("tests/1")

    with WebServer(tls=context) as server:
        server.answers["/feed"] = body(b"safe")
        with pytest.raises(Failed) as raised:
            fetcher.fetch(Request(f"{server.url}/feed", {}, 60.0, 100), lambda piece: None)
        answer = fetcher.fetch(Request(f"{server.url}/feed", {}, 60.0, 100, route=middle.route()), lambda piece: None)

    fetcher.connections.close()
    assert answer.status == 200
    assert str(raised.value) == (
        "TLS: unable to get local issuer certificate; ca_file can name the authority, or the intermediate that the "
        "server leaves out"
    )


def shown_by(server: WebServer, route: Route) -> bytes:
    with client() as asking:
        return get(asking, f"{server.url}/feed", route=route)[1]


def test_a_certificate_of_ours_is_shown_and_a_renewed_one_too(tmp_path: Path, authority: Authority) -> None:
    context = authority.serving("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.authority.configure_trust(context)
    certificate = tmp_path / "client.pem"
    names = []
    with WebServer(tls=context) as server, client() as asking:
        server.answers["/feed"] = lambda talk: (
            names.append(str(talk.sock.getpeercert())),  # type: ignore[attr-defined]
            talk.answer(b"", Connection="close"),
            talk.cut(),
        )
        route = authority.route()._replace(tls=Tls(str(authority.file), str(certificate)))
        for name in ("first.example", "second.example"):
            issued = authority.authority.issue_cert(name)
            issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "new.pem"))
            shutil.move(tmp_path / "new.pem", certificate)
            assert get(asking, f"{server.url}/feed", route=route)[0] == 200

        with pytest.raises(OSError, match=r"[Cc]ertificate|reset|Broken pipe|EOF"):
            get(asking, f"{server.url}/feed", route=authority.route())

    assert ["first.example" in names[0], "second.example" in names[1]] == [True, True]


def test_a_key_in_a_file_of_its_own_is_used(tmp_path: Path, authority: Authority) -> None:
    context = authority.serving("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.authority.configure_trust(context)
    issued = authority.authority.issue_cert("me.example")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    tls = Tls(str(authority.file), str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))

    with WebServer(tls=context) as server:
        server.answers["/feed"] = body(b"safe")
        assert shown_by(server, Route(tls=tls)) == b"safe"


def test_files_that_are_no_use_are_told_without_what_is_in_them(tmp_path: Path, authority: Authority) -> None:
    issued = authority.authority.issue_cert("me.example")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (tmp_path / "locked.pem").write_bytes(locked)
    (tmp_path / "secret.txt").write_text("secret")
    cert, locked_file, text = (str(tmp_path / name) for name in ("cert.pem", "locked.pem", "secret.txt"))

    told = {
        tls: dict(faults_of_files(Route(tls=tls)))
        for tls in (
            Tls(ca_file=text), Tls(ca_file=str(tmp_path / "none")), Tls(client_cert=text),
            Tls(client_cert=cert), Tls(client_cert=cert, client_key=locked_file), Tls(str(authority.file)),
        )
    }  # fmt: skip

    assert [list(faults) for faults in told.values()] == [
        ["ca_file"], ["ca_file"], ["client_cert"], ["client_cert"], ["client_cert"], [],
    ]  # fmt: skip
    none = str(tmp_path / "none")
    assert told[Tls(ca_file=none)] == {"ca_file": f"cannot be read: No such file or directory ({none!r})"}
    encrypted = told[Tls(client_cert=cert, client_key=locked_file)]["client_cert"]
    assert "its key is encrypted" in encrypted
    assert all("secret" not in text for faults in told.values() for text in faults.values())


# Words for what fails at run time


def shake_hands(context: ssl.SSLContext, peer: ssl.SSLContext) -> ssl.SSLError:
    """Let two sides talk in memory until ours fails, and return the error."""
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    us = context.wrap_bio(to_us, to_them, server_hostname="127.0.0.1")
    them = peer.wrap_bio(to_them, to_us, server_side=True)
    for _ in range(10):
        for side in (us, them):
            try:
                side.do_handshake()
                side.read(1)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                if side is us:
                    return error
    raise AssertionError("nothing failed")


def refusing(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a server that wants a certificate of this authority."""
    context = authority.serving("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    authority.authority.configure_trust(context)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_is_told_with_the_option_that_names_one(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion
) -> None:
    tls = Tls(str(authority.file))

    error = shake_hands(make_context(tls), refusing(authority, version))

    told = describe_tls(error, tls)
    assert re.fullmatch(
        r"TLS: a certificate (is|may be) wanted; client_cert names one to show \([A-Z0-9_/]*ALERT\w+\)", told
    )
    assert re.match(r"TLS: a certificate (is|may be) wanted, and a proxy is shown none ", describe_tls(error, None))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_the_server_does_not_take_is_told_to_be_ours(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion
) -> None:
    stranger = trustme.CA().issue_cert("me.example")
    stranger.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    tls = Tls(str(authority.file), str(tmp_path / "me.pem"))

    error = shake_hands(make_context(tls), refusing(authority, version))

    assert re.fullmatch(
        r"TLS: client_cert (was|may have been) refused \([A-Z0-9_/]*ALERT\w+\)", describe_tls(error, tls)
    )


def test_a_connection_that_breaks_off_may_want_a_certificate(authority: Authority) -> None:
    nothing = ssl.MemoryBIO()
    nothing.write_eof()
    us = make_context(Tls()).wrap_bio(nothing, ssl.MemoryBIO(), server_hostname="x.example")
    with pytest.raises(ssl.SSLEOFError) as raised:
        us.do_handshake()

    told = describe_tls(raised.value, Tls())

    assert re.fullmatch(
        r"TLS: the connection broke off; a certificate may be wanted; client_cert names one to show \(.*EOF.*\)", told
    )
    assert "client_cert may have been refused" in describe_tls(raised.value, Tls(client_cert="me.pem"))
    assert "_ssl.c" not in told


@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_port_that_speaks_http_is_said_to(by_proxy: bool) -> None:
    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            asked.wait(60)

    asked = threading.Event()
    fetcher = Fetcher("tests/1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = threading.Thread(target=serve)
        served.start()
        here = f"127.0.0.1:{listener.getsockname()[1]}"
        url, proxy = ("https://feed.example/", f"https://{here}") if by_proxy else (f"https://{here}/", "none")
        with pytest.raises(Failed) as raised:
            fetcher.fetch(Request(url, {}, 60.0, 100, route=Route(proxy)), lambda piece: None)
        asked.set()
        served.join()

    told = str(raised.value)
    assert told.startswith(f"the proxy {here}: TLS: " if by_proxy else "TLS: ")
    assert re.search(r"TLS: the port speaks http, not https, or a protocol of its own \([A-Z_]+\)$", told)
