"""Stores that do not keep their word are found out before they are relied on."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Any

import pytest

from aggregator.errors import Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import Capabilities, Conflict, Store
from tests.stores.servers import Exchange, Proxy, S3Server, without_conditions


@pytest.mark.parametrize("kind", ["directory", "seaweedfs"])
def test_a_store_that_keeps_its_word_is_trusted(store: Store) -> None:
    assert store.probe() == Capabilities(conditional=True, conditional_delete=True, notices=())


@pytest.mark.parametrize("kind", ["directory", "moto", "seaweedfs"])
def test_probing_leaves_nothing_behind(store: Store) -> None:
    store.probe()

    assert list(store.list()) == []


def test_a_store_that_ignores_conditions_is_found_out(proxy: Proxy, troubled: Store) -> None:
    proxy.trouble = without_conditions("if-none-match", "if-match")

    found = troubled.probe()

    assert not found.conditional
    assert found.notices == (
        "conditional writes are not to be relied on: it creates what exists, it replaces what has changed, "
        "it replaces what is gone",
    )


@pytest.mark.parametrize(
    ("ignored", "told"), [("if-none-match", "it creates what exists"), ("if-match", "it replaces what has changed")]
)
def test_one_ignored_condition_is_enough(proxy: Proxy, troubled: Store, ignored: str, told: str) -> None:
    proxy.trouble = without_conditions(ignored)

    found = troubled.probe()

    assert not found.conditional
    assert told in found.notices[0]


def test_a_store_that_brings_back_what_is_gone_is_found_out(proxy: Proxy, troubled: Store) -> None:
    def like_minio_21526(exchange: Exchange) -> None:
        response = exchange.forward()
        if exchange.method == "PUT" and response.status == 404:
            exchange.headers.pop("If-Match")
            response = exchange.forward()
        exchange.answer(response.status, response.getheaders(), response.content)  # type: ignore[attr-defined]

    proxy.trouble = like_minio_21526

    assert troubled.probe().notices[0].endswith("it replaces what is gone")


def test_a_store_that_refuses_but_writes_all_the_same_is_found_out(proxy: Proxy, troubled: Store) -> None:
    def two_faced(exchange: Exchange) -> None:
        response = exchange.forward()
        if exchange.method == "PUT" and response.status == 412:
            exchange.headers = {n: v for n, v in exchange.headers.items() if not n.lower().startswith("if-")}
            exchange.forward()
        exchange.answer(response.status, response.getheaders(), response.content)  # type: ignore[attr-defined]

    proxy.trouble = two_faced

    assert not troubled.probe().conditional


def test_a_store_that_does_not_know_conditions_is_found_out(proxy: Proxy, troubled: Store) -> None:
    def unknowing(exchange: Exchange) -> None:
        if {"if-none-match", "if-match"} & {name.lower() for name in exchange.headers}:
            exchange.refuse(501, "NotImplemented")
        else:
            exchange.pass_on()

    proxy.trouble = unknowing

    found = troubled.probe()

    assert not found.conditional
    assert "NotImplemented" in found.notices[0]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "InvalidArgument"), (400, "InvalidRequest"), (405, "MethodNotAllowed"), (403, "AccessDenied")],
)
def test_a_store_that_refuses_conditions_in_any_words_is_written_without(
    proxy: Proxy, troubled: Store, status: int, code: str
) -> None:
    def refusing(exchange: Exchange) -> None:
        if exchange.method == "PUT" and {"if-none-match", "if-match"} & {name.lower() for name in exchange.headers}:
            exchange.refuse(status, code)
        else:
            exchange.pass_on()

    proxy.trouble = refusing

    found = troubled.probe()

    assert not found.conditional
    assert code in found.notices[0]
    assert [*troubled.list()] == []


def test_a_store_that_forbids_all_writes_is_waited_for(proxy: Proxy, troubled: Store) -> None:
    def forbidding(exchange: Exchange) -> None:
        if exchange.method == "PUT":
            exchange.refuse(403, "AccessDenied")
        else:
            exchange.pass_on()

    proxy.trouble = forbidding

    with pytest.raises(Unavailable, match="AccessDenied"):
        troubled.probe()


def test_a_store_that_refuses_conditional_deletions_in_any_words_is_found_out(proxy: Proxy, troubled: Store) -> None:
    def refusing(exchange: Exchange) -> None:
        if exchange.method == "DELETE" and "if-match" in {name.lower() for name in exchange.headers}:
            exchange.refuse(400, "InvalidArgument")
        else:
            exchange.pass_on()

    proxy.trouble = refusing

    assert not troubled.probe().conditional_delete


def test_large_objects_go_whole_where_conditions_fail_in_parts(moto: S3Server, prefix: str) -> None:
    store = open_store(**moto.options(prefix), multipart=1024)
    found = store.probe()
    stale = store.put("key", b"first")
    store.put("key", b"second")

    assert found.conditional
    assert found.notices[0].startswith("conditional writes in parts are not to be relied on")
    with pytest.raises(Conflict):
        store.put("key", os.urandom(4096), if_tag=stale)


def test_a_store_that_looks_first_and_writes_later_is_found_out(proxy: Proxy, troubled: Store) -> None:
    looks: Counter[str] = Counter()
    looked = threading.Condition()

    def look_then_write(exchange: Exchange) -> None:
        conditions = {
            name: exchange.headers.pop(name) for name in ("If-Match", "If-None-Match") if name in exchange.headers
        }
        if exchange.method == "PUT" and conditions:
            look = exchange.forward(method="HEAD")
            holds = (
                look.status == 404 if "If-None-Match" in conditions else look.headers["ETag"] == conditions["If-Match"]
            )
            if not holds:
                exchange.refuse(412, "PreconditionFailed")
                return
            # racers write a number each; none writes before two of them have looked
            if exchange.body.isdigit():
                with looked:
                    looks[str(conditions)] += 1
                    looked.notify_all()
                    looked.wait_for(lambda: looks[str(conditions)] > 1, 30)
        exchange.pass_on()

    proxy.trouble = look_then_write

    found = troubled.probe()

    assert not found.conditional
    assert "several racing writers" in found.notices[0]


def test_a_store_that_is_away_is_not_taken_for_a_bad_one(proxy: Proxy, troubled: Store) -> None:
    proxy.trouble = Exchange.hang_up

    with pytest.raises(Unavailable):
        troubled.probe()


def test_keys_of_killed_probes_are_removed_by_a_later_one(tmp_path: Any) -> None:
    store = open_store(f"file://{tmp_path}")
    store.put("aggregator-probe-old", b"x")
    store.put("aggregator-probe-young", b"x")
    os.utime(tmp_path / "aggregator-probe-old", (0, 0))

    store.probe()

    assert [info.key for info in store.list()] == ["aggregator-probe-young"]


def test_a_missing_bucket_is_named(moto: S3Server, prefix: str) -> None:
    store = open_store(**{**moto.options(prefix), "url": "s3://no-such-bucket/here"})

    with pytest.raises(Unavailable, match=r"no-such-bucket.*NoSuchBucket"):
        store.probe()
