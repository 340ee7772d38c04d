"""The name of a file, whatever its bytes, can be stored and comes back."""

from __future__ import annotations

from aggregator.files.names import name_of, text_of


def test_a_name_comes_back_from_its_text() -> None:
    for name in ["plain", "\\", "\\xe9", "\udce9\udcff", "\\\\\udc80", "é", "\\x\udce9\\x"]:
        text = text_of(name)
        assert text.encode()
        assert name_of(text) == name
