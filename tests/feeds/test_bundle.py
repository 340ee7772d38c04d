"""Bundles: the same bytes for the same contents, readable by tar, small, and safe to read."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import tarfile
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aggregator.feeds.bundle.bundles import check_contents, extract_bundle, read_bundle, save_bundle, write_bundle
from aggregator.feeds.bundle.compression import BadBundle, compressed, new_compressor
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.bundle.members import Member, arrange, file_body
from aggregator.feeds.naming.bundles import FORMATS
from tests.feeds.bundles import HOUR, body, bundle, contents, manifest, subway_bodies

LATE = HOUR + 3555
"""The first of the real captures."""


@pytest.mark.parametrize("format_name", FORMATS)
def test_real_captures_come_back_as_they_were_in_order_of_time(format_name: str) -> None:
    bodies = subway_bodies()
    data = bundle(reversed(bodies), [manifest("n1", [])], format_name)
    assert list(contents(data).items()) == [(each.name, each.data) for each in bodies]


@pytest.mark.parametrize("format_name", FORMATS)
def test_plain_tar_unpacks_a_bundle(format_name: str, tmp_path: Path) -> None:
    bodies = [*subway_bodies()[:3], body(LATE, b"a long name", feed="x" * 120)]
    file = tmp_path / f"b.tar.{format_name}"
    save_bundle(file, bodies, [manifest("n1", [])], format_name)
    # --zstd and the others need programs that a bare machine may lack, so Python's codecs feed a plain tar.
    tar = tmp_path / "plain.tar"
    tar.write_bytes(uncompressed(file.read_bytes()))
    run = subprocess.run(["tar", "-xf", tar, "-C", tmp_path], check=True, capture_output=True, text=True)
    assert run.stderr == ""
    assert [(tmp_path / each.name).read_bytes() for each in bodies] == [each.data for each in bodies]
    assert (tmp_path / bodies[0].name).stat().st_mtime == LATE


def uncompressed(data: bytes) -> bytes:
    """Return the tar in a bundle, by the codecs themselves and none of our code."""
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().decompress(data)
    return {b"BZ": bz2.decompress, b"\x1f\x8b": gzip.decompress, b"\xfd7": lzma.decompress}[data[:2]](data)


def test_a_bundle_says_how_large_it_is_inside() -> None:
    data = bundle(subway_bodies())
    assert zstandard.get_frame_parameters(data).content_size == len(uncompressed(data))


@pytest.mark.parametrize(
    ("level", "sha256"),
    [
        ("default", "b327b7ac673f483cf345377a38cb04b658ab5b5f5b3b5680a57f03f6ac6ad0fa"),
        ("small", "605b06067774a4c83767e03e5266671130fdfe57a3beba1b57392c1d315d25f8"),
    ],
)
def test_a_bundle_has_the_bytes_that_every_version_so_far_gave_it(level: str, sha256: str) -> None:
    assert hashlib.sha256(bundle(subway_bodies(), [manifest("n1", [])], level=level)).hexdigest() == sha256


@pytest.mark.parametrize("format_name", FORMATS)
def test_equal_contents_are_equal_bytes_whoever_writes_them(format_name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, order in ((first, 1), (second, -1)):
        folder.mkdir()
        for each in subway_bodies()[::order]:
            (folder / each.name).write_bytes(each.data)
            os.utime(folder / each.name, (order + 5, order + 5))
            (folder / each.name).chmod(0o640 if order == 1 else 0o600)
    results = [
        save_bundle(tmp_path / f"{folder.name}.tar", map(file_body, folder.iterdir()), [manifest("n", [])], format_name)
        for folder in (first, second)
    ]
    assert results[0] == results[1]
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


@given(cuts=st.lists(st.integers(0, 400_000), max_size=5), format_name=st.sampled_from(FORMATS))
def test_how_a_stream_arrives_does_not_show_in_its_bytes(cuts: list[int], format_name: str) -> None:
    data = b"".join(each.data for each in subway_bodies()[:3])
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]

    def whole(stream: list[bytes]) -> bytes:
        return b"".join(compressed(stream, new_compressor(format_name, "default", len(data), 140_000)))

    assert whole(pieces) == whole([data])


def test_the_same_contents_have_one_id_in_every_format_and_level() -> None:
    bodies, manifests = subway_bodies()[:2], [manifest("n1", [])]
    ids = {
        write_bundle(io.BytesIO(), bodies, manifests, format_name, level).contents_id  # type: ignore[arg-type]
        for format_name in FORMATS
        for level in ("default", "small")
    }
    assert ids == {read_bundle(io.BytesIO(bundle(bodies, manifests))).contents_id}
    assert write_bundle(io.BytesIO(), bodies).contents_id not in ids


def test_twelve_real_captures_take_less_room_than_with_bz2() -> None:
    """One capture in twelve is new to the compressor here, one in sixty in an hour: docs/feeds.md has the hour."""
    bodies = subway_bodies()
    ways = (("zst",), ("zst", "small"), ("xz",), ("xz", "small"), ("bz2",))
    *sizes, old = (len(bundle(bodies, (), *how)) for how in ways)
    assert [size < limit * old for size, limit in zip(sizes, (0.68, 0.56, 0.63, 0.49), strict=True)] == [True] * 4


class Endless:
    """A body of any size that is never in memory as a whole."""

    def __init__(self, name: str, size: int) -> None:
        self._block = bytes(range(256)) * 256
        self._count = size // len(self._block)
        digest = hashlib.sha256()
        for block in self.pieces():
            digest.update(block)
        self.member = Member(name, HOUR, self._count * len(self._block), digest.hexdigest())

    def pieces(self) -> Iterator[bytes]:
        for _ in range(self._count):
            yield self._block


def test_memory_does_not_grow_with_what_is_bundled() -> None:
    def peak(megabytes: int) -> int:
        big = Endless("nyct-2024-02-08T120000Z.pb", megabytes << 20)
        with tempfile.TemporaryFile() as target, tempfile.TemporaryFile() as spool:
            tracemalloc.start()
            write_bundle(target, [big])
            target.seek(0)
            read_bundle(target, spool)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most

    assert peak(64) < 1.1 * peak(8) + (1 << 20)


def test_other_bytes_under_the_same_timestamp_stand_beside_the_first() -> None:
    data = bundle([body(LATE, b"first"), body(LATE, b"second", is_variant=True), body(LATE, b"first")])
    assert contents(data) == {
        "nyct-2024-02-08T125915Z-16367aac.pb": b"second",
        "nyct-2024-02-08T125915Z.pb": b"first",
    }


def test_hashes_that_begin_alike_are_written_out() -> None:
    hashes = [f"ab12cd34{n:056d}" for n in range(2)]
    arranged = arrange([body(LATE, b"plain"), *map(Alias, hashes)])
    stem = "nyct-2024-02-08T125915Z"
    assert [member.name for member, _ in arranged] == [*(f"{stem}-{sha256}.pb" for sha256 in hashes), f"{stem}.pb"]


class Alias:
    """A variant that claims a hash which no test has the time to look for."""

    def __init__(self, sha256: str) -> None:
        self.member = Member(f"nyct-2024-02-08T125915Z-{sha256[:8]}.pb", LATE, 0, sha256)

    def pieces(self) -> Iterator[bytes]:
        yield b""


def test_a_publication_that_changes_while_it_is_bundled_is_found_out(tmp_path: Path) -> None:
    file = tmp_path / "nyct-2024-02-08T125915Z.pb"
    file.write_bytes(b"first")
    taken = file_body(file)
    file.write_bytes(b"other")
    with pytest.raises(BadBundle, match="changed while it was bundled"):
        save_bundle(tmp_path / "b.tar.zst", [taken])
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_tick_without_its_publication_is_a_problem() -> None:
    first = subway_bodies()[0].member
    ticks = [
        Tick(planned_ms=1, outcome="ok", sha256=first.sha256, size_bytes=first.size_bytes, header_ms=LATE * 1000),
        Tick(planned_ms=2, outcome="ok", sha256="f" * 64, header_ms=LATE * 1000),
        Tick(planned_ms=3, outcome="ok", sha256="e" * 64, header_ms=(HOUR - 1) * 1000),
        Tick(planned_ms=4, outcome="ok", sha256=first.sha256, size_bytes=1, header_ms=LATE * 1000),
    ]
    held = read_bundle(io.BytesIO(bundle(subway_bodies()[:1], [manifest("n1", ticks)])))
    assert check_contents(held) == [
        f"nyct-2024-02-08T120000Z.manifest.n1.jsonl: no member has the hash {'f' * 64} of tick 2",
        f"{first.name}: 132081 bytes, 1 in nyct-2024-02-08T120000Z.manifest.n1.jsonl",
    ]


def test_extracting_writes_every_member_with_its_time(tmp_path: Path) -> None:
    bodies = subway_bodies()[:2]
    paths = extract_bundle(io.BytesIO(bundle(bodies, [manifest("n1", [])])), tmp_path)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert {path.name: path.read_bytes() for path in paths[1:]} == {each.name: each.data for each in bodies}
    assert [int(path.stat().st_mtime) for path in paths] == [HOUR, LATE, LATE + 60]


def test_an_archive_of_another_program_is_read_by_the_last_part_of_its_names() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:bz2", format=tarfile.PAX_FORMAT) as archive:
        folder = tarfile.TarInfo("./feeds")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name in ("./feeds/1-2018-08-05T042300Z.gtfsrt", "é" * 70):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.uname = 5, 1533442980.5, 1000, "somebody"
            archive.addfile(info, io.BytesIO(b"12345"))
    assert contents(target.getvalue()) == {"1-2018-08-05T042300Z.gtfsrt": b"12345", "é" * 70: b"12345"}
