"""Files are there as a whole or not at all, whatever lies in their way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.files.durable import part_of, write_durably


def test_what_a_killed_process_of_our_number_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "instance"
    part_of(path).write_text("half")

    write_durably(path, b"whole")

    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("instance", b"whole")]


def test_a_link_in_place_of_the_file_or_of_its_half_is_not_written_through(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "state"
    target.write_text("kept")
    path.symlink_to(target)
    part_of(path).symlink_to(target)

    write_durably(path, b"new")

    assert (target.read_text(), path.read_text(), path.is_symlink()) == ("kept", "new", False)


def test_a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_text("old")

    def lines() -> Iterator[bytes]:
        yield b"new"
        raise OSError("the source has gone")

    with pytest.raises(OSError, match="the source has gone"):
        write_durably(path, lines())

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("export", "old")]


def test_the_mode_is_what_was_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_durably(tmp_path / "file", b"", 0o644)
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
