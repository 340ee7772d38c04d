"""Answers that are lost or late: what was written is no conflict with oneself."""

from __future__ import annotations

import pytest

from aggregator.stores.store import Conflict, Store
from tests.stores.servers import Proxy
from tests.stores.troubles import Once, lose_answer, refuse


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


def test_a_concurrent_write_that_s3_reports_as_409_is_a_conflict(proxy: Proxy, troubled: Store) -> None:
    proxy.trouble = Once(refuse(409, "ConditionalRequestConflict"), "PUT")

    with pytest.raises(Conflict):
        troubled.put("key", b"x", if_absent=True)


def test_if_match_on_a_missing_key_is_a_conflict_whether_404_or_412(proxy: Proxy, troubled: Store) -> None:
    for status, code in ((404, "NoSuchKey"), (412, "PreconditionFailed")):
        proxy.trouble = Once(refuse(status, code), "PUT")

        with pytest.raises(Conflict):
            troubled.put("key", b"x", if_tag='"gone"')
