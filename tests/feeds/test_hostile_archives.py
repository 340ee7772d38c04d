"""Archives made to harm: each is refused, in bounded memory, and nothing is written outside the target."""

from __future__ import annotations

import io
import lzma
import random
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aggregator.feeds.bundle.bundles import extract_bundle, read_bundle
from aggregator.feeds.bundle.compression import BadBundle, Decompressed, compressed, new_compressor
from aggregator.feeds.bundle.manifest import Header, Manifest, encode_manifest
from aggregator.feeds.bundle.tarstream import END, Limits, padding, tar_header
from aggregator.feeds.naming.bundles import FORMATS
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.feeds.query.catalogue import manifests_in
from tests.feeds.bundles import HOUR, bundle, manifest, subway_bodies
from tests.feeds.captures import capture


def tar_of(*infos: tarfile.TarInfo, data: bytes = b"") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(data * info.size))
    return target.getvalue()


def compress(data: bytes, format_name: str) -> bytes:
    return b"".join(compressed([data], new_compressor(format_name, "default", len(data), len(data))))


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def with_header(**fields: bytes) -> bytes:
    """Return an archive whose only header has some of its bytes replaced and the checksum set right."""
    block = bytearray(info("file").tobuf(tarfile.GNU_FORMAT))
    for field, value in fields.items():
        start = {"size": 124, "kind": 156}[field]
        block[start : start + len(value)] = value
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return zstandard.compress(bytes(block) + bytes(1024))


PAX_SIZE = b"17 size=99999999\n"

HOSTILE = {
    "climbs": tar_of(info("../evil", size=1), data=b"x"),
    "climbs inside": tar_of(info("a/../../evil", size=1), data=b"x"),
    "absolute": tar_of(info("/tmp/evil", size=1), data=b"x"),
    "hidden": tar_of(info(".bashrc", size=1), data=b"x"),
    "backslash": tar_of(info("..\\evil", size=1), data=b"x"),
    "backslash inside": tar_of(info("a\\evil", size=1), data=b"x"),
    "control": tar_of(info("a\x1b[2Jb", size=1), data=b"x"),
    "symlink": tar_of(info("link", tarfile.SYMTYPE, "/etc")),
    "through a symlink": tar_of(info("link", tarfile.SYMTYPE, ".."), info("link/evil", size=1), data=b"x"),
    "hard link": tar_of(info("link", tarfile.LNKTYPE, "/etc/passwd")),
    "device": tar_of(info("null", tarfile.CHRTYPE)),
    "fifo": tar_of(info("fifo", tarfile.FIFOTYPE)),
    "sparse": tar_of(info("sparse", tarfile.GNUTYPE_SPARSE)),
    "long name": tar_of(info("x" * 300, size=1), data=b"x"),
    "endless name": tar_of(info("y" * 5000, size=1), data=b"x"),
    "less than nothing": with_header(size=b"\xff" * 12),
    "more than there is": with_header(size=b"\x80" + b"\x7f" * 11),
    "a size in pax": compress(
        info("pax", tarfile.XHDTYPE, size=len(PAX_SIZE)).tobuf(tarfile.GNU_FORMAT)
        + PAX_SIZE.ljust(512, b"\0")
        + info("file").tobuf(tarfile.GNU_FORMAT)
        + bytes(1024),
        "gz",
    ),
    "a global header": tar_of(info("pax", tarfile.XGLTYPE)),
    "something behind": zstandard.compress(bytes(1024) + b"x"),
    "endless zeros": zstandard.compress(bytes(4 << 20)),
    "no archive": capture("gtfsrt-bad/html-challenge-instead-of-pb.html"),
    "no tar": capture("gtfsrt-bad/derived-nyct-ace.pb.gz"),
    "empty": b"",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_written_outside(data: bytes, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(BadBundle):
        extract_bundle(io.BytesIO(data), inside)
    with pytest.raises(BadBundle):
        read_bundle(io.BytesIO(data))
    assert list(tmp_path.rglob("*")) == [inside]


def test_a_link_laid_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_bytes(b"precious")
    inside.mkdir()
    (inside / subway_bodies()[0].name).symlink_to(outside)
    extract_bundle(io.BytesIO(bundle(subway_bodies()[:1])), inside)
    assert outside.read_bytes() == b"precious"
    assert not (inside / subway_bodies()[0].name).is_symlink()


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"{}", "no manifest"), (encode_manifest(manifest("n1", [])), "is that of")],
    ids=["no manifest", "of another node"],
)
def test_a_member_that_is_not_the_manifest_it_is_called_is_refused(data: bytes, reason: str) -> None:
    header = info("nyct-2024-02-08T120000Z.manifest.n2.jsonl", size=len(data)).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(BadBundle, match=reason):
        read_bundle(io.BytesIO(compress(header + data.ljust(512, b"\0") + bytes(1024), "gz")))


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_bundle_that_was_cut_is_refused_wherever_it_was(format_name: str) -> None:
    data = bundle(subway_bodies()[:2], [manifest("n1", [])], format_name)
    for kept in [*range(0, len(data) - 30, 997), *range(len(data) - 30, len(data))]:
        with pytest.raises(BadBundle):
            read_bundle(io.BytesIO(data[:kept]))


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_bundle_in_several_streams_is_read_and_refused_when_the_last_is_cut(format_name: str) -> None:
    whole = bundle(subway_bodies()[:2], [manifest("n1", [])], format_name)
    tar = Decompressed(io.BytesIO(whole)).read(1 << 30)
    data = b"".join(compress(tar[at : at + 100_000], format_name) for at in range(0, len(tar), 100_000))

    assert read_bundle(io.BytesIO(data)).contents_id == read_bundle(io.BytesIO(whole)).contents_id
    for kept in range(len(data) - 30, len(data)):
        with pytest.raises(BadBundle):
            read_bundle(io.BytesIO(data[:kept]))


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("rest", [b"\x01", b"junk" * 1000, b"\0" * 100 + b"junk"], ids=["byte", "junk", "padded junk"])
def test_a_bundle_that_something_else_follows_is_refused(format_name: str, rest: bytes) -> None:
    with pytest.raises(BadBundle):
        read_bundle(io.BytesIO(bundle(subway_bodies()[:2], (), format_name) + rest))


@pytest.mark.parametrize("format_name", ["xz", "gz", "bz2"])
def test_zeros_may_follow_a_bundle(format_name: str) -> None:
    data = bundle(subway_bodies()[:2], (), format_name)
    assert read_bundle(io.BytesIO(data + bytes(1 << 18))).contents_id == read_bundle(io.BytesIO(data)).contents_id


def test_frames_of_zstd_that_are_to_be_skipped_are() -> None:
    data = bundle(subway_bodies()[:2])
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    assert len(read_bundle(io.BytesIO(data + skipped)).members) == 2
    with pytest.raises(BadBundle):
        read_bundle(io.BytesIO(data + skipped[:-1]))


@given(kept=st.integers(0, 300_000), size=st.integers(0, 300_000), checksum=st.booleans())
def test_zstd_of_any_make_is_read_to_its_end_and_refused_when_it_is_cut(kept: int, size: int, checksum: bool) -> None:
    body = (b"".join(each.data for each in subway_bodies()[:2]) + bytes(40_000))[:size]
    parameters = zstandard.ZstdCompressionParameters(write_checksum=checksum, compression_level=1)
    data = zstandard.ZstdCompressor(compression_params=parameters).compress(body)

    assert Decompressed(io.BytesIO(data)).read(1 << 20) == body
    with pytest.raises(BadBundle):
        Decompressed(io.BytesIO(data[: kept % len(data)])).read(1 << 20)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_damaged_bundle_is_refused_or_reads_as_before(format_name: str) -> None:
    data = bundle(subway_bodies()[:2], (), format_name)
    intact = read_bundle(io.BytesIO(data)).contents_id
    chance = random.Random(1)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            assert read_bundle(io.BytesIO(bytes(damaged))).contents_id == intact
        except BadBundle:
            continue


@pytest.mark.parametrize(
    "limits",
    [Limits(member_bytes=132_080), Limits(total_bytes=300_000), Limits(members=2)],
    ids=["member", "total", "count"],
)
def test_the_limits_of_the_reader_hold(limits: Limits) -> None:
    with pytest.raises(BadBundle, match="beyond the limits"):
        read_bundle(io.BytesIO(bundle(subway_bodies()[:3])), limits=limits)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_bomb_takes_no_memory(format_name: str) -> None:
    """64 MB of zeros in a few KB: decompressed piece by piece, up to the limit."""
    header = info("bomb-2024-02-08T120000Z.pb", size=64 << 20).tobuf(tarfile.GNU_FORMAT)
    bomb = compress(header + bytes(64 << 20), format_name)
    tracemalloc.start()
    with pytest.raises(BadBundle, match="beyond the limits"):
        read_bundle(io.BytesIO(bomb), limits=Limits(member_bytes=1 << 20))
    with pytest.raises(BadBundle, match="cut"):
        read_bundle(io.BytesIO(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def member(name: str, data: bytes) -> bytes:
    return tar_header(name, len(data), HOUR) + data + padding(len(data))


def manifests(ticks: int, node: str = "n1", **header: Any) -> bytes:
    """Return a manifest as a member: one tick over and over, which costs its maker nothing."""
    head = Header(
        **{"feed": "nyct", "start": write_stamp(HOUR), "period_s": 3600, "tick_ms": 14_000, **header}, node=node
    )
    lines = encode_manifest(Manifest(head, ())) + b'{"planned_ms":1,"outcome":"ok"}\n' * ticks
    return member(f"nyct-{write_stamp(HOUR)}.manifest.{node}.jsonl", lines)


@pytest.mark.parametrize(
    "tar",
    [
        manifests(4_000_000, period_s=86_400),
        manifests(40_000),
        manifests(600_000, "n1", period_s=86_400) + manifests(600_000, "n2", period_s=86_400),
        manifests(0, period_s=10**15),
        manifests(0, tick_ms=1),
        manifests(0, tick_ms=-1),
        tar_header(f"nyct-{write_stamp(HOUR)}.manifest.n1.jsonl", (1 << 27) + 1, HOUR),
    ],
    ids=["many", "more than the period has room for", "many in all", "an endless period", "1 ms", "-1 ms", "large"],
)
def test_a_bomb_of_ticks_takes_little_memory_and_is_refused(tar: bytes) -> None:
    bomb = zstandard.compress(tar + END)
    del tar
    tracemalloc.start()
    with pytest.raises(BadBundle, match=r"beyond the limits|no manifest"):
        read_bundle(io.BytesIO(bomb))
    with pytest.raises(BadBundle, match=r"beyond the limits|no manifest"):
        list(manifests_in(io.BytesIO(bomb), "nyct", HOUR))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 350 << 20


def test_all_manifests_of_a_bundle_together_have_a_limit() -> None:
    """Three of 100 MB, most of it spaces behind the header."""
    tars = []
    for node in ("n1", "n2", "n3"):
        head = Header(feed="nyct", start=write_stamp(HOUR), node=node, period_s=3600)
        tars.append(member(manifest(node, []).file_name, msgspec.json.encode(head) + b" " * (100 << 20) + b"\n"))
    with pytest.raises(BadBundle, match="beyond the limits: a manifest of"):
        read_bundle(io.BytesIO(zstandard.compress(b"".join(tars) + END)))


def test_a_file_cannot_ask_for_more_memory_than_is_allowed() -> None:
    xz = lzma.compress(bytes(100), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    wide = zstandard.ZstdCompressionParameters(window_log=30, strategy=1)
    zst = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    for data in (xz, zst.compress(bytes(100)) + zst.flush()):
        with pytest.raises(BadBundle, match="damaged"):
            read_bundle(io.BytesIO(data))
