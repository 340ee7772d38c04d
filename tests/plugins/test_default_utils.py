"""The default plugin does what PIRUS2's did."""

from configparser import ConfigParser

from plugins import default_utils

DEMONSTRATION_AGENT = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 5.1; .NET CLR 1.1.4322; InfoPath.2; Badongo 2.0.0)"


def config(**options: str) -> ConfigParser:
    c = ConfigParser(interpolation=None)
    c["worker_pirus2"] = options
    return c


def test_any_message_gives_the_demonstration_terms() -> None:
    terms = default_utils.parseline('{"service": "ora", "logline": "whatever"}')

    assert terms == {
        "id": "test_id:4",
        "ip": "163.1.127.176",
        "useragent": DEMONSTRATION_AGENT,
        "referer": "http://google.com",
    }


def test_the_parameters_are_those_of_pirus2() -> None:
    terms = default_utils.parseline("{}")

    assert default_utils.get_openurl_params(config(), "worker_pirus2", terms) == {
        "url_ver": "Z39.88-2004",
        "svc_dat": "Accepted version",
        "rfr_id": "",
        "rft_id": "info:doi:http://dx.doi.org/10.1016/S0022-460X(03)00773-9",
        "svc_format": "application/pdf",
        "req_id": "urn:ip:163.1.127.176",
        "req_dat": DEMONSTRATION_AGENT,
    }


def test_options_of_the_worker_section_win() -> None:
    c = config(url_ver="Z39.88-2099", svc_dat="Published version", rfr_id="ora.bodleian.ox.ac.uk", rft_id="not read")

    params = default_utils.get_openurl_params(c, "worker_pirus2", default_utils.parseline("{}"))

    assert (params["url_ver"], params["svc_dat"], params["rfr_id"]) == (
        "Z39.88-2099",
        "Published version",
        "ora.bodleian.ox.ac.uk",
    )
    assert params["rft_id"].startswith("info:doi:")


def test_a_section_that_does_not_exist_leaves_the_defaults() -> None:
    params = default_utils.get_openurl_params(config(), "worker_none", default_utils.parseline("{}"))

    assert params["svc_dat"] == "Accepted version"


def test_every_option_that_is_read_is_documented() -> None:
    assert set(default_utils.OPTIONS) == {"url_ver", "svc_dat", "rfr_id"}
