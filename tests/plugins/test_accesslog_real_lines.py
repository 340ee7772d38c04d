"""Every line of real logs is read for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from aggregator.demo.replay import shipped_lines
from aggregator.demo.tracker import faults
from plugins import accesslog
from tests.plugins.loglines import LOGS, WORKER, config, terms_of

# client, time, method, target, status, first word of the user agent; None where the line is in no format we read
REAL_LINES: dict[str, list[tuple[str, str, str, str, str, str] | None]] = {
    "beats-apache.log": [
        ("::1", "2016-12-26T14:16:29Z", "GET", "/favicon.ico", "404", ""),
        ("192.168.33.1", "2016-12-26T16:22:13Z", "GET", "/hello", "404", "Mozilla/5.0"),
        ("::1", "2016-12-26T14:16:48Z", "-", "", "408", ""),
        ("172.17.0.1", "2017-05-29T19:02:48Z", "GET", "/stringpatch", "404", "Mozilla/5.0"),
        ("", "2017-05-29T19:02:48Z", "GET", "/status", "200", "Mozilla/5.0"),
        ("127.0.0.1", "2019-02-02T04:38:45Z", "-", "", "408", ""),
        ("123.123.123.123", "2019-07-04T07:20:46Z", "GET", "/", "200", "Mozilla/5.0"),
    ],
    "beats-nginx.log": [
        ("10.0.0.2", "2016-12-07T10:05:07Z", "GET", "/ocelot", "200", "Mozilla/5.0"),
        ("172.17.0.1", "2017-05-29T19:02:48Z", "GET", "/stringpatch", "404", "Mozilla/5.0"),
        ("10.0.0.2", "2016-12-07T10:05:07Z", "GET", "/ocelot", "200", "Mozilla/5.0"),
        ("85.181.35.98", "2016-12-07T10:05:07Z", "GET", "/ocelot", "200", "Mozilla/5.0"),
        ("10.5.102.222", "2016-01-22T13:18:29Z", "GET", "/assets/xxxx?q=100", "200", "Amazon"),
        ("2a03:0:10ff:f00f::8000", "2016-12-30T06:47:09Z", "GET", "/test.html", "404", "Mozilla/5.0"),
        ("127.0.0.1", "2018-04-12T07:48:40Z", "", "", "400", ""),
    ],
    "plaso-apache.log": [
        ("10.0.0.1", "2016-01-13T19:31:16Z", "GET", "/wp-content/themes/darkmode/header.php?install2", "200", ""),
        ("10.1.1.2", "2016-01-13T19:31:17Z", "GET", "/wp-content/themes/darkmode/evil.php", "200", "Mozilla/5.0"),
        ("192.168.0.2", "2016-01-13T19:31:17Z", "GET", "/wp-content/themes/darkmode/evil.php", "200", "Mozilla/5.0"),
        (
            "192.168.0.2",
            "2016-01-13T19:31:19Z",
            "GET",
            "/wp-content/themes/darkmode/evil.php?cmd=ver%3B+uname+-a",
            "200",
            "Mozilla/5.0",
        ),
        (
            "192.168.0.2",
            "2016-01-13T17:31:20Z",
            "GET",
            "/wp-content/themes/darkmode/evil.php?cmd=uname+-a",
            "200",
            "Mozilla/5.0",
        ),
        ("192.168.0.3", "2015-05-17T10:05:14Z", "GET", "/articles/dynamic-dns-with-dhcp/", "200", "Mozilla/5.0"),
        (
            "120.202.255.147",
            "2015-05-17T16:05:39Z",
            "GET",
            "/files/logstash/logstash-1.1.0-monolithic.jar",
            "304",
            "Mozilla/5.0",
        ),
        None,  # breaks off within the user agent
        ("10.1.1.2", "2018-01-13T19:31:17Z", "GET", "/wp-content/themes/darkmode/evil.php", "200", "Mozilla/5.0"),
        ("192.168.0.2", "2018-01-13T19:31:17Z", "GET", "/wp-content/themes/darkmode/evil.php", "200", "Mozilla/5.0"),
        (
            "192.168.0.2",
            "2018-01-13T19:31:19Z",
            "GET",
            "/wp-content/themes/darkmode/evil.php?cmd=ver%3B+uname+-a",
            "200",
            "Mozilla/5.0",
        ),
        (
            "192.168.0.2",
            "2018-01-13T17:31:20Z",
            "GET",
            "/wp-content/themes/darkmode/evil.php?cmd=uname+-a",
            "200",
            "Mozilla/5.0",
        ),
        None,  # quotes within the request that no server writes
        None,
        ("192.168.0.64", "2019-11-16T07:46:42Z", "GET", "/", "200", ""),
    ],
    "plaso-confluence.log": [None] * 3,
}


def real_lines() -> Iterator[tuple[str, tuple[str, ...] | None]]:
    for name, expectations in REAL_LINES.items():
        lines = (LOGS / name).read_text().splitlines()
        yield from zip(lines, expectations, strict=True)


@pytest.mark.parametrize(("line", "expected"), list(real_lines()))
def test_a_real_line_is_read(line: str, expected: tuple[str, ...] | None) -> None:
    terms = terms_of(line)

    names = ("ip", "time", "method", "target", "status")
    read = (*(terms[name] for name in names), terms["useragent"].partition(" ")[0]) if terms else None
    assert read == expected


def test_every_line_of_the_shipped_log_is_read_whole() -> None:
    for line in shipped_lines():
        # The log has no escapes, so that cutting at the quotes reads it too.
        before, requested, numbers, referer, _, agent, _ = line.decode().split('"')
        method, target, _ = requested.split(" ")
        terms = terms_of(line.decode())

        assert [terms["ip"]] == before.split()[:1]
        assert (terms["method"], terms["target"]) == (method, target)
        assert [terms["status"], terms["bytes"] or "-"] == numbers.split()
        assert (terms["referer"] or "-", terms["useragent"] or "-") == (referer, agent)
        assert f"{before.split()[3][1:3]}T{before.split()[3][13:]}Z" == terms["time"][8:]


def test_every_line_of_an_attack_is_read() -> None:
    lines = (LOGS / "crowdsec-apache-probing.log").read_text().splitlines()

    assert [terms_of(line).get("ip") for line in lines] == ["172.17.0.1"] * 77


def test_lines_of_an_error_log_are_told_from_those_of_an_access_log() -> None:
    lines = (LOGS / "crowdsec-nginx-bruteforce.log").read_text().splitlines()

    assert [bool(terms_of(line)) for line in lines] == [" [error] " not in line for line in lines]


def test_no_line_of_any_log_breaks_the_parameters() -> None:
    c = config(pattern="(?P<id>.*)", methods="GET,POST,HEAD", status="200,401,404")
    lines = [line for file in sorted(LOGS.glob("*.log")) for line in file.read_text().splitlines()]

    for line in lines:
        params = accesslog.get_openurl_params(c, WORKER, terms_of(line))
        assert not params or faults(urlencode(params)) == []
