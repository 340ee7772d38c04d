"""What is downloaded is on the disk whole, or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.errors import Unavailable
from aggregator.feeds.fetching.partialfile import PartialFile

ROOM = 1_000_000


@pytest.fixture
def little_room() -> Iterator[None]:
    """Let no file grow beyond ROOM: a write that crosses it is cut there, as on a disk that gets full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_room")
def test_a_write_that_the_disk_takes_only_the_beginning_of_is_no_success(tmp_path: Path) -> None:
    with PartialFile(tmp_path, "ace") as partial:
        partial.write(bytes(ROOM - 10))

        with pytest.raises(Unavailable, match="File too large"):
            partial.write(bytes(20))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("little_room")
def test_what_just_fits_is_kept(tmp_path: Path) -> None:
    with PartialFile(tmp_path, "ace") as partial:
        for size in (ROOM - 10, 10, 0):
            partial.write(bytes(size))
        kept = partial.keep("ace.pb")

    assert kept.stat().st_size == ROOM
