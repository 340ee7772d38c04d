"""Bytes that break off or change on the way, listings of many pages, and kept connections."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from aggregator.errors import Retry, Unavailable
from aggregator.stores import open_store
from aggregator.stores.store import Conflict, Damaged, Store
from tests.stores.servers import Exchange, Proxy, S3Server
from tests.stores.troubles import MB, Once


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
