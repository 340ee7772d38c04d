"""A program is enabled by a link, and what an operator did with it stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregator.errors import ConfigError
from aggregator.supervision import build, carry_out, disable, enable, plan
from tests.supervision.building import TWO, build_from, configure


def test_what_an_operator_disabled_stays_disabled(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    (tmp_path / "workers_enabled/process_a.conf").unlink()

    build_from(tmp_path, TWO.replace("sleep 1000", "sleep 9"))

    assert [path.name for path in (tmp_path / "workers_enabled").iterdir()] == ["process_b.conf"]
    assert "sleep 9" in (tmp_path / "workers_available/process_a.conf").read_text()


def test_disable_and_enable_are_the_link(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    build(config)

    assert list(disable(config, ["process_a"])) == ["process_a: disabled"]
    assert list(disable(config, ["process_a"])) == []
    assert not build(config).changes
    assert not (tmp_path / "workers_enabled/process_a.conf").is_symlink()
    assert list(enable(config, ["process_a"])) == ["process_a: enabled"]
    assert not build(config).changes
    assert os.readlink(tmp_path / "workers_enabled/process_a.conf") == "../workers_available/process_a.conf"


def test_a_name_that_is_no_program_is_refused_before_anything_changes(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    build(config)

    with pytest.raises(ConfigError, match=r"process_x.conf: no such program; did you mean process_b\?"):
        list(disable(config, ["process_a", "process_x"]))

    assert not plan(config).changes


def test_a_program_that_is_not_enabled_has_a_file_without_link(tmp_path: Path) -> None:
    build_from(tmp_path, TWO + "enabled = no\n")

    assert (tmp_path / "workers_available/process_b.conf").exists()
    assert not (tmp_path / "workers_enabled/process_b.conf").is_symlink()


def test_taking_enabled_no_out_links_the_program(tmp_path: Path) -> None:
    build_from(tmp_path, TWO + "enabled = no\n")

    build_from(tmp_path, TWO)

    assert (tmp_path / "workers_enabled/process_b.conf").is_symlink()


def test_a_new_enabled_no_takes_the_link_away_but_not_one_made_later(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)

    lines = build_from(tmp_path, TWO + "enabled = no\n")
    list(enable(configure(tmp_path, TWO + "enabled = no\n"), ["process_b"]))
    again = build_from(tmp_path, TWO + "enabled = no\n")

    assert "disable workers_enabled/process_b.conf" in lines
    assert again == ()
    assert (tmp_path / "workers_enabled/process_b.conf").is_symlink()


def test_where_links_are_impossible_copies_take_their_place(tmp_path: Path) -> None:
    def no_links(target: str, path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    carry_out(plan(configure(tmp_path, TWO)).actions, symlink=no_links)
    unchanged = build_from(tmp_path, TWO)
    changed = build_from(tmp_path, TWO.replace("sleep 1000", "sleep 9"))
    gone = build_from(tmp_path, TWO.partition("[process_b]")[0])

    copy = tmp_path / "workers_enabled/process_a.conf"
    assert unchanged == ("build   1",)
    assert changed == (
        "change  workers_enabled/process_a.conf",
        "change  workers_available/process_a.conf",
        "build   2",
    )
    assert "remove  workers_enabled/process_b.conf" in gone
    assert not copy.is_symlink()
    assert copy.read_text() == (tmp_path / "workers_available/process_a.conf").read_text()
