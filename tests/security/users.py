"""Play another user of this machine: the tests run as root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALICE, BOB = 61_001, 61_002
"""Users without names."""
STAFF = 61_900
"""A group that is nobody's own."""


@contextmanager
def acting_as(uid: int, gid: int | None = None) -> Iterator[None]:
    """Be another user as far as the kernel's checks go."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def give(path: Path, uid: int, gid: int | None = None) -> None:
    """Make everything below a path, links too, a user's own."""
    for entry in (path, *path.rglob("*")):
        os.lchown(entry, uid, uid if gid is None else gid)
