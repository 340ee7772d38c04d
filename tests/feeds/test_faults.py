"""A folder where a file belongs is the fault of its message, not of the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.errors import Retry
from aggregator.feeds.fetching.partialfile import PartialFile
from tests.feeds.captures import subway_captures
from tests.feeds.filtering import Filtering

CAPTURE = subway_captures()[0][1]


def test_a_folder_where_a_body_belongs_holds_up_its_message_only(tmp_path: Path) -> None:
    line = Filtering(tmp_path)
    blocked, good = line.download(CAPTURE), line.download(CAPTURE)
    [path, _] = sorted(line.downloads())
    path.unlink()
    path.mkdir()

    assert line.handle(blocked).tick.outcome == "invalid"
    assert line.handle(good).tick.outcome == "ok"


def test_a_folder_where_a_download_belongs_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "downloads/ace/body.pb").mkdir(parents=True)

    with PartialFile(tmp_path / "downloads/ace", "body") as partial:
        partial.write(b"x")
        with pytest.raises(Retry, match=r"cannot write .*body"):
            partial.keep("body.pb")
