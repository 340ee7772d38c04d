"""Bundles: the publications of one feed and period with the manifests of its nodes, as a compressed tar.

Equal contents give equal bytes: manifests come first, ordered by node, then publications, ordered by time. File times
come from the publications; owner, group and mode are fixed. Only manifests are read into memory as a whole. Any `tar`
unpacks a bundle.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aggregator.feeds.bundle.compression import PIECE, BadBundle, Decompressed, Level, compressed, new_compressor
from aggregator.feeds.bundle.manifest import BadManifest, Manifest, decode_manifest, encode_manifest, unite_manifests
from aggregator.feeds.bundle.members import Body, Member, SpooledBody, arrange, contents_id
from aggregator.feeds.bundle.tarstream import BLOCK, END, LIMITS, Limits, TarMember, padding, read_tar, tar_header
from aggregator.feeds.naming.bundles import is_manifest_name
from aggregator.feeds.naming.stamps import read_stamp
from aggregator.files.durable import part_of, sync_folder

MAX_MANIFEST = 1 << 27
"""The most bytes of one manifest; one of a day with a tick every second takes a fifth of that."""
MAX_MANIFESTS = 1 << 28
"""The most bytes of all manifests in a bundle."""
MAX_TICKS = 1_000_000
"""The most ticks in all manifests of a bundle; so many take about 250 MB as objects."""


class Written(NamedTuple):
    """The size and the hashes of a bundle that was written."""

    size_bytes: int
    sha256: str
    """The hash of the compressed file."""
    contents_id: str
    """A hash that is the same for equal contents in any format; see members.py."""
    publications: int
    publication_bytes: int


class Contents(NamedTuple):
    """The contents of a bundle."""

    members: list[Member]
    """All members, manifests included."""
    bodies: list[SpooledBody]
    """The publications, if a spool was given to copy them to."""
    manifests: list[Manifest]

    @property
    def publications(self) -> list[Member]:
        """The members that are not manifests."""
        return [member for member in self.members if not is_manifest_name(member.name)]

    @property
    def contents_id(self) -> str:
        """One hash of all members; see members.py."""
        return contents_id(self.members)


class ManifestReader:
    """Read the manifests of one bundle, with a bound on bytes and ticks, as manifests are held in memory as a whole."""

    def __init__(self) -> None:
        self._bytes_left = MAX_MANIFESTS
        self._ticks_left = MAX_TICKS

    def read(self, entry: TarMember) -> tuple[Member, Manifest]:
        """Return a manifest as a member, and decoded. Raises BadBundle."""
        self._bytes_left -= entry.size
        if entry.size > MAX_MANIFEST or self._bytes_left < 0:
            raise BadBundle(f"beyond the limits: a manifest of {entry.size} bytes")
        data = bytearray()
        for piece in entry.pieces():
            data += piece
        self._ticks_left -= data.count(b"\n")
        if self._ticks_left < 0:
            raise BadBundle(f"beyond the limits: more than {MAX_TICKS} ticks in the manifests")
        return _decode_manifest(entry, data)


def write_bundle(
    target: BinaryIO,
    bodies: Iterable[Body],
    manifests: Iterable[Manifest] = (),
    format_name: str = "zst",
    level: Level = "default",
) -> Written:
    """Write a bundle of publications, each distinct one once, and of manifests, merged to one for each node.

    Raises BadBundle when a publication changed since its hash was taken, and BadManifest for manifests of different
    bundles.
    """
    arranged = arrange(bodies)
    written = [(_manifest_member(manifest), encode_manifest(manifest)) for manifest in unite_manifests(manifests)]
    members = [*(member for member, _ in written), *(member for member, _ in arranged)]
    largest = max((member.size_bytes for member in members), default=0)
    compressor = new_compressor(format_name, level, _tar_size(members), largest)
    digest, size = hashlib.sha256(), 0
    for piece in compressed(_tar_pieces(written, arranged), compressor):
        target.write(piece)
        digest.update(piece)
        size += len(piece)
    publication_bytes = sum(member.size_bytes for member, _ in arranged)
    return Written(size, digest.hexdigest(), contents_id(members), len(arranged), publication_bytes)


def save_bundle(
    path: Path,
    bodies: Iterable[Body],
    manifests: Iterable[Manifest] = (),
    format_name: str = "zst",
    level: Level = "default",
) -> Written:
    """Write a bundle to a file durably; after a crash the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with part.open("wb") as file:
            written = write_bundle(file, bodies, manifests, format_name, level)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
    return written


def read_bundle(file: BinaryIO, spool: BinaryIO | None = None, limits: Limits = LIMITS) -> Contents:
    """Read a bundle of any format to its end and hash every member; publications are copied to `spool` if given.

    Raises BadBundle for a file that is damaged, truncated, hostile or not a bundle.
    """
    members: list[Member] = []
    bodies: list[SpooledBody] = []
    manifests: list[Manifest] = []
    reader = ManifestReader()
    for entry in read_tar(Decompressed(file), limits):
        if is_manifest_name(entry.name):
            member, manifest = reader.read(entry)
            manifests.append(manifest)
        else:
            offset = spool.seek(0, os.SEEK_END) if spool else 0
            member = _copy(entry, spool)
            if spool:
                bodies.append(SpooledBody(spool, offset, member))
        members.append(member)
    return Contents(members, bodies, manifests)


def extract_bundle(file: BinaryIO, folder: Path) -> list[Path]:
    """Unpack a bundle of any format, manifests included, into a folder; existing files of the same names are replaced.

    Nothing is written outside the folder, even if the bundle is hostile. Raises BadBundle.
    """
    paths = []
    for entry in read_tar(Decompressed(file)):
        path = folder / entry.name
        # not made from the member's name, which may already have the 255 bytes that a file name can have
        part = folder / f".extracting.{os.getpid()}.part"
        part.unlink(missing_ok=True)
        try:
            # O_EXCL: do not follow a link that somebody put there.
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as target:
                _copy(entry, target)
            os.utime(part, (entry.mtime, entry.mtime))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        paths.append(path)
    return paths


def check_contents(contents: Contents) -> list[str]:
    """Return the contradictions in a bundle, a line each: publications that a manifest records and the bundle lacks."""
    held = {member.sha256: member for member in contents.publications}
    problems = []
    for manifest in contents.manifests:
        start_ms = read_stamp(manifest.header.start) * 1000
        for tick in (*manifest.ticks, *manifest.elsewhere):
            # A publication belongs to the bundle of its own timestamp, which may be another one than its tick's.
            inside = tick.header_ms is not None and 0 <= tick.header_ms - start_ms < manifest.header.period_s * 1000
            if tick.outcome != "ok" or not tick.sha256 or not inside:
                continue
            member = held.get(tick.sha256)
            if member is None:
                problems.append(f"{manifest.file_name}: no member has the hash {tick.sha256} of tick {tick.planned_ms}")
            elif tick.size_bytes not in (None, member.size_bytes):
                problems.append(f"{member.name}: {member.size_bytes} bytes, {tick.size_bytes} in {manifest.file_name}")
    return problems


def _tar_pieces(manifests: Sequence[tuple[Member, bytes]], arranged: Sequence[tuple[Member, Body]]) -> Iterator[bytes]:
    for member, data in manifests:
        yield tar_header(member.name, member.size_bytes, member.mtime)
        # in pieces, as a manifest of a whole day is large
        for at in range(0, len(data), PIECE):
            yield data[at : at + PIECE]
        yield padding(member.size_bytes)
    for member, body in arranged:
        yield tar_header(member.name, member.size_bytes, member.mtime)
        digest, size = hashlib.sha256(), 0
        for piece in body.pieces():
            digest.update(piece)
            size += len(piece)
            yield piece
        if (size, digest.hexdigest()) != (member.size_bytes, member.sha256):
            raise BadBundle(f"{body.member.name!r} changed while it was bundled")
        yield padding(size)
    yield END


def _tar_size(members: Iterable[Member]) -> int:
    headers_and_bodies = sum(
        len(tar_header(member.name, member.size_bytes, member.mtime)) + -(-member.size_bytes // BLOCK) * BLOCK
        for member in members
    )
    return headers_and_bodies + len(END)


def _manifest_member(manifest: Manifest) -> Member:
    data = encode_manifest(manifest)
    return Member(manifest.file_name, read_stamp(manifest.header.start), len(data), hashlib.sha256(data).hexdigest())


def _decode_manifest(entry: TarMember, data: bytearray) -> tuple[Member, Manifest]:
    try:
        manifest = decode_manifest(data)
    except BadManifest as error:
        raise BadBundle(f"{entry.name}: {error}") from error
    if manifest.file_name != entry.name:
        raise BadBundle(f"the manifest {entry.name!r} is that of {manifest.file_name!r}")
    return Member(entry.name, entry.mtime, entry.size, hashlib.sha256(data).hexdigest()), manifest


def _copy(entry: TarMember, target: BinaryIO | None) -> Member:
    digest = hashlib.sha256()
    for piece in entry.pieces():
        digest.update(piece)
        if target:
            target.write(piece)
    return Member(entry.name, entry.mtime, entry.size, digest.hexdigest())
