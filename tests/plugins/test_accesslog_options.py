"""Faults of the options are told by name, and the example in the documentation has none."""

from __future__ import annotations

import re
from configparser import ConfigParser

import pytest

from plugins import accesslog
from tests.plugins.loglines import DOWNLOAD, WORKER, config, params_of, terms_of


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
