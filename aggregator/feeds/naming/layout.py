"""Where the data of feeds lies and what it is called, on this disk and in a store. All times are UTC.

    downloads/NAME/NAME-yyyy-mm-ddThhmmss.mmmZ-HASH8.EXT        what a tick brought, named by when it was planned
    publications/NAME/yyyy-mm-ddThhmmssZ/PUBLICATION            the folder is named by the start of its bundle
    rejected/NAME/NAME-yyyy-mm-ddThhmmss.mmmZ.EXT, ….json       corrupt downloads; reason and headers
    bundles/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.tar.FORMAT    in a store the same below PREFIX
    newest/NAME.json                                            of feeds without a clock: what came last

A PUBLICATION is `NAME-yyyy-mm-ddThhmmssZ.EXT`, by the second of its timestamp. Other bytes under the same timestamp lie
beside it as `NAME-yyyy-mm-ddThhmmssZ-HASH8.EXT`, HASH8 being how their SHA-256 begins (all 64 digits should two begin
alike).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timezone
from math import gcd
from pathlib import Path
from typing import Annotated, NamedTuple

from aggregator.config.settings import OptionType, parse_duration
from aggregator.feeds.reading.dates import YEAR_10000
from aggregator.stores.store import fault_of_key

DAY_S = 86_400
SHORTEST_BUNDLE_S = 60
FORMATS = ("zst", "bz2", "gz", "xz")

MAX_NAME_BYTES = 120
"""File names may have 255 bytes, and ours add a time, a hash, an extension and `.part`."""

_STAMP = r"(\d{4}-\d\d-\d\dT\d{6}Z)"
LONGEST_NAME = 255
"""Of a file, as file systems have it. Expressions for names may take time that grows faster than they do."""
_EXTENSION = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_VARIANT = r"([0-9a-f]{8}|[0-9a-f]{64})"
_PUBLICATION = re.compile(rf"(.+)-{_STAMP}(?:-{_VARIANT})?\.({_EXTENSION.pattern})", re.ASCII | re.DOTALL)
_BUNDLE = re.compile(rf"(?:(.*)/)?(\d{{4}}-\d\d-\d\d)/(\d\d)/([^/]+)-{_STAMP}\.tar\.({'|'.join(FORMATS)})", re.ASCII)
_MANIFEST = re.compile(rf"(.+)-{_STAMP}\.manifest\.([A-Za-z0-9_.-]{{1,80}})\.jsonl", re.ASCII | re.DOTALL)
_NODE = re.compile(r"[A-Za-z0-9_.-]{1,80}", re.ASCII)
_DOWNLOAD = re.compile(r"(.+)-(\d{4}-\d\d-\d\dT\d{6})\.(\d{3})Z-([0-9a-f]{8})\.(.+)", re.ASCII | re.DOTALL)
_REVISION = re.compile(r"\.r(\d{1,9})(?=\.tar\.[a-z0-9]+$)", re.ASCII)
_LIKE_A_MANIFEST = re.compile(rf"-{_STAMP}\.manifest\.", re.ASCII)
"""What a feed's name must not have: its publications in JSON lines would be taken for manifests, and not be bundled."""


def parse_feed_name(text: str) -> str:
    """Return a feed's name when files can bear it everywhere. Raises ValueError."""
    name = unicodedata.normalize("NFC", text.strip())
    safe = name.isprintable() and not re.search(r'[/\\:*?"<>|]', name) and name[:1] not in ("", ".", "-")
    safe = safe and not name.endswith(".") and not _LIKE_A_MANIFEST.search(name)
    if not safe or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise ValueError
    return name


def is_feed_name(text: str) -> bool:
    """True for a feed's name as it stands in a configuration that was read."""
    try:
        return parse_feed_name(text) == text
    except ValueError:
        return False


def is_node_name(text: str) -> bool:
    """True for what `[aggregator] node` may say."""
    return _NODE.fullmatch(text) is not None


def parse_extension(text: str) -> str:
    """Return a file extension without its leading dot. Raises ValueError."""
    extension = text.strip().removeprefix(".")
    if len(extension) > 20 or not _EXTENSION.fullmatch(extension) or extension.split(".")[0] == "manifest":
        raise ValueError
    return extension


def parse_bundle_period(text: str) -> int:
    """Return the seconds that one bundle covers. Raises ValueError unless they divide a day."""
    seconds = parse_duration(text)
    if seconds < SHORTEST_BUNDLE_S or DAY_S % seconds:
        raise ValueError
    return int(seconds)


def parse_prefix(text: str) -> str:
    """Return what keys in a store begin with, without slashes around it. Raises ValueError."""
    prefix = text.strip().strip("/")
    if prefix and fault_of_key(prefix):
        raise ValueError
    return prefix


Extension = Annotated[str, OptionType("extension", parse_extension, "letters, digits, _ and single dots, such as pb")]
BundlePeriod = Annotated[
    int,
    OptionType("bundle period", parse_bundle_period, "a duration from 1m to 1d that divides a day, such as 1h or 10m"),
]
KeyPrefix = Annotated[str, OptionType("key prefix", parse_prefix, "names with single slashes between them, no . first")]


def write_stamp(seconds: float) -> str:
    """Return `yyyy-mm-ddThhmmssZ` for Unix seconds; fractions are cut off."""
    return _utc(int(seconds)).strftime("%Y-%m-%dT%H%M%SZ")


def read_stamp(text: str) -> int:
    """Return the Unix seconds of `yyyy-mm-ddThhmmssZ`. Raises ValueError."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp())


def bundle_start(published_at: float, period_s: int) -> int:
    """Return when the bundle begins that a publication belongs to."""
    return int(published_at) // period_s * period_s


def is_bundle_start(start: int) -> bool:
    """True when a bundle of any length may begin then: lengths divide a day and are a minute or more."""
    return gcd(start % DAY_S, DAY_S) >= SHORTEST_BUNDLE_S


class Publication(NamedTuple):
    """One publication of a feed, as its file name says it."""

    feed: str
    published_at: int
    extension: str
    variant: str = ""
    """How the hash begins of other bytes under the same timestamp."""

    @property
    def file_name(self) -> str:
        """The name of its file and of its member in a bundle."""
        variant = f"-{self.variant}" if self.variant else ""
        return f"{self.feed}-{write_stamp(self.published_at)}{variant}.{self.extension}"


def parse_publication(file_name: str) -> Publication:
    """Read a publication's file name. Raises ValueError when it is none."""
    match = _PUBLICATION.fullmatch(file_name) if len(file_name) <= LONGEST_NAME else None
    if not match or _MANIFEST.fullmatch(file_name):
        raise ValueError(f"no publication's file name (found {file_name[:200]!r})")
    return Publication(match[1], read_stamp(match[2]), match[4], match[3] or "")


class Download(NamedTuple):
    """One body that a tick brought, as its file name says it."""

    feed: str
    planned_ms: int
    hash8: str
    """How the SHA-256 of the body begins."""
    extension: str


def parse_download(file_name: str) -> Download:
    """Read the file name of a download. Raises ValueError when it is none."""
    match = _DOWNLOAD.fullmatch(file_name)
    if not match or not is_feed_name(match[1]):
        raise ValueError(f"no download's file name (found {file_name[:200]!r})")
    planned_ms = read_stamp(f"{match[2]}Z") * 1000 + int(match[3])
    return Download(match[1], planned_ms, match[4], parse_extension(match[5]))


class BundleName(NamedTuple):
    """One feed and period, and the format it is stored in."""

    feed: str
    start: int
    format: str = "zst"

    @property
    def path(self) -> str:
        """Its path below `bundles` and, with the prefix before it, its key in a store."""
        moment = _utc(self.start)
        return f"{moment:%Y-%m-%d/%H}/{self.feed}-{write_stamp(self.start)}.tar.{self.format}"

    def key(self, prefix: str) -> str:
        """Return its key in a store."""
        return f"{prefix}/{self.path}" if prefix else self.path

    def stem(self, prefix: str) -> str:
        """Return what all keys of the feed and period begin with, in whatever format, also those with a mark."""
        return self.key(prefix).removesuffix(f"tar.{self.format}")


def parse_key(key: str) -> tuple[str, BundleName]:
    """Return the prefix and the bundle that a store's key names. Raises ValueError when it names none."""
    match = _BUNDLE.fullmatch(key)
    name = BundleName(match[4], read_stamp(match[5]), match[6]) if match else None
    if match is None or name is None or not key.endswith(name.path):
        raise ValueError(f"no bundle's key (found {key[:200]!r})")
    return match[1] or "", name


def parse_revision(key: str) -> tuple[BundleName, int]:
    """Read the path below `bundles` of a local bundle, which ends in `.rN.tar.FORMAT`. Raises ValueError."""
    match = _REVISION.search(key)
    prefix, name = parse_key(_REVISION.sub("", key))
    if not match or prefix or not is_feed_name(name.feed):
        raise ValueError(f"no local bundle (found {key[:200]!r})")
    return name, int(match[1])


def manifest_name(feed: str, start: int, node: str) -> str:
    """Return the name of a node's manifest in a bundle: unlike any other even when many are unpacked together."""
    return f"{feed}-{write_stamp(start)}.manifest.{node}.jsonl"


def is_publication_name(file_name: str) -> bool:
    """True for the name of a publication; another program's archive has others."""
    try:
        parse_publication(file_name)
    except ValueError:
        return False
    return True


def is_manifest_name(file_name: str) -> bool:
    """True for the name of a manifest."""
    return len(file_name) <= LONGEST_NAME and _MANIFEST.fullmatch(file_name) is not None


class FeedFolders:
    """The paths below the folder of an instance's feeds. Nothing here creates anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads = folder / "downloads"
        self.publications = folder / "publications"
        self.rejected = folder / "rejected"
        self.bundles = folder / "bundles"
        self.newest = folder / "newest"

    def all(self) -> tuple[Path, ...]:
        """Return the folder and those right below it, without which no stage of feeds can work."""
        return self.folder, self.downloads, self.publications, self.rejected, self.bundles, self.newest

    def download(self, feed: str, planned_ms: int, extension: str) -> Path:
        """Return the file of the tick planned for a moment, still without the hash of what came."""
        return self.downloads / feed / _tick_name(feed, planned_ms, extension)

    def reject(self, feed: str, planned_ms: int, extension: str) -> Path:
        """Return the file of a corrupt download; its reason goes beside it, with `.json` added."""
        return self.rejected / feed / _tick_name(feed, planned_ms, extension)

    def period(self, feed: str, start: int) -> Path:
        """Return the folder of the publications that make one bundle."""
        return self.publications / feed / write_stamp(start)

    def publication(self, publication: Publication, period_s: int) -> Path:
        """Return the file of a publication."""
        folder = self.period(publication.feed, bundle_start(publication.published_at, period_s))
        return folder / publication.file_name

    def bundle(self, name: BundleName) -> Path:
        """Return the file of a bundle."""
        return self.bundles / name.path


def _tick_name(feed: str, planned_ms: int, extension: str) -> str:
    stamp = write_stamp(planned_ms // 1000).removesuffix("Z")
    return f"{feed}-{stamp}.{planned_ms % 1000:03d}Z.{extension}"


def _utc(seconds: int) -> datetime:
    if not 0 <= seconds < YEAR_10000:
        raise ValueError(f"no time between 1970 and 9999 (found {seconds})")
    return datetime.fromtimestamp(seconds, timezone.utc)
