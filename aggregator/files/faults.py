"""Tell whether an OSError is the fault of the message in hand, or of the disk, which concerns every message.

| errno | whose | what happens |
|---|---|---|
| EISDIR ENOTDIR ENOENT EEXIST ENOTEMPTY ENAMETOOLONG ELOOP EINVAL ENXIO | the message's: a name in it | `Retry` |
| all others: ENOSPC EDQUOT EROFS EIO EACCES EPERM EMFILE ENFILE ENOMEM ESTALE … | the disk's | `Unavailable` |

An error of the first row is the disk's fault too while something else lies in place of one of the stage's own folders.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.errors import Retry, Unavailable

PAUSE_S = 10.0
OF_A_NAME = frozenset(
    (
        errno.EISDIR, errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP,
        errno.EINVAL, errno.ENXIO,
    )
)  # fmt: skip


@contextmanager
def stage_wide() -> Iterator[None]:
    """Turn every OSError into Unavailable, for work that belongs to no single message."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{_place(error)}: {error.strerror or error}", PAUSE_S) from error


@contextmanager
def fault_of_message(*own: Path) -> Iterator[None]:
    """Turn an OSError into the error of `whose_fault`; `own` are the folders that the stage cannot work without."""
    try:
        yield
    except OSError as error:
        raise whose_fault(error, *own) from error


def whose_fault(error: OSError, *own: Path, what: str = "") -> Retry | Unavailable:
    """Return the error to raise: Retry for a message's fault, so that other messages go on, Unavailable for the disk's.

    `what` names the thing that failed; without it, the path in the error is named.
    """
    what = what or _place(error)
    if error.errno not in OF_A_NAME or any(_is_in_the_way(folder) for folder in own):
        return Unavailable(f"{what}: {error.strerror or error}", PAUSE_S)
    return Retry(f"{what}: {error.strerror}; something else lies where a file of this message belongs")


def _is_in_the_way(folder: Path) -> bool:
    return not folder.is_dir() and (folder.exists() or folder.is_symlink())


def _place(error: OSError) -> str:
    return str(error.filename2 or error.filename or "disk")
