"""Manifests keep every tick, are the same bytes for the same contents, and unite in any order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.feeds.bundle.manifest import (
    OUTCOMES,
    BadManifest,
    Manifest,
    Tick,
    decode_manifest,
    encode_manifest,
    make_manifest,
    source_name,
    unite_manifests,
)
from tests.feeds.bundles import HOUR, manifest

TICKS = st.builds(
    Tick,
    planned_ms=st.integers(HOUR * 1000, HOUR * 1000 + 6),
    outcome=st.sampled_from(OUTCOMES),
    started_ms=st.none() | st.integers(0, 2),
    status=st.sampled_from([None, 200, 304, 503]),
    flags=st.sampled_from([(), ("backwards",)]),
    error=st.sampled_from(["", "timeout", "Zeitüberschreitung\n"]),
)


def _manifest(node: str, ticks: list[Tick], instance: str, elsewhere: list[Tick]) -> Manifest:
    header = msgspec.structs.replace(
        manifest(node, []).header, instance=instance or msgspec.UNSET, elsewhere=tuple(elsewhere) or msgspec.UNSET
    )
    return make_manifest(header, ticks)


MANIFESTS = st.builds(
    _manifest,
    st.sampled_from(["a", "b.example.org"]),
    st.lists(TICKS, max_size=8),
    st.sampled_from(["", "0123456789ab", "c"]),
    st.lists(TICKS, max_size=3),
)


@given(MANIFESTS)
def test_a_manifest_is_read_back_as_it_was(one: Manifest) -> None:
    assert decode_manifest(encode_manifest(one)) == one


@given(MANIFESTS, MANIFESTS, MANIFESTS)
def test_manifests_unite_in_any_order_and_grouping(one: Manifest, two: Manifest, three: Manifest) -> None:
    together = unite_manifests([one, two, three])
    assert unite_manifests([three, one, two, one]) == together
    assert unite_manifests([*unite_manifests([three, two]), one]) == together
    assert unite_manifests(together) == together


def test_a_manifest_is_lines_of_json_without_what_is_unknown() -> None:
    ticks = [
        Tick(planned_ms=HOUR * 1000 + 14000, outcome="failed", error="no answer within 10 s"),
        Tick(planned_ms=HOUR * 1000, outcome="ok", status=200, size_bytes=3, sha256="ab"),
    ]
    assert encode_manifest(manifest("n1", ticks)).decode() == (
        '{"manifest":1,"feed":"nyct","start":"2024-02-08T120000Z","node":"n1","period_s":3600,"tick_ms":14000,'
        '"url":""}\n'
        '{"planned_ms":1707393600000,"outcome":"ok","status":200,"size_bytes":3,"sha256":"ab"}\n'
        '{"planned_ms":1707393614000,"outcome":"failed","error":"no answer within 10 s"}\n'
    )


def test_the_outcome_that_proves_more_stands_for_a_tick_recorded_twice() -> None:
    missed, ok = (Tick(planned_ms=1, outcome=outcome) for outcome in ("missed", "ok"))
    assert manifest("n1", [missed, ok]).ticks == manifest("n1", [ok, missed]).ticks == (ok,)


def test_every_outcome_is_counted() -> None:
    counted = manifest("n1", [Tick(planned_ms=n, outcome=o) for n, o in enumerate(("ok", "same", "ok"))]).outcomes()
    assert counted == {**dict.fromkeys(OUTCOMES, 0), "ok": 2, "same": 1}


def test_nodes_are_kept_apart() -> None:
    assert [m.header.node for m in unite_manifests([manifest("b", []), manifest("a", []), manifest("b", [])])] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("node", ["here", "n" * 80])
def test_two_instances_with_one_nodes_name_have_names_that_older_versions_keep_apart(node: str) -> None:
    names = [source_name(node, instance) for instance in ("0123456789abcdef", "fedcba9876543210", "")]

    assert len(set(names)) == 3 and names[2] == node
    assert all(len(name) <= 80 and name.startswith(node[:71]) for name in names)


def test_manifests_of_different_bundles_do_not_unite() -> None:
    with pytest.raises(BadManifest, match="different bundles"):
        unite_manifests([manifest("a", []), manifest("a", [], feed="wmata")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        b'{"manifest":1,"feed":"nyct","start":"2024-02-08T120000Z","node":"n1","period_s":3600}\n{"planned_ms":1}\n',
        b'{"manifest":2,"feed":"nyct","start":"2024-02-08T120000Z","node":"n1","period_s":3600}\n',
        b'{"manifest":1,"feed":"../x","start":"2024-02-08T120000Z","node":"n1","period_s":3600}\n',
        b'{"manifest":1,"feed":"nyct","start":"soon","node":"n1","period_s":3600}\n',
        b'{"manifest":1,"feed":"nyct","start":"2024-02-08T120000Z","node":"a/b","period_s":3600}\n',
        b'{"manifest":1,"feed":"nyct","start":"2024-02-08T120000Z","node":"n1","period_s":3600}\n{"planned_ms":1,"out',
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        decode_manifest(data)


def test_fields_of_later_versions_are_passed_over() -> None:
    data = encode_manifest(manifest("n1", [])) + b'{"planned_ms":1,"outcome":"ok","colour":"blue"}\n'
    assert decode_manifest(data).ticks == (Tick(planned_ms=1, outcome="ok"),)
