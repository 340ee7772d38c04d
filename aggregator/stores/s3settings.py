"""An S3 bucket in the configuration: its options, and how it is opened.

boto3 is imported only when a bucket is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from aggregator.config.settings import Bounds, Doc, Duration, SafeName, Size, Text, WebUrl
from aggregator.stores.settings import StoreSettings
from aggregator.stores.store import Store, fault_of_key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_MULTIPART_FROM = 64 * 1024**2


class Bucket(NamedTuple):
    """A bucket, and the prefix of all keys in it; an empty prefix means the whole bucket."""

    name: str
    prefix: str


def parse_bucket(url: str) -> Bucket:
    """Return the bucket and prefix that a URL `s3://bucket/prefix` names. Raises ValueError for any other URL."""
    _, host, path, query, fragment = urlsplit(url.strip())
    prefix = path.strip("/")
    if not _BUCKET.fullmatch(host) or query or fragment or (prefix and fault_of_key(prefix)):
        raise ValueError
    return Bucket(host, prefix)


class S3Settings(StoreSettings, frozen=True, kw_only=True):
    """[store_NAME] with url = s3://...: a bucket for archives."""

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


class S3Kind:
    """The `StoreKind` of buckets."""

    noun = "an S3 bucket"
    settings = S3Settings
    ignores = ()

    def check_url(self, url: str) -> None:
        """Raise ValueError for a URL that names no bucket."""
        parse_bucket(url)

    def faults_of(self, settings: S3Settings) -> Iterator[tuple[str, str]]:
        """Yield (option, fault) for faults that show only when options are read together."""
        if (settings.access_key is None) != (settings.secret_key is None):
            given = "access_key" if settings.secret_key is None else "secret_key"
            yield given, "access_key and secret_key go together; allowed: both or none"
        if settings.access_key is not None and settings.profile is not None:
            yield "profile", "access_key is given too; allowed: one of them"

    def open(self, settings: S3Settings) -> Store:
        """Return the store."""
        # imported here, so that boto3 is in memory only where objects are stored in S3
        from aggregator.stores.s3 import MAX_WHOLE_BYTES, S3Store
        from aggregator.stores.s3calls import connect_s3

        bucket = parse_bucket(settings.url)
        calls = connect_s3(
            bucket.name,
            endpoint_url=settings.endpoint_url,
            region=settings.region,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            profile=settings.profile,
            timeout_s=settings.timeout,
        )
        multipart_from = settings.multipart
        if multipart_from is None:
            # SeaweedFS 4.48 let up to six racing writers complete uploads bound to one tag; it keeps whole writes apart
            multipart_from = MAX_WHOLE_BYTES if settings.endpoint_url else _MULTIPART_FROM
        return S3Store(calls, bucket.prefix, multipart_from)


KIND = S3Kind()
