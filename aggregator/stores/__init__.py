"""Where archives are kept: a folder or an S3 bucket, behind one contract with conditional writes.

docs/stores.md tells users what each needs and promises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aggregator.errors import ConfigError
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.settings import StoreSettings, faults_of, parse_place
from aggregator.stores.store import Store

_MULTIPART_FROM = 64 * 1024**2


def open_store(url: str, **options: Any) -> Store:
    """Return the store at `file:///path` or `s3://bucket/prefix`; options are those of `StoreSettings`.

    Nothing is sent or written yet. Raises ConfigError for what can never work.
    """
    try:
        parse_place(url)
    except ValueError as error:
        raise ConfigError(f"bad store {url!r}; allowed: file:///an/absolute/path or s3://bucket/prefix") from error
    return open_configured(StoreSettings(url=url, **options))


def open_configured(settings: StoreSettings) -> Store:
    """Return the store that a section describes."""
    faults = [f"{option}: {fault}" for option, fault in faults_of(settings)]
    if faults:
        raise ConfigError(*faults)
    place = parse_place(settings.url)
    if not place.bucket:
        return DirectoryStore(Path(place.path))
    # only here: boto3 lives in memory only where objects are stored in S3
    from aggregator.stores.s3 import MAX_WHOLE_BYTES, S3Store
    from aggregator.stores.s3calls import connect_s3

    calls = connect_s3(
        place.bucket,
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
    return S3Store(calls, place.path, multipart_from)
