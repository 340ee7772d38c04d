"""Which lines count, and with which parameters they are sent."""

from __future__ import annotations

from configparser import ConfigParser
from urllib.parse import urlencode

import pytest

from aggregator.demo.tracker import faults
from plugins import accesslog
from tests.plugins.loglines import DOWNLOAD, WORKER, config, params_of, request, terms_of


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
