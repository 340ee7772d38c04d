"""Positions belong to files: reading goes on whatever the configuration calls them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from aggregator.config.parsing import parse_settings
from aggregator.logs.tail import Tail
from aggregator.runtime.contract import Former
from tests.logs.driving import Tailing, make, numbered, write

SPELLINGS = ["in/*.log", "./in/*.log", "in//*.log", "{root}/in/*.log", "link/*.log", "in/../in/*.log", "i[n]/*.log"]
SPELLINGS += ["in/a.log", "{root}/link/a.log", "in/../link/a.log", "linked", "in/a*, in/b*", "*/a.log"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "linked").symlink_to("in/a.log")
    return tmp_path / "in" / "a.log"


def respell(tailing: Tailing, logfile: str) -> None:
    tailing.options["logfile"] = logfile.format(root=tailing.root)
    tailing.restart()


@pytest.mark.parametrize("first", SPELLINGS)
@pytest.mark.parametrize("rotate", [False, True])
def test_a_pattern_that_is_spelt_otherwise_goes_on(tmp_path: Path, log: Path, first: str, rotate: bool) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile=first.format(root=tmp_path), from_="end")
    tailing.poll()
    expected = 10
    for spelling in [*SPELLINGS, first]:
        write(log, *numbered(expected, expected + 5))
        if rotate:
            log.rename(log.with_name(f"a.log.{99 - expected // 10}"))
            write(log, *numbered(expected + 5, expected + 10))
        expected += 10 if rotate else 5
        respell(tailing, spelling)
        assert tailing.drain(3) == numbered(10, expected), spelling


@pytest.mark.parametrize("first", SPELLINGS[:6])
@pytest.mark.parametrize("second", SPELLINGS[:6])
def test_a_file_that_came_meanwhile_is_read_from_its_start(tmp_path: Path, log: Path, first: str, second: str) -> None:
    write(log, "old")
    tailing = Tailing(tmp_path, logfile=first.format(root=tmp_path), from_="end")
    tailing.drain(2)
    write(log.with_name("new.log"), "new")
    respell(tailing, second)
    assert tailing.drain(2) == ["new"]


def test_no_cursor_stays_behind_under_another_spelling(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path, logfile="in/*.log")
    tailing.drain(2)
    respell(tailing, "./in/*.log")
    tailing.drain(2)
    assert sorted(tailing.cursors) == ["./in/a.log#0", "since ./in/*.log"]


def test_a_pattern_goes_on_though_the_link_it_was_spelt_with_is_gone(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="link/*.log")
    tailing.drain(2)
    (tmp_path / "link").unlink()
    log.rename(log.with_name("a.log.1"))
    write(log.with_name("a.log.1"), *numbered(10, 20))
    write(log, *numbered(20, 30))
    respell(tailing, "in/*.log")
    assert tailing.drain() == numbered(0, 30)


def test_positions_that_an_earlier_version_stored_for_each_spelling_are_taken_up_where_they_are_newest(
    tmp_path: Path, log: Path
) -> None:
    write(log, *numbered(0, 10))
    earlier = Tailing(tmp_path, logfile="in/*.log")
    earlier.drain(2)
    write(log, *numbered(10, 20))
    os.utime(log, (log.stat().st_mtime + 5,) * 2)
    later = Tailing(tmp_path, logfile="./in/*.log")
    assert later.drain(2) == numbered(0, 20)
    later.cursors |= earlier.cursors
    respell(later, "in/*.log")
    write(log, *numbered(20, 30))
    assert later.drain(2) == numbered(0, 30)
    assert sorted(later.cursors) == ["in/a.log#0", "since in/*.log"]


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("patterns", ["in/*.log, other/*.log", "other/*.log, in/*.log", "in/a.log, other/b.log"])
def test_a_file_that_moves_into_another_pattern_goes_on(
    tmp_path: Path, log: Path, patterns: str, restart: bool
) -> None:
    (tmp_path / "other").mkdir()
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile=patterns)
    tailing.drain(2)
    write(log, *numbered(10, 20))
    log.rename(tmp_path / "other/b.log")
    if restart:
        tailing.restart()
    assert tailing.drain() == numbered(0, 20)
    write(tmp_path / "other/b.log", *numbered(20, 30))
    tailing.now += 7200
    assert tailing.drain() == numbered(0, 30)
    tailing.now += 7200
    tailing.drain()
    write(tmp_path / "other/b.log", *numbered(30, 40))
    assert tailing.drain() == numbered(0, 40)
    tailing.restart()
    write(tmp_path / "other/b.log", *numbered(40, 50))
    assert tailing.drain() == numbered(0, 50)


def test_a_folder_that_was_copied_elsewhere_goes_on(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="in/*.log")
    tailing.drain(2)
    shutil.copytree(tmp_path / "in", tmp_path / "new")
    write(tmp_path / "new/a.log", *numbered(10, 20))
    respell(tailing, "new/*.log")
    assert tailing.drain() == numbered(0, 20)


def test_a_link_that_leads_to_another_folder_stays_the_same_path(tmp_path: Path, log: Path) -> None:
    write(log, "a")
    tailing = Tailing(tmp_path, logfile="link/a.log", from_="end")
    tailing.drain(2)
    (tmp_path / "next").mkdir()
    write(tmp_path / "next/a.log", "b")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("next")
    tailing.restart()
    assert tailing.drain() == ["b"]


@pytest.mark.parametrize("spelling", SPELLINGS[:6])
def test_a_pattern_belongs_to_a_section_however_it_is_spelt(tmp_path: Path, log: Path, spelling: str) -> None:
    def belongings(logfile: str) -> tuple[str, ...]:
        return Tail.belongings(settings_of(logfile.format(root=tmp_path)), tmp_path)

    assert belongings(spelling) == (f"log:{os.path.realpath(tmp_path)}/in/*.log",)
    assert f"log:{os.path.realpath(log)}" in belongings("linked")
    assert belongings("linked, in/a.log")[0] == belongings("link/a.log")[0]


def test_a_renamed_section_goes_on_with_the_cursors_that_it_took_over(tmp_path: Path, log: Path) -> None:
    write(log, *numbered(0, 10))
    tailing = Tailing(tmp_path, logfile="in/*.log")
    tailing.drain(2)
    write(log, *numbered(10, 20))
    renamed = make(
        Tail, tmp_path, tailing.cursors, section="logger_other", servicename="web", pushto="lines", logfile="link/*.log"
    )
    tailing.tail.stop()
    renamed.start()
    tailing.tail = renamed
    assert tailing.drain(2) == numbered(0, 20)


def settings_of(logfile: str) -> Any:
    settings, faults = parse_settings(Tail.Settings, {"logfile": logfile, "servicename": "s", "pushto": "q"})
    assert not faults
    return settings


@pytest.mark.parametrize(
    ("follows", "keeps", "taken"),
    [
        ("in/a.log", None, ["a"]),
        ("in/b.log", None, ["b"]),
        ("in/*.log", None, ["a", "b", "gone"]),
        ("in/b.log", "in/a.log", ["b"]),
        ("in/b.log", "in/*.log", []),
        ("other/*.log", None, []),
        ("in/a.log, in/b.log, gone.log", None, ["a", "b", "gone"]),
    ],
)
def test_a_section_takes_the_positions_of_what_it_follows_and_the_other_one_no_more(
    tmp_path: Path, log: Path, follows: str, keeps: str | None, taken: list[str]
) -> None:
    write(log, "x")
    write(log.with_name("b.log"), "y")
    tailing = Tailing(tmp_path, logfile="in/a.log, in/b.log")
    tailing.drain(2)
    before, kept = (Tail.belongings(settings_of(text), tmp_path) for text in ("in/a.log, in/b.log", keeps or "none"))
    position = next(text for name, text in tailing.cursors.items() if "a.log" in name and "since" not in name)
    gone = {"gone.log 0": position.replace("in/a.log", "in/gone.log")}
    former = Former(tailing.cursors | gone, before, kept if keeps else None, False)

    names = Tail.take_over(settings_of(follows), tmp_path, former, {})

    found = {Path(name.removeprefix("since ").split()[0]).stem for name in names}
    assert sorted(found) == taken
    assert not Tail.take_over(settings_of(follows), tmp_path, former, former.cursors)
