"""The headers that tell the time of a body, kept with its file: should its message be lost, they can be found there.

Kept for feeds with `timestamp = http` only, as an extended attribute, so that it costs no further file and no further
wait for the disk. A system without extended attributes keeps none; then the file's own time stands in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

ATTRIBUTE = "user.aggregator.headers"
KEPT = ("date", "last-modified")


def write_headers(fd: int, headers: Mapping[str, str]) -> None:
    """Keep headers with an open file, where the system and the file system can."""
    # AttributeError: Python knows extended attributes on Linux alone
    with suppress(OSError, AttributeError):
        os.setxattr(fd, ATTRIBUTE, msgspec.json.encode({name: headers[name][:500] for name in KEPT if name in headers}))


def read_headers(path: Path) -> dict[str, str]:
    """Return the headers that were kept with a file; none where there are none."""
    try:
        return msgspec.json.decode(os.getxattr(path, ATTRIBUTE), type=dict[str, str])
    except (OSError, AttributeError, msgspec.DecodeError):
        return {}
