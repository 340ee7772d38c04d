"""The options of a section `[store_NAME]`: where archives are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple
from urllib.parse import unquote, urlsplit

from aggregator.config.settings import Bounds, Doc, Duration, Kind, SafeName, Settings, Size, Text, WebUrl
from aggregator.stores.store import fault_of_key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


class Location(NamedTuple):
    """Where a store is: a folder's path, or a bucket and a prefix in it."""

    bucket: str
    """Empty for a folder."""
    path: str


def parse_place(url: str) -> Location:
    """Return what a store's URL means. Raises ValueError."""
    scheme, host, path, query, fragment = urlsplit(url.strip())
    if scheme == "file" and host in ("", "localhost") and path.strip("/") and not query and not fragment:
        return Location("", unquote(path))
    prefix = path.strip("/")
    if scheme != "s3" or not _BUCKET.fullmatch(host) or query or fragment or (prefix and fault_of_key(prefix)):
        raise ValueError
    return Location(host, prefix)


def _parse_url(text: str) -> str:
    parse_place(text)
    return text.strip()


StoreUrl = Annotated[str, Kind("store", _parse_url, "file:///an/absolute/path or s3://bucket/prefix")]


class StoreSettings(Settings, frozen=True, kw_only=True):
    """[store_NAME]: a folder or an S3 bucket for archives."""

    url: Annotated[StoreUrl, Doc("where objects are kept")]
    endpoint_url: Annotated[WebUrl | None, Doc("the S3 server, when it is not Amazon's")] = None
    region: Annotated[SafeName | None, Doc("the bucket's region; without it AWS_DEFAULT_REGION or the profile's")] = (
        None
    )
    access_key: Annotated[
        Text | None, Doc("whom the store knows us as; without it the usual AWS environment, profile or role is used")
    ] = None
    secret_key: Annotated[Text | None, Doc("the secret of access_key; take it from %(ENV_NAME)s")] = None
    profile: Annotated[SafeName | None, Doc("a profile of ~/.aws/config to use, also one that takes a role")] = None
    multipart: Annotated[
        Size | None,
        Doc(
            "objects larger than this are sent in parts; without it 64MB at Amazon's, and elsewhere what no single "
            "request can hold, as not every server keeps racing writers apart when they send parts"
        ),
        Bounds(5 * 1024**2, 5 * 1024**3),
    ] = None
    timeout: Annotated[Duration, Doc("how long to wait for an answer of the S3 server"), Bounds(1, 3600)] = 60.0


def faults_of(settings: StoreSettings) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for what only shows when options are read together."""
    if not parse_place(settings.url).bucket:
        for name in ("endpoint_url", "region", "access_key", "secret_key", "profile"):
            if getattr(settings, name) is not None:
                yield name, "means nothing to a folder; allowed: only with url = s3://..."
    if (settings.access_key is None) != (settings.secret_key is None):
        given = "access_key" if settings.secret_key is None else "secret_key"
        yield given, "access_key and secret_key go together; allowed: both or none"
    if settings.access_key is not None and settings.profile is not None:
        yield "profile", "access_key is given too; allowed: one of them"
