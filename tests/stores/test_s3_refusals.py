"""A server that fails or says no: what passes is ridden out, what lasts is told."""

from __future__ import annotations

import socket

import pytest

from aggregator.errors import Reject, Retry, Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.stores.servers import Exchange, Proxy, S3Server
from tests.stores.troubles import Once, Trouble, refuse


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
