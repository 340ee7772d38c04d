"""What is known of a file that is followed, and taken from it."""

from __future__ import annotations

import os
from pathlib import Path

from aggregator.logs.following.followedfile import FollowedFile
from aggregator.logs.following.openfile import PlainFile
from aggregator.logs.following.position import Position, load_position


class Truncated(PlainFile):
    """A log that is truncated and written anew right behind the read of its lines."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def read_at(self, offset: int, size: int) -> bytes:
        data = super().read_at(offset, size)
        if size > 1000:
            os.truncate(self.path, 0)
            self.path.write_bytes(b"other\n" * 100)
        return data


def test_lines_of_a_file_that_was_truncated_as_they_were_read_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"first\n")
    followed = FollowedFile(Position("access.log", 0))
    followed.attach(PlainFile(path))
    taken = followed.take(10, 1000)
    assert taken is not None
    followed.advance(taken)
    with path.open("ab") as file:
        file.write(b"second\n")
    followed.attach(Truncated(path))
    assert followed.take(10, 1000) is None
    followed.release()


def test_a_position_stays_what_it_is_when_it_is_stored() -> None:
    position = Position("a", 1, dev=2, ino=3, offset=4, start=1, mtime=5.0, gone=6.0)
    position.hash_head(b"abc")
    position.hash_last(1, b"bc")
    assert load_position(position.store()) == position


def test_a_text_fits_when_it_holds_the_first_and_the_last_bytes_read() -> None:
    position = Position("a", 1)
    position.hash_head(b"head")
    position.hash_last(6, b"last")
    for text, fits in [
        (b"head..last", True),
        (b"head..last more", True),
        (b"head..las", False),
        (b"Head..last", False),
    ]:
        assert position.fits(lambda at, text=text: text[at:]) == fits  # type: ignore[misc]
    assert not Position("a", 1).fits(lambda at: b"anything"), "nothing was read from it"
