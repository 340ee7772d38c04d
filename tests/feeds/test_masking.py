"""What is secret in an address is not shown, and nothing else is hidden."""

from __future__ import annotations

import pytest

from aggregator.feeds.masking import mask_url


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
