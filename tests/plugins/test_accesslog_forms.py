"""Every form of a line is read into the same terms."""

from __future__ import annotations

import pytest

from plugins import accesslog
from tests.plugins.loglines import DOWNLOAD, terms_of


def test_the_terms_of_a_combined_line() -> None:
    assert terms_of(DOWNLOAD) == {
        "service": "ora.ox.ac.uk",
        "ip": "192.0.2.7",
        "time": "2010-03-16T12:31:14Z",
        "method": "GET",
        "target": "/objects/uuid%3A8fc817c9-9dd9/datastreams/ATTACHMENT01",
        "status": "200",
        "bytes": "2291968",
        "referer": "http://example.org/search?q=a",
        "useragent": "Mozilla/5.0 (X11)",
    }


@pytest.mark.parametrize(
    "prefix",
    [
        "2010-03-16 13:31:15,239,239 INFO  [wsgi] ",
        "2010-03-16 13:31:15,239 WARNING [ora.wsgi] ",
        "repository.example.org ",
        "repository.example.org:443 ",
        "192.0.2.200:443 ",
        "2010-03-16 13:31:15,239,239 INFO  [wsgi] repository.example.org:443 ",
    ],
)
def test_a_prefix_changes_no_term(prefix: str) -> None:
    assert terms_of(prefix + DOWNLOAD) == terms_of(DOWNLOAD)


@pytest.mark.parametrize("end", ["\n", "\r\n", ' "-"', ' "-" 0.004 "session=1"'])
def test_line_ends_and_further_fields_change_no_term(end: str) -> None:
    assert terms_of(DOWNLOAD + end) == terms_of(DOWNLOAD)


def test_a_common_line_has_no_referer_and_no_user_agent() -> None:
    terms = terms_of('192.0.2.7 - - [16/Mar/2010:13:31:14 +0100] "GET /a HTTP/1.0" 200 -')

    assert (terms["bytes"], terms["referer"], terms["useragent"]) == ("", "", "")


@pytest.mark.parametrize(
    ("clients", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 10.0.0.1, 127.0.0.1", "203.0.113.9"),
        ("203.0.113.9,10.0.0.1", "203.0.113.9"),
        ('"203.0.113.9, 10.0.0.1" 10.2.1.185', "203.0.113.9"),
        ("unknown, 203.0.113.9", "203.0.113.9"),
        ('"-" 203.0.113.9', "203.0.113.9"),
        ("- 203.0.113.9", "203.0.113.9"),
        ("2001:0DB8:0000::0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("crawler.example.org", ""),
        ("999.1.1.1", ""),
    ],
)
def test_the_client_is_the_left_most_valid_address(clients: str, address: str) -> None:
    assert terms_of(DOWNLOAD.replace("192.0.2.7", clients, 1))["ip"] == address


@pytest.mark.parametrize("user", ["alice", "alice@EXAMPLE.COM", "Alice Smith", "198.51.100.1", "a[b]"])
def test_the_user_is_not_taken_for_the_client(user: str) -> None:
    assert terms_of(DOWNLOAD.replace("- - [", f"- {user} ["))["ip"] == "192.0.2.7"


def test_a_user_name_that_looks_like_a_request_forges_nothing() -> None:
    user = r"x [16/Mar/2010:13:31:14 +0100] \"GET /forged HTTP/1.1\" 200 1"

    assert terms_of(DOWNLOAD.replace("- - [", f"- {user} ["))["target"].startswith("/objects/")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"say \"hi\" there", 'say "hi" there'),
        (r"\\server\\x", r"\server\x"),
        (r"caf\xc3\xa9", "café"),
        (r"tab\there", "tab\there"),
        (r"not utf-8: \xff", r"not utf-8: \xff"),
        ("café", "café"),
        ("lone \udcff surrogate", r"lone \xed\xb3\xbf surrogate"),
        (r"\x2", "x2"),
    ],
)
def test_escapes_of_the_server_are_undone(written: str, meant: str) -> None:
    assert terms_of(DOWNLOAD.replace("Mozilla/5.0 (X11)", written))["useragent"] == meant


@pytest.mark.parametrize(
    ("requested", "method", "target"),
    [
        ("GET /a HTTP/1.1", "GET", "/a"),
        ("GET /a b c HTTP/1.1", "GET", "/a b c"),
        ("GET /a", "GET", "/a"),
        (r"GET /a?q=\"x\" HTTP/2.0", "GET", '/a?q="x"'),
        ("-", "-", ""),
        ("", "", ""),
        (r"\x16\x03\x01", r"\x16\x03\x01", ""),
    ],
)
def test_a_request_is_split(requested: str, method: str, target: str) -> None:
    terms = terms_of(f'192.0.2.7 - - [16/Mar/2010:13:31:14 +0100] "{requested}" 400 1 "-" "-"')

    assert (terms["method"], terms["target"]) == (method, target)


@pytest.mark.parametrize(
    ("logged", "utc"),
    [
        ("16/Mar/2010:13:31:14 +0100", "2010-03-16T12:31:14Z"),
        ("31/Dec/2010:23:31:14 -0500", "2011-01-01T04:31:14Z"),
        ("01/Mar/2024:00:10:00 +0530", "2024-02-29T18:40:00Z"),
        ("16/Mar/2010:13:31:14 -0030", "2010-03-16T14:01:14Z"),
    ],
)
def test_times_are_utc(logged: str, utc: str) -> None:
    assert terms_of(DOWNLOAD.replace("16/Mar/2010:13:31:14 +0100", logged))["time"] == utc


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Segmentation fault",
        DOWNLOAD.replace("16/Mar", "31/Feb"),
        DOWNLOAD.replace("16/Mar", "16/Mrz"),
        DOWNLOAD.replace("/2010:", "/0000:"),
        DOWNLOAD.replace("+0100", "+9900"),
        DOWNLOAD.replace(" 200 ", " OK "),
        DOWNLOAD[:-1],
        DOWNLOAD.replace("192.0.2.7 - -", "192.0.2.7"),
        '" " [16/Mar/2010:13:31:14 +0100] "GET / HTTP/1.1" 200 1',
    ],
)
def test_a_line_that_is_not_understood_has_no_terms(line: str) -> None:
    assert terms_of(line) == {}


@pytest.mark.timeout(30)
def test_a_hostile_line_takes_no_time() -> None:
    assert terms_of('1 - - [16/Mar/2010:13:31:14 +0100] "' + '\\"' * 100_000) == {}
    assert terms_of('1 - - [16/Mar/2010:13:31:14 +0100] "x" 200 1 "' * 2_000) == {}


@pytest.mark.parametrize("message", ["[]", "{}", '{"service": "s"}', '{"logline": 7}'])
def test_a_message_without_a_line_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match='is no object with a "logline"'):
        accesslog.parseline(message)
