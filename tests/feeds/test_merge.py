"""The union of bundles is the same to the byte in every order, grouping, repetition and format."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.feeds.bundle.bundles import read_bundle
from aggregator.feeds.bundle.compression import BadBundle
from aggregator.feeds.bundle.manifest import BadManifest, Tick
from aggregator.feeds.bundle.merge import merge_bundles
from aggregator.feeds.naming.bundles import FORMATS
from tests.feeds.bundles import HOUR, MemoryBody, body, bundle, contents, manifest, subway_bodies

SCRATCH = Path(tempfile.gettempdir())


def merge(*sources: bytes, format_name: str = "zst") -> bytes:
    target = io.BytesIO()
    merge_bundles(target, map(io.BytesIO, sources), SCRATCH, format_name)
    return target.getvalue()


# Few moments and few contents, so that every kind of clash comes up: same and other bytes under one timestamp, plain
# here and a variant there, a foreign name.
BODIES = st.builds(
    body, st.integers(HOUR, HOUR + 2), st.sampled_from([b"", b"one", b"two", b"three"]), is_variant=st.booleans()
) | st.builds(MemoryBody, st.sampled_from(["notes", "a.tar.gz"]), st.sampled_from([b"x", b"y"]), st.integers(1, 3))
TICKS = st.builds(Tick, planned_ms=st.integers(1, 3), outcome=st.sampled_from(["ok", "failed", "missed"]))
MANIFESTS = st.builds(manifest, st.sampled_from(["n1", "n2"]), st.lists(TICKS, max_size=3))
BUNDLES = st.builds(bundle, st.lists(BODIES, max_size=5), st.lists(MANIFESTS, max_size=2), st.sampled_from(FORMATS))


@given(BUNDLES, BUNDLES)
def test_merging_is_commutative(one: bytes, two: bytes) -> None:
    assert merge(one, two) == merge(two, one)


@given(BUNDLES, BUNDLES, BUNDLES)
def test_merging_is_associative(one: bytes, two: bytes, three: bytes) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) == merge(one, two, three)


@given(BUNDLES, BUNDLES)
def test_merging_is_idempotent(one: bytes, two: bytes) -> None:
    union = merge(one, two)
    assert merge(union, union) == merge(union, one) == merge(two, union, two) == merge(union) == union


@given(BUNDLES, BUNDLES, st.sampled_from(FORMATS))
def test_nothing_is_lost_or_made_up(one: bytes, two: bytes, format_name: str) -> None:
    union = contents(merge(one, two, format_name=format_name))
    assert set(union.values()) == {*contents(one).values(), *contents(two).values()}


@given(st.lists(BODIES, max_size=5))
def test_a_bundle_merged_alone_is_itself(bodies: list[MemoryBody]) -> None:
    made = bundle(bodies, [manifest("n1", [])])
    assert merge(made) == made


def test_two_nodes_that_saw_parts_of_an_hour_give_the_whole() -> None:
    captures = subway_bodies()
    ok, failed = Tick(planned_ms=HOUR * 1000, outcome="ok"), Tick(planned_ms=HOUR * 1000, outcome="failed")
    one = bundle(captures[:8], [manifest("n1", [ok])])
    two = bundle(captures[5:], [manifest("n2", [failed])], "xz")
    union = merge(one, two)
    assert union == bundle(captures, [manifest("n1", [ok]), manifest("n2", [failed])])
    assert [m.ticks for m in read_bundle(io.BytesIO(union)).manifests] == [(ok,), (failed,)]


def test_nodes_that_saw_different_bytes_first_agree_on_one_of_them() -> None:
    first = bundle([body(HOUR, b"one"), body(HOUR, b"two", is_variant=True)])
    second = bundle([body(HOUR, b"two"), body(HOUR, b"one", is_variant=True)])
    assert contents(merge(first, second)) == {
        "nyct-2024-02-08T120000Z-7692c3ad.pb": b"one",
        "nyct-2024-02-08T120000Z.pb": b"two",
    }


def test_an_archive_of_the_old_program_is_merged() -> None:
    captures, target = subway_bodies()[:2], io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:bz2") as old:
        entry = tarfile.TarInfo(captures[0].name)
        entry.size, entry.mtime, entry.uname = len(captures[0].data), 1, "somebody"
        old.addfile(entry, io.BytesIO(captures[0].data))
    assert merge(bundle(captures[1:]), target.getvalue()) == bundle(captures)


def test_bundles_of_different_feeds_are_not_merged() -> None:
    with pytest.raises(BadManifest, match="different bundles"):
        merge(bundle([], [manifest("n1", [])]), bundle([], [manifest("n1", [], feed="wmata")]))


def test_one_broken_source_stops_the_merge(tmp_path: Path) -> None:
    whole = bundle(subway_bodies()[:2])
    with pytest.raises(BadBundle):
        merge_bundles(io.BytesIO(), [io.BytesIO(whole), io.BytesIO(whole[:-100])], tmp_path)
    assert list(tmp_path.iterdir()) == []
