"""Which placeholders are filled in, and which are left to supervisord."""

from __future__ import annotations

import pytest

from aggregator.config import placeholders


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100%", "100%"),
        ("100%%", "100%"),
        ("%Y-%m-%d", "%Y-%m-%d"),
        ("a%2Fb", "a%2Fb"),
        ("%(here)s/x", "/etc/x"),
        ("%(ENV_TOKEN)s", "s3cret%"),
        ("%(process_num)02d.%(program_name)s", "%(process_num)02d.%(program_name)s"),
        ("%(other)s", "%(other)s"),
    ],
)
def test_only_known_placeholders_are_filled_in(text: str, value: str) -> None:
    assert placeholders.expand(text, "/etc", {"TOKEN": "s3cret%"}) == (value, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100%", "100%%"),
        ("100%%", "100%%"),
        ("%(here)s/x", "HERE/x"),
        ("%(ENV_TOKEN)s", "%(ENV_TOKEN)s"),
        ("%(process_num)d %(other)s", "%(process_num)d %%(other)s"),
        ("%(process_num)02d %(process_num)s", "%(process_num)02d %(process_num)s"),
        ("%(program_name)s %(program_name)20s", "%(program_name)s %(program_name)20s"),
        ("%(program_name)d", "%%(program_name)d"),
        ("%(process_num)\u0663d", "%%(process_num)\u0663d"),
        ("%(process_num)99999999999d", "%%(process_num)99999999999d"),
    ],
)
def test_supervisord_gets_placeholders_it_can_read(text: str, value: str) -> None:
    assert placeholders.for_supervisord(text, "HERE") == value
