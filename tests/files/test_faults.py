"""Whose fault a fault of the system is: one table, used by every stage of feeds."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from aggregator.errors import Retry, Unavailable
from aggregator.files.faults import fault_of_message, stage_wide

OF_A_NAME = ["EISDIR", "ENOTDIR", "ENOENT", "ENAMETOOLONG", "ELOOP", "EINVAL"]


OF_THE_DISK = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "ESTALE"]


def fail(name: str, path: Path) -> None:
    number = getattr(errno, name)
    raise OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize("name", OF_A_NAME)
def test_a_bad_name_holds_up_its_message_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(Retry, match=f"{tmp_path}/x"), fault_of_message(tmp_path):
        fail(name, tmp_path / "x")


@pytest.mark.parametrize("name", OF_THE_DISK)
def test_what_the_disk_refuses_pauses_the_stage(name: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"{tmp_path}/x"), fault_of_message(tmp_path):
        fail(name, tmp_path / "x")


@pytest.mark.parametrize("name", [*OF_A_NAME, *OF_THE_DISK])
def test_work_of_no_message_is_never_a_messages_fault(name: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable), stage_wide():
        fail(name, tmp_path / "x")


def test_a_bad_name_is_the_stages_fault_while_its_own_folder_is_none(tmp_path: Path) -> None:
    own = tmp_path / "publications"
    own.symlink_to(tmp_path / "not mounted")

    with pytest.raises(Unavailable), fault_of_message(own):
        fail("ENOENT", own / "x")
