"""How sections and values are read from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config import ini


def read_option(tmp_path: Path, text: str) -> str:
    file = tmp_path / "file.ini"
    file.write_text(f"[section]\n{text}")
    document = ini.read(file)
    assert document.faults == []
    return document.sections["section"].values["key"].text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("key = value\n", "value"),
        ("key: value\n", "value"),
        ("KEY=value", "value"),
        ("key = value ; not this\n", "value"),
        ("key = a;b\n", "a;b"),
        ("key = a # b\n", "a # b"),
        ("key = http://host:80/?a=b\n", "http://host:80/?a=b"),
        ("key: http://host/?a=b\n", "http://host/?a=b"),
        ("key = a\n  b ; not this\n\n  # nor this\n  c\n", "a\nb\nc"),
        ("key =\n  a\n  b\n", "a\nb"),
        ("key =\n", ""),
        ("  key = a\n  other = b\n", "a"),
        ("key = value\r\n", "value"),
        ("# a\fb\nkey = a\tb ; \a\n", "a\tb"),
    ],
)
def test_a_value_is_read_as_configparser_reads_it(text: str, value: str, tmp_path: Path) -> None:
    assert read_option(tmp_path, text) == value


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "file.ini"
    file.write_bytes(b"\xef\xbb\xbf[section]\nkey = caf\xc3\xa9\n")

    document = ini.read(file)

    assert document.faults == []
    assert document.sections["section"].values["key"] == ("caf\xe9", 2)
