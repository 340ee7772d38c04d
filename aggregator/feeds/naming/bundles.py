"""The names of a bundle and its manifests: its key in a store, its path below `bundles`, its local revisions."""

from __future__ import annotations

import re
from typing import NamedTuple

from aggregator.feeds.naming.feednames import LONGEST_NAME, is_feed_name
from aggregator.feeds.naming.stamps import STAMP, read_stamp, utc, write_stamp

FORMATS = ("zst", "bz2", "gz", "xz")

_BUNDLE = re.compile(rf"(?:(.*)/)?(\d{{4}}-\d\d-\d\d)/(\d\d)/([^/]+)-{STAMP}\.tar\.({'|'.join(FORMATS)})", re.ASCII)
_MANIFEST = re.compile(rf"(.+)-{STAMP}\.manifest\.([A-Za-z0-9_.-]{{1,80}})\.jsonl", re.ASCII | re.DOTALL)
_REVISION = re.compile(r"\.r(\d{1,9})(?=\.tar\.[a-z0-9]+$)", re.ASCII)


class BundleName(NamedTuple):
    """The bundle of one feed and period in one format."""

    feed: str
    start: int
    format: str = "zst"

    @property
    def path(self) -> str:
        """The bundle's path below `bundles` and, with the prefix before it, its key in a store."""
        moment = utc(self.start)
        return f"{moment:%Y-%m-%d/%H}/{self.feed}-{write_stamp(self.start)}.tar.{self.format}"

    def key(self, prefix: str) -> str:
        """Return the bundle's key in a store."""
        return f"{prefix}/{self.path}" if prefix else self.path

    def stem(self, prefix: str) -> str:
        """Return the beginning of all keys of the feed and period, in any format, with or without a contents hash."""
        return self.key(prefix).removesuffix(f"tar.{self.format}")


def parse_key(key: str) -> tuple[str, BundleName]:
    """Return the prefix and the bundle that a store's key names. Raises ValueError when it is not a bundle's key."""
    match = _BUNDLE.fullmatch(key)
    name = BundleName(match[4], read_stamp(match[5]), match[6]) if match else None
    if match is None or name is None or not key.endswith(name.path):
        raise ValueError(f"no bundle's key (found {key[:200]!r})")
    return match[1] or "", name


def parse_revision(key: str) -> tuple[BundleName, int]:
    """Read the path of a local bundle below `bundles`, which ends in `.rN.tar.FORMAT`. Raises ValueError."""
    match = _REVISION.search(key)
    prefix, name = parse_key(_REVISION.sub("", key))
    if not match or prefix or not is_feed_name(name.feed):
        raise ValueError(f"no local bundle (found {key[:200]!r})")
    return name, int(match[1])


def manifest_name(feed: str, start: int, node: str) -> str:
    """Return the name of a node's manifest in a bundle; it is unique even when many bundles are unpacked together."""
    return f"{feed}-{write_stamp(start)}.manifest.{node}.jsonl"


def is_manifest_name(file_name: str) -> bool:
    """True for the name of a manifest."""
    return len(file_name) <= LONGEST_NAME and _MANIFEST.fullmatch(file_name) is not None
