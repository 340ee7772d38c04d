"""Objects that go up in parts: whole or not at all, with nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregator.errors import Retry, Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import Conflict, Store
from tests.stores.servers import BUCKET, Exchange, Proxy, S3Server
from tests.stores.troubles import MB, Once, lose_answer, refuse


def body_in_parts(size: int = 6 * MB) -> bytes:
    return os.urandom(MB) * (size // MB)


@pytest.fixture
def in_parts(proxy: Proxy, prefix: str) -> Store:
    """A store behind the proxy that sends everything in parts."""
    return open_store(**proxy.options(prefix), multipart=0)


def uploads_left(server: S3Server, prefix: str) -> list[str]:
    """Return the multipart uploads that nobody ended."""
    client = server.client()
    found = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    client.close()
    return [upload["Key"] for upload in found]


def test_the_end_of_an_upload_in_parts_may_be_lost_too(
    proxy: Proxy, in_parts: Store, moto: S3Server, prefix: str
) -> None:
    body = body_in_parts()
    proxy.trouble = Once(lose_answer, "POST", "uploadId=")

    tag = in_parts.put("key", body, if_absent=True)

    assert in_parts.get("key") == (body, tag)
    assert uploads_left(moto, prefix) == []


def test_large_objects_go_up_in_parts_and_come_back_whole(moto: S3Server, prefix: str, tmp_path: Path) -> None:
    store = open_store(**moto.options(prefix), multipart=5 * MB)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(20 * MB))

    tag = store.put("large", path)

    assert tag.endswith('-2"')
    assert store.get("large") == (path.read_bytes(), tag)


def test_an_upload_in_parts_that_meets_a_conflict_leaves_nothing_behind(seaweedfs: S3Server, prefix: str) -> None:
    store = open_store(**seaweedfs.options(prefix), multipart=0)
    stale = store.put("key", b"first")
    store.put("key", b"second")

    for condition in ({"if_absent": True}, {"if_tag": stale}):
        with pytest.raises(Conflict):
            store.put("key", body_in_parts(), **condition)

    assert store.get("key")[0] == b"second"
    assert uploads_left(seaweedfs, prefix) == []


def test_an_upload_in_parts_that_fails_leaves_nothing_behind(
    proxy: Proxy, in_parts: Store, moto: S3Server, prefix: str
) -> None:
    proxy.trouble = Once(refuse(503, "SlowDown"), "PUT", "partNumber=", times=4)

    with pytest.raises(Unavailable):
        in_parts.put("key", body_in_parts())

    assert uploads_left(moto, prefix) == []
    assert in_parts.head("key") is None


def test_a_file_that_changes_while_it_is_sent_is_not_stored(proxy: Proxy, in_parts: Store, tmp_path: Path) -> None:
    path = tmp_path / "changing"
    path.write_bytes(b"a" * 6 * MB)

    def change(exchange: Exchange) -> None:
        path.write_bytes(b"b" * 6 * MB)
        exchange.pass_on()

    proxy.trouble = Once(change, "POST", "uploads")

    with pytest.raises(Retry, match="changed"):
        in_parts.put("key", path)

    assert in_parts.head("key") is None


def test_cleaning_ends_uploads_that_killed_writers_left_a_day_ago(moto: S3Server, prefix: str) -> None:
    client = moto.client()
    # moto's uploads all began in 2010
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/left")
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}-of-others/left")
    client.close()

    open_store(**moto.options(prefix)).clean()

    assert uploads_left(moto, prefix) == [f"{prefix}-of-others/left"]


def test_cleaning_spares_uploads_that_may_be_at_work(seaweedfs: S3Server, prefix: str) -> None:
    client = seaweedfs.client()
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/young")
    client.close()

    open_store(**seaweedfs.options(prefix)).clean()

    assert uploads_left(seaweedfs, prefix) == [f"{prefix}/young"]
