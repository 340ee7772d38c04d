"""An S3 server that fails, loses answers, cuts them short or says no."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import ConfigError, Reject, Retry, Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import Conflict, Damaged, Store
from tests.stores.servers import BUCKET, Exchange, Proxy, S3Server

MB = 1024 * 1024
Trouble = Callable[[Exchange], None]


class Once:
    """Make trouble with the first `times` exchanges that match, then behave."""

    def __init__(self, trouble: Trouble, method: str = "", path_has: str = "", times: int = 1) -> None:
        self._trouble = trouble
        self._method = method
        self._path_has = path_has
        self.left = times

    def __call__(self, exchange: Exchange) -> None:
        if self.left and exchange.method.startswith(self._method) and self._path_has in exchange.path:
            self.left -= 1
            self._trouble(exchange)
        else:
            exchange.pass_on()


def lose_answer(exchange: Exchange) -> None:
    exchange.forward()
    exchange.hang_up()


def refuse(status: int, code: str) -> Trouble:
    return lambda exchange: exchange.refuse(status, code)


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


def test_a_creation_whose_answer_was_lost_is_no_conflict_with_oneself(proxy: Proxy, troubled: Store) -> None:
    proxy.trouble = Once(lose_answer, "PUT")

    tag = troubled.put("key", b"mine", if_absent=True)

    assert troubled.get("key") == (b"mine", tag)
    assert [line.split()[0] for line in proxy.seen][:3] == ["PUT", "PUT", "HEAD"]


def test_a_replacement_whose_answer_was_lost_is_no_conflict_with_oneself(proxy: Proxy, troubled: Store) -> None:
    first = troubled.put("key", b"first")
    proxy.trouble = Once(lose_answer, "PUT")

    tag = troubled.put("key", b"second", if_tag=first)

    assert troubled.get("key") == (b"second", tag)


def test_equal_content_written_by_somebody_else_is_a_conflict(troubled: Store) -> None:
    troubled.put("key", b"same")

    with pytest.raises(Conflict):
        troubled.put("key", b"same", if_absent=True)


def test_the_end_of_an_upload_in_parts_may_be_lost_too(
    proxy: Proxy, in_parts: Store, moto: S3Server, prefix: str
) -> None:
    body = body_in_parts()
    proxy.trouble = Once(lose_answer, "POST", "uploadId=")

    tag = in_parts.put("key", body, if_absent=True)

    assert in_parts.get("key") == (body, tag)
    assert uploads_left(moto, prefix) == []


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests"), (400, "RequestTimeout")]
)
def test_passing_faults_are_ridden_out(proxy: Proxy, troubled: Store, status: int, code: str) -> None:
    proxy.trouble = Once(refuse(status, code), times=2)

    troubled.put("key", b"x" * 100_000)

    proxy.trouble = Once(refuse(status, code), times=2)
    assert troubled.get("key")[0] == b"x" * 100_000


@pytest.mark.parametrize("trouble", [Exchange.hang_up, refuse(503, "SlowDown"), refuse(500, "InternalError")])
def test_lasting_faults_make_the_store_unavailable_after_a_few_attempts(
    proxy: Proxy, troubled: Store, trouble: Trouble
) -> None:
    proxy.trouble = trouble

    with pytest.raises(Unavailable, match="key"):
        troubled.put("key", b"x")

    assert len(proxy.seen) == 4


def test_a_server_that_is_not_there_is_unavailable(moto: S3Server, prefix: str) -> None:
    with socket.socket() as nobody:
        # bound but not listening: nobody else can take the port meanwhile
        nobody.bind(("127.0.0.1", 0))
        endpoint_url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        store = open_store(**{**moto.options(prefix), "endpoint_url": endpoint_url})

        with pytest.raises(Unavailable, match="connect"):
            store.head("key")


def test_a_server_that_does_not_answer_is_given_up(proxy: Proxy, troubled: Store, prefix: str) -> None:
    answered: list[str] = []

    def hang(exchange: Exchange) -> None:
        answered.append(exchange.method)
        if len(answered) == 1:
            exchange._handler.rfile.read(1)  # until the client hangs up
        else:
            exchange.pass_on()

    troubled.put("key", b"x")
    proxy.trouble = hang

    # short, as it has to pass; and long enough for an answer of a machine that is busy
    assert open_store(**proxy.options(prefix), timeout=3.0).get("key")[0] == b"x"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", Unavailable),
        (403, "InvalidAccessKeyId", Unavailable),
        (400, "ExpiredToken", Unavailable),
        (404, "NoSuchBucket", Unavailable),
        (400, "EntityTooLarge", Reject),
        (501, "NotImplemented", Reject),
        (400, "SomethingNew", Retry),
    ],
)
def test_what_repeating_does_not_help_is_not_repeated(
    proxy: Proxy, troubled: Store, status: int, code: str, error: type[Exception]
) -> None:
    proxy.trouble = refuse(status, code)

    with pytest.raises(error, match=code) as caught:
        troubled.put("key", b"x")

    assert type(caught.value) is error
    assert len(proxy.seen) == 1


def test_what_an_operator_must_mend_is_waited_for_longer(proxy: Proxy, troubled: Store) -> None:
    proxy.trouble = refuse(403, "AccessDenied")

    with pytest.raises(Unavailable) as caught:
        troubled.get("key")

    assert caught.value.pause_s == 60


def test_wrong_credentials_are_refused_by_a_server_that_checks(seaweedfs: S3Server, prefix: str) -> None:
    store = open_store(**{**seaweedfs.options(prefix), "secret_key": "not-the-secret"})

    with pytest.raises(Unavailable, match="SignatureDoesNotMatch") as caught:
        store.put("key", b"x")

    assert "not-the-secret" not in str(caught.value)


def test_a_concurrent_write_that_s3_reports_as_409_is_a_conflict(proxy: Proxy, troubled: Store) -> None:
    proxy.trouble = Once(refuse(409, "ConditionalRequestConflict"), "PUT")

    with pytest.raises(Conflict):
        troubled.put("key", b"x", if_absent=True)


def test_if_match_on_a_missing_key_is_a_conflict_whether_404_or_412(proxy: Proxy, troubled: Store) -> None:
    for status, code in ((404, "NoSuchKey"), (412, "PreconditionFailed")):
        proxy.trouble = Once(refuse(status, code), "PUT")

        with pytest.raises(Conflict):
            troubled.put("key", b"x", if_tag='"gone"')


def test_a_download_that_breaks_off_is_continued(proxy: Proxy, troubled: Store) -> None:
    body = os.urandom(3 * MB)
    troubled.put("key", body)

    def cut(exchange: Exchange) -> None:
        response = exchange.forward()
        exchange.answer(response.status, response.getheaders(), response.content, cut_at=MB)  # type: ignore[attr-defined]

    proxy.trouble = Once(cut, "GET", times=2)
    proxy.seen.clear()

    assert troubled.get("key")[0] == body
    assert len(proxy.seen) == 3


def test_a_download_is_not_continued_with_another_state(proxy: Proxy, troubled: Store) -> None:
    troubled.put("key", b"a" * 3 * MB)

    def replace_and_cut(exchange: Exchange) -> None:
        response = exchange.forward()
        proxy.trouble = Exchange.pass_on
        troubled.put("key", b"b" * 3 * MB)
        exchange.answer(response.status, response.getheaders(), response.content, cut_at=MB)  # type: ignore[attr-defined]

    proxy.trouble = Once(replace_and_cut, "GET")

    with pytest.raises(Conflict):
        troubled.get("key")


def test_bytes_that_changed_on_the_way_are_found_out(proxy: Proxy, troubled: Store) -> None:
    troubled.put("key", b"what was written")

    def spoil(exchange: Exchange) -> None:
        response = exchange.forward()
        exchange.answer(response.status, response.getheaders(), b"what was WRITTEN")

    proxy.trouble = Once(spoil, "GET")

    with pytest.raises(Damaged):
        troubled.get("key")


def test_bytes_that_changed_on_the_way_up_are_refused_and_sent_again(seaweedfs: S3Server, prefix: str) -> None:
    def spoil(exchange: Exchange) -> None:
        exchange.body = b"WHAT" + exchange.body[4:]
        exchange.headers = {
            name: value for name, value in exchange.headers.items() if name.lower() != "x-amz-content-sha256"
        }
        exchange.pass_on()

    with Proxy(seaweedfs) as proxy:
        store = open_store(**proxy.options(prefix))
        proxy.trouble = Once(spoil, "PUT")
        with pytest.raises((Retry, Unavailable)):
            store.put("key", b"what was written")

    assert open_store(**seaweedfs.options(prefix)).head("key") is None


def test_a_listing_goes_over_more_than_one_page(proxy: Proxy, troubled: Store) -> None:
    keys = [f"many/{number:02}" for number in range(25)]
    for key in keys:
        troubled.put(key, b"")

    def in_small_pages(exchange: Exchange) -> None:
        # moto checks no signature: the question may be another one
        exchange.path += "&max-keys=10"
        exchange.pass_on()

    proxy.trouble = in_small_pages
    proxy.seen.clear()

    assert sorted(info.key for info in troubled.list("many/")) == keys
    assert len(proxy.seen) == 3


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


def test_credentials_come_from_the_environment_when_none_are_given(
    seaweedfs: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = seaweedfs.options(prefix)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["secret_key"])

    store = open_store(given["url"], endpoint_url=given["endpoint_url"])

    assert store.put("key", b"x") == (store.head("key") or pytest.fail("missing")).tag


def test_credentials_come_from_a_profile(
    seaweedfs: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = seaweedfs.options(prefix)
    (tmp_path / "credentials").write_text(
        f"[tester]\naws_access_key_id={given['access_key']}\naws_secret_access_key={given['secret_key']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    store = open_store(given["url"], endpoint_url=given["endpoint_url"], profile="tester")

    assert store.put("key", b"x")
    with pytest.raises(ConfigError, match="nobody"):
        open_store(given["url"], endpoint_url=given["endpoint_url"], profile="nobody")


def test_connections_are_kept(moto: S3Server, prefix: str) -> None:
    clients: set[Any] = set()

    def note(exchange: Exchange) -> None:
        clients.add(exchange._handler.client_address)
        exchange.pass_on()

    with Proxy(moto) as proxy:
        proxy.trouble = note
        store = open_store(**proxy.options(prefix))
        for number in range(10):
            store.put(f"key{number}", json.dumps(number).encode())
            store.get(f"key{number}")
        store.close()

    assert len(clients) == 1
