"""What is secret in an address is not shown, and nothing else is hidden."""

from __future__ import annotations

import pytest

from aggregator.http.masking import LONGEST_SHOWN, mask_bad_url, mask_url


@pytest.mark.parametrize(
    "name",
    ["key", "apiKey", "token", "pass", "password", "passwd", "pwd", "pw", "user_pw", "jwt", "bearer", "session",
     "session_id", "secret", "auth", "signature"],
)  # fmt: skip
@pytest.mark.parametrize("sign", ["?", "&", ";", "#"])
def test_a_parameter_named_like_a_secret_is_hidden(name: str, sign: str) -> None:
    begin = "http://x/?a=1" if sign != "?" else "http://x/"

    assert mask_url(f"{begin}{sign}{name}=s3cret&b=2#end") == f"{begin}{sign}{name}=***&b=2#end"


@pytest.mark.parametrize("url", ["http://x/?passengers=1&upward=2&q=token#part=3", "http://x/pass=1/a@b", "http://x/"])
def test_what_is_not_named_like_one_is_shown(url: str) -> None:
    assert mask_url(url) == url


def test_logins_and_variables_are_hidden() -> None:
    assert mask_url("https://me:pw@x/%(ENV_ID)s/a") == "https://***@x/***/a"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://x/?a=b?token=c?d=e&f=g", "http://x/?a=b?token=***&f=g"),
        ("http://x/#/route?token=a=b?c", "http://x/#/route?token=***"),
        ("http://x/?a?b&key", "http://x/?a?b&key"),
        ("http://x/?a=token=b", "http://x/?a=token=b"),
        ("http://x/?key=?key=?key=", "http://x/?key=***"),
    ],
)
def test_a_parameter_is_found_wherever_it_begins(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_what_is_no_address_keeps_its_login_too() -> None:
    assert mask_bad_url("htp:/me:p@w@x/?key=a") == "htp:/***@x/?key=***"


def test_a_long_address_is_cut_when_all_is_hidden() -> None:
    assert mask_url(f"https://me:{'p' * 5000}@x/?key={'k' * 5000}") == "https://***@x/?key=***"
    assert mask_url("http://x/" + "a" * 5000) == ("http://x/" + "a" * 5000)[:LONGEST_SHOWN] + "…"
