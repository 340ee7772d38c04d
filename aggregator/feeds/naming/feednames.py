"""Allowed names of feeds, nodes and file extensions, so that they can be parts of file names."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from aggregator.config.settings import OptionType
from aggregator.feeds.naming.stamps import STAMP

MAX_NAME_BYTES = 120
"""The longest name of a feed: file names have 255 bytes at most, and ours add a time, a hash, an extension, `.part`."""

LONGEST_NAME = 255
"""The longest file name of file systems. Longer texts are refused first, as matching them could take very long."""
EXTENSION = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_NODE = re.compile(r"[A-Za-z0-9_.-]{1,80}", re.ASCII)
_LIKE_A_MANIFEST = re.compile(rf"-{STAMP}\.manifest\.", re.ASCII)
"""A feed's name must not match this: its publications in JSON lines would be taken for manifests, and not bundled."""


def parse_feed_name(text: str) -> str:
    """Return a feed's name if it can be part of a file name on every system. Raises ValueError."""
    name = unicodedata.normalize("NFC", text.strip())
    safe = name.isprintable() and not re.search(r'[/\\:*?"<>|]', name) and name[:1] not in ("", ".", "-")
    safe = safe and not name.endswith(".") and not _LIKE_A_MANIFEST.search(name)
    if not safe or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise ValueError
    return name


def is_feed_name(text: str) -> bool:
    """True for a feed's name in the form that `parse_feed_name` returns."""
    try:
        return parse_feed_name(text) == text
    except ValueError:
        return False


def is_node_name(text: str) -> bool:
    """True for an allowed value of `[aggregator] node`."""
    return _NODE.fullmatch(text) is not None


def parse_extension(text: str) -> str:
    """Return a file extension without its leading dot. Raises ValueError."""
    extension = text.strip().removeprefix(".")
    if len(extension) > 20 or not EXTENSION.fullmatch(extension) or extension.split(".")[0] == "manifest":
        raise ValueError
    return extension


Extension = Annotated[str, OptionType("extension", parse_extension, "letters, digits, _ and single dots, such as pb")]
