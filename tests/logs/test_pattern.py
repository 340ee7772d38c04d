from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregator.logs.following.pattern import Pattern


@pytest.mark.parametrize(
    ("text", "name", "covered"),
    [
        ("logs/*.log", "logs/a.log", True),
        ("logs/*.log", "other/logs/a.log", False),
        ("logs/*.log", "/var/logs/a.log", False),
        ("logs/*.log", "logs/a.log.1", False),
        ("*/access.log", "web1/access.log", True),
        ("*.log", "logs/a.log", False),
        ("/var/log/*/[ab].log", "/var/log/web/b.log", True),
        ("/var/log/*/[ab].log", "/var/log/web/c.log", False),
        ("/var//log/?.log", "/var/log/a.log", True),
        ("access.log", "access.log", True),
        ("access.log", "logs/access.log", False),
    ],
)
def test_a_pattern_covers_whole_paths(tmp_path: Path, text: str, name: str, covered: bool) -> None:
    assert Pattern(text, tmp_path).covers(name) == covered


def test_what_compressors_and_copiers_make_is_no_log(tmp_path: Path) -> None:
    for suffix in ("", ".1", ".1.gz", ".1.zst", ".1.Z", ".2.gz.part", ".20261122.1.gz", ".tmp"):
        (tmp_path / f"access.log{suffix}").touch()
    assert Pattern("access.log*", tmp_path).fresh((), 0.0) == ["access.log"]


def test_rotated_files_are_no_logs_of_their_own_while_the_live_one_is_missing(tmp_path: Path) -> None:
    for name in ("access.log.1", "access-2026-11-22.log", "access-2026-11-23.log"):
        (tmp_path / name).touch()
    assert Pattern("*.log", tmp_path).fresh({"access.log"}, 0.0) == []
    pattern = Pattern("access*", tmp_path)
    assert pattern.fresh((), 0.0) == ["access-2026-11-22.log", "access-2026-11-23.log"]
    assert "access.log.1" not in pattern.fresh((), 4.0)
    assert "access.log.1" in pattern.fresh((), 5.0), "there is no live one"
    assert "access.log.1" not in pattern.fresh({"access.log"}, 6.0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("access_log*", ["access_log.1764288000", "access_log.1764374400"]),
        ("logfile.*", ["logfile.2026.11.27", "logfile.2026.11.28"]),
        ("dspace.log*", ["dspace.log.2026-11-27", "dspace.log.2026-11-28"]),
        ("*", ["app-2026-11-28.0.log", "app-2026-11-28.1.log"]),
    ],
)
def test_dated_files_without_a_live_one_are_logs_of_their_own(tmp_path: Path, text: str, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert Pattern(text, tmp_path).fresh((), 0.0) == names


def test_a_number_before_the_suffix_makes_a_rotated_file_only_where_the_lower_ones_are(tmp_path: Path) -> None:
    for name in ("access.log", "access.443.log", "access.80.log", "access.1.log", "access.2.log"):
        (tmp_path / name).touch()
    assert Pattern("*.log", tmp_path).fresh((), 0.0) == ["access.443.log", "access.80.log", "access.log"]
    for number in range(3, 12):
        (tmp_path / f"access.{number}.log{'.gz' if number < 11 else ''}").touch()
    assert "access.11.log" not in Pattern("*", tmp_path).fresh((), 0.0)


def test_links_come_last_and_known_names_not_at_all(tmp_path: Path) -> None:
    for name in ("b.log", "c.log", "known.log"):
        (tmp_path / name).touch()
    os.symlink("c.log", tmp_path / "a.log")
    assert Pattern("*.log", tmp_path).fresh({"known.log"}, 0.0) == ["b.log", "c.log", "a.log"]
