"""Which faults of the system are no single message's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from aggregator.errors import Unavailable

PAUSE_S = 10.0


@contextmanager
def stage_wide() -> Iterator[None]:
    """Turn what the disk refuses into Unavailable: the stage waits, no message is set aside.

    Be it full, read-only, broken or somebody else's: none of it is a message's own fault, but a name that no file can
    bear.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise
        place = error.filename2 or error.filename or "disk"
        raise Unavailable(f"{place}: {error.strerror or error}", PAUSE_S) from error
