"""Which faults of the system are no single message's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from aggregator.errors import Unavailable

PAUSE_S = 10.0
_EVERYONES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}


@contextmanager
def stage_wide() -> Iterator[None]:
    """Turn a full, read-only or broken disk into Unavailable: the stage waits, no message is set aside."""
    try:
        yield
    except OSError as error:
        if error.errno not in _EVERYONES:
            raise
        raise Unavailable(f"{error.filename or 'disk'}: {error.strerror}", PAUSE_S) from error
