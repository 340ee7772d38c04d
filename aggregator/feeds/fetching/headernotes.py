"""Keep the headers that tell the time of a body with its file, in case the message with the headers is lost.

Headers are kept only for feeds with `timestamp = http`. They are an extended attribute, which needs no further file and
no further wait for the disk. Without extended attributes none are kept, and the file's own time is used instead.
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
    """Keep headers with an open file, if the system and the file system support it."""
    # AttributeError: Python supports extended attributes on Linux only
    with suppress(OSError, AttributeError):
        os.setxattr(fd, ATTRIBUTE, msgspec.json.encode({name: headers[name][:500] for name in KEPT if name in headers}))


def read_headers(path: Path) -> dict[str, str]:
    """Return the headers that were kept with a file, if any."""
    try:
        return msgspec.json.decode(os.getxattr(path, ATTRIBUTE), type=dict[str, str])
    except (OSError, AttributeError, msgspec.DecodeError):
        return {}
