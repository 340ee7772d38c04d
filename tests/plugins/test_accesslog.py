"""The access-log plugin: every form of line, every option, every fault."""

import json
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import urlencode

import pytest

from aggregator.demo.replay import shipped_lines
from aggregator.demo.tracker import faults
from plugins import accesslog

LOGS = Path(__file__).parents[1] / "data" / "logs"
WORKER = "worker_irus"
DOWNLOAD = (
    '192.0.2.7 - - [16/Mar/2010:13:31:14 +0100] "GET /objects/uuid%3A8fc817c9-9dd9/datastreams/ATTACHMENT01 HTTP/1.1" '
    '200 2291968 "http://example.org/search?q=a" "Mozilla/5.0 (X11)"'
)


def terms_of(line: str, service: str = "ora.ox.ac.uk") -> dict[str, str]:
    return accesslog.parseline(json.dumps({"service": service, "logline": line}))


def config(worker: dict[str, str] | None = None, **options: str) -> ConfigParser:
    c = ConfigParser(interpolation=None)
    c[accesslog.SECTION] = options
    c[WORKER] = worker or {}
    return c


def params_of(line: str, worker: dict[str, str] | None = None, **options: str) -> dict[str, str]:
    return accesslog.get_openurl_params(config(worker, **options), WORKER, terms_of(line))


def request(path: str, *, method: str = "GET", status: int = 200) -> str:
    return f'192.0.2.7 - - [16/Mar/2010:13:31:14 +0100] "{method} {path} HTTP/1.1" {status} 10 "-" "curl/8"'


# --- real lines ---

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


# --- forms of lines ---


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


# --- what counts ---


def test_the_parameters_of_a_download_are_those_of_irus_r5() -> None:
    params = params_of(DOWNLOAD, site="https://ora.ox.ac.uk/")

    assert list(params.items()) == [
        ("url_ver", "Z39.88-2004"),
        ("url_tim", "2010-03-16T12:31:14Z"),
        ("rft_dat", "Request"),
        ("req_id", "192.0.2.7"),
        ("req_dat", "Mozilla/5.0 (X11)"),
        ("rft.artnum", "oai:ora.ox.ac.uk:uuid:8fc817c9-9dd9"),
        ("svc_dat", "https://ora.ox.ac.uk/objects/uuid%3A8fc817c9-9dd9/datastreams/ATTACHMENT01"),
        ("rfr_dat", "http://example.org/search?q=a"),
        ("rfr_id", "ora.ox.ac.uk"),
    ]
    assert faults(urlencode(params)) == []


def test_the_same_line_gives_the_same_bytes_whatever_was_sent_before() -> None:
    first = urlencode(params_of(DOWNLOAD))
    params_of(request("/other"), pattern="/(?P<id>other)")

    assert urlencode(params_of(DOWNLOAD)) == first


@pytest.mark.parametrize(
    ("path", "identifier"),
    [
        ("/objects/ora:1234/datastreams/DS1", "oai:ora.ox.ac.uk:ora:1234"),
        ("/objects/uuid:8fc8-77/datastreams/ATTACHMENT01", "oai:ora.ox.ac.uk:uuid:8fc8-77"),
        ("/objects/uuid%3A8fc8-77/datastreams/ATTACHMENT01", "oai:ora.ox.ac.uk:uuid:8fc8-77"),
        ("/objects/uuid%3a8fc8-77/datastreams/ATTACHMENT01", "oai:ora.ox.ac.uk:uuid:8fc8-77"),
        ("/objects/uuid%253A8fc8-77/datastreams/ATTACHMENT01", "oai:ora.ox.ac.uk:uuid:8fc8-77"),
        ("/objects/hdl%3A10030-2/datastreams/FULL_TEXT", "oai:ora.ox.ac.uk:hdl:10030-2"),
        ("/objects/uuid:8fc8-77/datastreams/ATTACHMENT01?download=1", "oai:ora.ox.ac.uk:uuid:8fc8-77"),
        ("https://ora.ox.ac.uk/objects/uuid:8fc8-77/datastreams/DS1", "oai:ora.ox.ac.uk:uuid:8fc8-77"),
        ("/objects/uuid:8fc8-77/datastreams/ATTACHMENT01/thumbnail", None),
        ("/objects/uuid:8fc8-77/relationships?format=xml", None),
        ("/objects/doi:8fc8-77/datastreams/DS1", None),
        ("/mirror/objects/uuid:8fc8-77/datastreams/DS1", None),
        ("//[", None),
    ],
)
def test_the_default_pattern_finds_fedora_datastreams(path: str, identifier: str | None) -> None:
    assert params_of(request(path)).get("rft.artnum") == identifier


@pytest.mark.parametrize(
    ("status", "method", "counts"),
    [
        (200, "GET", True),
        (304, "GET", True),
        (206, "GET", False),
        (301, "GET", False),
        (404, "GET", False),
        (200, "HEAD", False),
        (200, "POST", False),
    ],
)
def test_only_answered_gets_count(status: int, method: str, counts: bool) -> None:
    line = request("/objects/ora:1/datastreams/DS1", method=method, status=status)

    assert bool(params_of(line)) == counts


def test_methods_and_status_say_what_counts() -> None:
    line = request("/objects/ora:1/datastreams/DS1", method="HEAD", status=206)

    assert params_of(line, methods="get, head", status="200 206")


def test_a_line_without_an_address_does_not_count() -> None:
    assert params_of(DOWNLOAD.replace("192.0.2.7", "crawler.example.org")) == {}


def test_a_line_that_was_not_understood_does_not_count() -> None:
    assert params_of("Segmentation fault") == {}


def test_pattern_and_identifier_name_the_article() -> None:
    params = params_of(
        request("/id/eprint/12/1/paper%20one.pdf"),
        pattern=r"/id/eprint/(?P<id>\d+)/(?P<version>\d+)/(?P<dsid>[^/]+\.pdf)",
        identifier="oai:{service}:{id}v{version}/{dsid}",
    )

    assert params["rft.artnum"] == "oai:ora.ox.ac.uk:12v1/paper one.pdf"


def test_a_doi_is_also_the_rft_id() -> None:
    params = params_of(request("/doi/10.1234%2Fabc"), pattern=r"/doi/(?P<id>10\.\d+%2F\w+)", identifier="info:doi/{id}")

    assert (params["rft_id"], params["rft.artnum"]) == ("info:doi/10.1234/abc", "info:doi/10.1234/abc")


def test_an_empty_id_does_not_count() -> None:
    assert params_of(request("/item/"), pattern="/item/(?P<id>[0-9]+)?") == {}


def test_a_group_that_took_no_part_is_empty() -> None:
    params = params_of(request("/item/7"), pattern="/item/(?P<id>[0-9]+)(?:/(?P<dsid>.+))?", identifier="x:{id}:{dsid}")

    assert params["rft.artnum"] == "x:7:"


def test_rft_dat_is_sent() -> None:
    assert params_of(DOWNLOAD, rft_dat="Investigation")["rft_dat"] == "Investigation"


def test_without_a_site_svc_dat_is_the_path() -> None:
    assert params_of(DOWNLOAD)["svc_dat"] == "/objects/uuid%3A8fc817c9-9dd9/datastreams/ATTACHMENT01"


def test_an_absolute_request_keeps_its_own_site() -> None:
    url = "http://proxy.example.org:8080/objects/ora:1/datastreams/DS1"

    assert params_of(request(url), site="https://ora.ox.ac.uk")["svc_dat"] == url


def test_options_of_the_worker_section_win() -> None:
    worker = {"url_ver": "Z39.88-2099", "rfr_id": "ora.bodleian.ox.ac.uk", "svc_dat": "Accepted version"}

    params = params_of(DOWNLOAD, worker)

    assert {name: params[name] for name in worker} == worker


def test_a_configuration_without_our_section_has_the_defaults() -> None:
    assert accesslog.get_openurl_params(ConfigParser(), WORKER, terms_of(DOWNLOAD)) == params_of(DOWNLOAD)


def test_two_worker_sections_of_one_configuration_are_kept_apart() -> None:
    c = config({"rfr_id": "one"})
    c["worker_other"] = {"rfr_id": "two"}
    terms = terms_of(DOWNLOAD)

    sent = [accesslog.get_openurl_params(c, section, terms)["rfr_id"] for section in (WORKER, "worker_other", WORKER)]

    assert sent == ["one", "two", "one"]


# --- faults of the configuration ---


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("pattern", "/(?P<id>[", "not a regular expression: unterminated character set at position 8"),
        ("pattern", "/item/([0-9]+)", "needs a group named id: (?P<id>…)"),
        ("identifier", "oai:x:{item}", "no such field: item; allowed: dsid, id, service"),
        ("identifier", "oai:x:{id.real}", "fields are plain names in braces, as {id}"),
        ("identifier", "oai:x:{id!r}", "fields are plain names in braces, as {id}"),
        ("identifier", "oai:x:{}", "fields are plain names in braces, as {id}"),
        ("identifier", "oai:{service}", "needs a field of the pattern, as {id}, else all articles have one identifier"),
        ("identifier", "oai:x:{id", "expected '}' before end of string"),
        ("methods", " ", "needs at least one value"),
        ("status", "200,ok", "no HTTP status: ok; allowed: 100 to 599, separated by commas"),
        ("status", "", "needs at least one value"),
        ("rft_dat", "Download", "allowed: Request, Investigation"),
        ("site", "ora.ox.ac.uk", "needs a URL that begins with http:// or https://"),
    ],
)
def test_a_fault_names_its_option(option: str, value: str, fault: str) -> None:
    expected = f"[accesslog] {option}: {fault} (found {value!r})"

    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        accesslog.check(config(**{option: value}), WORKER)


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(ValueError, match="pattern: ") as raised:
        accesslog.check(config(pattern="(", identifier="{}", status="x", rft_dat="y", site="z"), WORKER)

    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == [
        f"[accesslog] {option}" for option in ("pattern", "identifier", "status", "rft_dat", "site")
    ]


def test_a_fault_is_also_raised_for_a_message() -> None:
    with pytest.raises(ValueError, match="pattern"):
        params_of(DOWNLOAD, pattern="(")


def test_a_sound_configuration_passes() -> None:
    assert accesslog.check(config(), WORKER) is None  # type: ignore[func-returns-value]


def test_every_option_is_documented() -> None:
    assert set(accesslog.SECTION_OPTIONS) == {"pattern", "identifier", "methods", "status", "rft_dat", "site"}
    assert set(accesslog.OPTIONS) == {"url_ver", "rfr_id", "svc_dat"}


def test_the_example_in_the_documentation_is_sound() -> None:
    example = "\n".join(line[4:] for line in (accesslog.__doc__ or "").splitlines() if line.startswith("    "))
    c = ConfigParser()
    c.read_string(example)

    params = accesslog.get_openurl_params(c, "worker_pirus2", terms_of(DOWNLOAD, service="other"))

    assert (params["rft.artnum"], params["rfr_id"]) == ("oai:ora.ox.ac.uk:uuid:8fc817c9-9dd9", "ora.ox.ac.uk")
