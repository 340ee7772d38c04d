"""From a stage's name to its class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import plugins
from aggregator import registry
from tests import samplestages


@pytest.mark.parametrize("name", sorted(registry.BUILTIN))
def test_a_built_in_stage_is_found_by_its_name(name: str, tmp_path: Path) -> None:
    stage = registry.load_stage(name, tmp_path)

    assert f"{stage.__module__}:{stage.__name__}" == registry.BUILTIN[name]


def test_a_stage_of_ones_own_is_found_by_module_and_class(tmp_path: Path) -> None:
    assert registry.load_stage("tests.samplestages:Copier", tmp_path) is samplestages.Copier


def test_a_module_is_looked_up_from_the_instance_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "json_of_mine.py").write_text("NAME = 'mine'\n")

    assert registry.load_module("json_of_mine", tmp_path).NAME == "mine"


def test_a_folder_of_plugins_needs_no_init_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__])  # a package: Python finds it before a bare folder
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "of_mine.py").write_text("NAME = 'mine'\n")

    assert registry.load_module("plugins.of_mine", tmp_path).NAME == "mine"


def test_an_import_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        registry.load_module("interrupted", tmp_path)


def test_an_installed_package_can_bring_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aggregator.stages]\nbrought = tests.samplestages:Keeper\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    assert "brought" in registry.stage_names()
    assert registry.load_stage("brought", tmp_path) is samplestages.Keeper


def test_sources_and_consumers_are_told_apart() -> None:
    assert registry.is_source(samplestages.Feeder)
    assert not registry.is_source(samplestages.Copier)
