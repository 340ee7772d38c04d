"""In a folder that others can write to, no link of theirs leads a lock, an output or a reader elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregator.errors import Unavailable
from aggregator.feeds.query.rowfiles import Format, open_rows
from aggregator.files.opening import open_followed, open_own
from aggregator.logs.logfile import LogFile
from tests.logs.driving import Tailing, make
from tests.logs.test_logfile import message
from tests.security.users import ALICE, BOB, STAFF
from tests.settling import settled

SECRET = "root's own\n"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder in which every user may make entries, and that the kernel does not protect as it does /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of root's."""
    file = tmp_path / "private" / "secret.log"
    file.parent.mkdir(mode=0o700)
    file.write_text(SECRET)
    file.chmod(0o600)
    return file


def link(path: Path, target: Path, owner: int) -> None:
    """Make a link as another user makes it."""
    path.symlink_to(target)
    os.lchown(path, owner, owner)


def write(folder: Path) -> None:
    """Run the stage over one message, to `out.log` of a folder."""
    stage = make(LogFile, folder, {}, listento="lines", logfile="out.log")
    stage.start()
    try:
        assert list(stage.handle(message(logline="x"))) == []
        settled(stage)
    finally:
        stage.stop()


def test_a_lock_is_not_taken_by_a_link(shared: Path, secret: Path) -> None:
    link(shared / ".out.log.lock", secret, ALICE)

    with pytest.raises(Unavailable, match=r"cannot lock .*: is a link, where only a file can be; remove it"):
        write(shared)

    assert secret.read_text() == SECRET


def test_a_lock_is_not_taken_on_a_file_that_has_a_second_name(shared: Path, secret: Path) -> None:
    (shared / ".out.log.lock").hardlink_to(secret)

    with pytest.raises(Unavailable, match="has a second name, where only a file of our own can be"):
        write(shared)

    assert secret.read_text() == SECRET


def test_an_output_that_somebody_links_elsewhere_is_not_written(shared: Path, secret: Path) -> None:
    link(shared / "out.log", secret, ALICE)

    told = f"out.log is a link of user {ALICE} to what is not that user's.*: not followed; name its target, or"
    with pytest.raises(Unavailable, match=told):
        write(shared)

    assert secret.read_text() == SECRET


def test_an_output_is_not_made_where_a_link_of_somebody_leads(shared: Path, secret: Path) -> None:
    link(shared / "out.log", secret.with_name("new.log"), ALICE)

    with pytest.raises(Unavailable):
        write(shared)

    assert [path.name for path in secret.parent.iterdir()] == [secret.name]


def test_an_output_below_a_folder_that_somebody_links_elsewhere_is_not_made(shared: Path, secret: Path) -> None:
    link(shared / "logs", secret.parent, ALICE)

    with pytest.raises(PermissionError, match="logs is a link of user"):
        open_followed(shared / "logs" / "new.log", os.O_RDWR | os.O_CREAT)

    assert [path.name for path in secret.parent.iterdir()] == [secret.name]


@pytest.mark.parametrize("owner", [0, ALICE])
def test_an_output_may_be_a_link_of_ones_own_or_to_its_makers_own(owner: int, shared: Path, tmp_path: Path) -> None:
    target = tmp_path / "large" / "out.log"
    target.parent.mkdir()
    target.touch()
    os.chown(target, owner, owner)
    link(shared / "out.log", target, owner)

    write(shared)

    assert target.read_text() == '{"logline":"x"}\n' or target.read_text() == '{"logline": "x"}\n'


@pytest.mark.parametrize("logfile", ["shared/access.log", "shared/*.log"])
def test_a_log_that_somebody_links_elsewhere_is_not_forwarded(
    logfile: str, shared: Path, secret: Path, tmp_path: Path
) -> None:
    link(shared / "access.log", secret, ALICE)
    (shared / "real.log").write_text("line\n")
    tailing = Tailing(tmp_path, logfile=f"{logfile}, shared/real.log")

    assert tailing.drain() == ["line"]
    told = tailing.tail.context.notes["unreadable"]
    assert "access.log is a link of user" in told


def test_a_rotated_log_that_somebody_links_elsewhere_is_not_forwarded(
    shared: Path, secret: Path, tmp_path: Path
) -> None:
    (shared / "access.log").write_text("line\n")
    link(shared / "access.log.1", secret, ALICE)
    tailing = Tailing(tmp_path, logfile="shared/access.log")

    assert tailing.drain() == ["line"]


@pytest.mark.parametrize(("target_owner", "link_owner"), [(ALICE, ALICE), (BOB, 0)])
def test_a_log_is_followed_by_a_link_to_its_makers_own_and_by_one_of_ours(
    target_owner: int, link_owner: int, shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "day1.log").write_text("line\n")
    os.chown(tmp_path / "day1.log", target_owner, target_owner)
    link(shared / "access.log", tmp_path / "day1.log", link_owner)
    tailing = Tailing(tmp_path, logfile="shared/access.log")

    assert tailing.drain() == ["line"]


def test_a_link_is_followed_in_a_folder_that_only_root_writes_to(secret: Path, tmp_path: Path) -> None:
    link(tmp_path / "access.log", secret, ALICE)

    assert os.read(open_followed(tmp_path / "access.log", os.O_RDONLY), 99).decode() == SECRET


def test_a_folder_that_a_group_writes_to_is_one_of_others(shared: Path, secret: Path) -> None:
    shared.chmod(0o775)
    os.chown(shared, 0, STAFF)
    link(shared / "access.log", secret, ALICE)

    with pytest.raises(PermissionError):
        open_followed(shared / "access.log", os.O_RDONLY)


def test_a_path_with_dots_and_links_leads_where_the_kernel_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_text("right")
    (tmp_path / "file").write_text("wrong")
    (tmp_path / "link").symlink_to("a/./b")
    monkeypatch.chdir(tmp_path)

    for path in ("link/../file", "./link/..//file", str(tmp_path / "link/../file")):
        handle = open_followed(Path(os.path.join(path)), os.O_RDONLY)
        assert os.read(handle, 9) == Path(path).read_bytes()
        os.close(handle)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_is_not_written_through_a_link_that_lies_ready(form: Format, shared: Path, secret: Path) -> None:
    link(shared / f".table.{os.getpid()}.part", secret, ALICE)

    with pytest.raises(OSError, match="is a link, where only a file can be"):
        open_rows(shared / "table", form)

    assert secret.read_text() == SECRET


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(OSError, match="is no regular file"):
        open_own(tmp_path / "fifo", os.O_RDWR)
    with pytest.raises(OSError, match="not a regular file"):
        open_followed(tmp_path / "fifo", os.O_RDWR)
    with pytest.raises(OSError, match="not a regular file"):
        open_followed(Path("/"), os.O_RDONLY)
