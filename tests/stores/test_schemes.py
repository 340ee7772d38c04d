"""A store is added with one module and one line: configuration, checks and opening follow from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.config.tables import reader_of
from aggregator.errors import ConfigError
from aggregator.registry import STORES, StoreScheme
from aggregator.stores import open_configured, open_store


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    # the one line
    monkeypatch.setitem(STORES, "shelf", StoreScheme("shelf:///path", "tests.stores.shelf:KIND"))


def configure(root: Path, options: str) -> Config:
    (root / "loglines.cfg").write_text(f"[redis]\nurl = redis://localhost/0\n[store_main]\n{options}")
    return load(root / "loglines.cfg", root)


def test_a_section_of_a_new_store_is_read_and_opened(tmp_path: Path) -> None:
    config = configure(tmp_path, f"url = shelf://{tmp_path}/shelf\nboards = 3\n")

    settings = config.table("store").entry("main")
    open_configured(settings).put("key", b"x")

    assert settings.boards == 3
    assert open_store(f"shelf://{tmp_path}/shelf").get("key")[0] == b"x"


def test_what_is_wrong_with_a_new_stores_section_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="boards: a shelf needs a board"):
        configure(tmp_path, "url = shelf:///x\nboards = 0\n")
    with pytest.raises(ConfigError, match="region: means nothing to a shelf; allowed: only with url = s3://"):
        configure(tmp_path, "url = shelf:///x\nregion = r\n")
    with pytest.raises(ConfigError, match=r"boards: means nothing to a folder; allowed: only with url = .*shelf://"):
        configure(tmp_path, "url = file:///x\nboards = 2\n")


def test_a_folder_lets_pass_what_always_stood_in_its_section(tmp_path: Path) -> None:
    config = configure(tmp_path, f"url = file://{tmp_path}/store\ntimeout = 5s\nmultipart = 16MB\n")

    assert open_configured(config.table("store").entry("main")).head("key") is None


def test_the_reference_lists_the_options_of_a_new_store() -> None:
    assert "boards" in [option.name for option in reader_of("store").options()]
