"""Builds: whole, numbered copies of the configuration, made and switched to in one step."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from aggregator.config.builds import KEPT, Builds
from aggregator.config.configuration import Config
from aggregator.config.instance import Instance
from aggregator.config.loading import load
from aggregator.supervision import Action, build, carry_out, changes
from tests.supervision.building import PIPELINE, TWO, configure, snapshot


def current(root: Path) -> Config:
    """Return the configuration as it was built last."""
    found = Builds(Instance(root)).current()
    assert found is not None
    return load(found.file, root, build=found)


def test_a_build_is_the_text_and_the_feeds_file_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "feeds.csv").write_text("a, http://127.0.0.1:9/a, pb\n")
    text = f"[redis]\n[aggregator]\nfeeds_file = feeds.csv\n{TWO}[feed_b]\nurl = http://127.0.0.1:9/b\nextension = pb\n"
    build(configure(tmp_path, text))
    (tmp_path / "feeds.csv").unlink()
    (tmp_path / "loglines.cfg").write_text("[half an ed")

    built = current(tmp_path)

    assert built.source == text.encode()
    assert sorted(built.table("feed").all()) == ["a", "b"]
    assert list(built.programs) == ["process_a", "process_b"]


def test_here_is_the_folder_of_the_file_that_was_built(tmp_path: Path) -> None:
    build(configure(tmp_path, "[process_a]\ncommand = cat %(here)s/x\n"))

    assert current(tmp_path).texts["process_a"]["command"] == f"cat {tmp_path}/x"


def test_a_build_moves_with_its_instance(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    build(configure(first, TWO))

    first.rename(second)

    assert current(second).file == second / "loglines.cfg"


def test_what_has_not_changed_is_not_built_again(tmp_path: Path) -> None:
    build(configure(tmp_path, TWO))
    build(configure(tmp_path, TWO))

    assert list(Builds(Instance(tmp_path)).numbers()) == [1]


def test_a_copy_that_somebody_changed_is_built_again(tmp_path: Path) -> None:
    build(configure(tmp_path, TWO))
    (tmp_path / "run/built/1/loglines.cfg").write_text("[process_c]\ncommand = true\n")

    build(configure(tmp_path, TWO))

    assert list(current(tmp_path).programs) == ["process_a", "process_b"]


def test_a_program_is_found_in_the_latest_build_that_has_its_digest(tmp_path: Path) -> None:
    build(configure(tmp_path, TWO))
    build(configure(tmp_path, TWO.replace("sleep 2000", "sleep 3000")))
    builds = Builds(Instance(tmp_path))
    first = builds._read(1)
    assert first is not None

    found = [builds.find(name, first.facts.programs[name]) for name in ("process_a", "process_b")]

    assert [one.facts.number for one in found if one] == [2, 1]


def test_builds_that_program_files_name_stay_and_others_go(tmp_path: Path) -> None:
    build(configure(tmp_path, TWO + PIPELINE))
    for number in range(KEPT + 2):
        build(configure(tmp_path, TWO.replace("2000", str(3000 + number)) + PIPELINE))

    assert sorted(Builds(Instance(tmp_path)).numbers())[-1] == KEPT + 3
    assert len(list(Builds(Instance(tmp_path)).numbers())) < KEPT + 3
    for path in (tmp_path / "workers_available").glob("*.conf"):
        digest = path.read_text().partition('AGGREGATOR_DIGEST="')[2].partition('"')[0]
        assert Builds(Instance(tmp_path)).find(path.stem, digest) is not None


def test_a_step_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    old, gone, odd = (tmp_path / name for name in ("old", "gone", "odd"))
    old.write_text("before")
    gone.symlink_to("somewhere")
    odd.mkdir()
    (odd / "inside").touch()
    before = snapshot(tmp_path)
    actions = [
        Action("write", old, "", "after", 0o600),
        Action("write", tmp_path / "new", "", "new", 0o600),
        Action("remove", gone, ""),
        # a file cannot take the place of a folder
        Action("write", odd, "", "never", 0o600),
    ]

    with pytest.raises(OSError, match="odd"):
        carry_out(actions)

    after = snapshot(tmp_path)
    assert {name: (mode, text) for name, (mode, _, text) in after.items()} == {
        name: (mode, text) for name, (mode, _, text) in before.items()
    }


def test_what_cannot_be_put_back_for_want_of_room_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, odd = tmp_path / "there", tmp_path / "odd"
    there.write_text("before")
    odd.mkdir()
    written: list[Path] = []

    def write_part(part: Path, text: str | bytes, mode: int) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(part)
        part.write_bytes(text if isinstance(text, bytes) else text.encode())

    monkeypatch.setattr(changes, "write_part", write_part)

    with pytest.raises(OSError, match="odd"):
        carry_out([Action("write", path, "", "after", 0o644) for path in (there, odd)])

    assert there.read_text() == "after"


def test_a_damaged_copy_does_not_hide_a_whole_one_of_the_same_section(tmp_path: Path) -> None:
    build(configure(tmp_path, TWO))
    build(configure(tmp_path, TWO + "[process_c]\ncommand = sleep 1\n"))
    builds = Builds(Instance(tmp_path))
    latest = builds.current()
    assert latest is not None
    latest.text.unlink()

    found = builds.find("process_a", latest.facts.programs["process_a"])

    assert found is not None
    assert found.facts.number == 1


def test_a_build_that_fails_halfway_does_not_count(tmp_path: Path) -> None:
    build(configure(tmp_path, TWO))
    before = snapshot(tmp_path)
    config = configure(tmp_path, TWO.replace("sleep 2000", "sleep 3000"))
    (tmp_path / "run/built/.current.part").mkdir()
    pointer = tmp_path / "run/built/current"
    pointer.unlink()
    pointer.mkdir()

    with pytest.raises(OSError, match="current"):
        build(config)

    pointer.rmdir()
    pointer.write_text("1\n")
    (tmp_path / "run/built/.current.part").rmdir()
    assert {name: text for name, (_, _, text) in snapshot(tmp_path).items()} == {
        name: text for name, (_, _, text) in before.items()
    }
