"""Size and CPU time of an hour of a real feed, bundled in each format and level, compared with `tarfile` and bz2."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from google.transit import gtfs_realtime_pb2

from aggregator.feeds.bundle.bundles import read_bundle, write_bundle
from aggregator.feeds.bundle.members import FileBody, file_body
from aggregator.feeds.bundle.merge import merge_bundles
from aggregator.feeds.naming.publications import Publication
from benchmarks.captures import load_captures
from benchmarks.report import Table

HOUR = 1707397200
ROUNDS = 3
WAYS = (("zst", "default"), ("zst", "small"), ("xz", "default"), ("xz", "small"), ("gz", "default"), ("bz2", "default"))

NOTES = (
    "12 real: consecutive captures of the New York A/C/E feed, a minute apart.",
    "60 between: the same minute by minute walk in 60 steps; each trip takes its new state at a moment of its own.",
    "120 shifted: each of the 60 once more, with the header's clock 30 s later.",
    "A real hour of 60 captures lies between the first two: more repeats than in 12, fewer than between two of them.",
)


def run() -> Iterator[Table]:
    """Yield a table of formats and one of merging."""
    real = load_captures()
    between = steps_between(real, 60)
    shifted = [capture for body in between for capture in (body, with_later_clock(body))]
    hours = {"12 real": real, "60 between": between, "120 shifted": shifted}
    sizes: list[tuple[object, ...]] = []
    merges: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for label, bodies in hours.items():
            files = save(bodies, Path(folder) / label)
            sizes += measured_formats(label, files)
            merges.append(measured_merge(label, files, Path(folder)))
    columns = ("bundle", "bytes", "bytes ÷ bz2", "CPU s", "CPU ÷ bz2", "read CPU s", "read ÷ bz2")
    yield Table("One hour of a feed as a bundle", columns, sizes, NOTES)
    yield Table("Merging two bundles that share half", ("hour", "CPU s", "old way CPU s", "ratio"), merges)


def measured_formats(label: str, files: list[Path]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each format and level, the old way first."""
    old, old_s = fastest(lambda: old_bundle(files))
    _, old_read_s = fastest(lambda: old_read(old))
    yield f"{label}: tarfile w:bz2", len(old), 1.0, old_s, 1.0, old_read_s, 1.0
    for format_name, level in WAYS:
        bodies = [file_body(path) for path in files]

        def write(bodies: list[FileBody] = bodies, how: tuple[str, str] = (format_name, level)) -> bytes:
            target = io.BytesIO()
            write_bundle(target, bodies, (), *how)  # type: ignore[arg-type]
            return target.getvalue()

        made, seconds = fastest(write)
        _, read_s = fastest(lambda made=made: read_bundle(io.BytesIO(made)))  # type: ignore[misc]
        ratios = len(made) / len(old), seconds / old_s, read_s / old_read_s
        yield f"{label}: {format_name} {level}", len(made), ratios[0], seconds, ratios[1], read_s, ratios[2]


def measured_merge(label: str, files: list[Path], scratch: Path) -> tuple[object, ...]:
    """Return a row about merging two overlapping bundles into one."""
    third = len(files) // 3
    halves = [files[: 2 * third], files[third:]]
    ours = []
    for half in halves:
        target = io.BytesIO()
        write_bundle(target, [file_body(path) for path in half])
        ours.append(target.getvalue())
    old = [old_bundle(half) for half in halves]

    def old_merge() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            for data in old:
                with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                    archive.extractall(folder, filter="data")
            old_bundle(sorted(Path(folder).iterdir()))

    _, seconds = fastest(lambda: merge_bundles(io.BytesIO(), map(io.BytesIO, ours), scratch))
    _, old_s = fastest(old_merge)
    return label, seconds, old_s, seconds / old_s


def steps_between(captures: list[bytes], count: int) -> list[bytes]:
    """Return captures that lead from the first to the last in even steps of time.

    Between two neighbouring captures, each entity takes its new state at its own moment, drawn with a fixed seed.
    """
    chance = random.Random(1)
    states = [{key_of(entity): entity for entity in parsed(body).entity} for body in captures]
    moments = [{key: chance.random() for key in sorted({*old, *new})} for old, new in pairwise(states)]
    bodies = []
    for step in range(count):
        position = step * (len(captures) - 1) / (count - 1)
        index = min(int(position), len(captures) - 2)
        old, new, moment = states[index], states[index + 1], moments[index]
        message = parsed(captures[index])
        message.header.timestamp = HOUR + step * 3600 // count
        del message.entity[:]
        for key in [*old, *(key for key in new if key not in old)]:
            entity = (new if moment[key] <= position - index else old).get(key)
            if entity is not None:
                message.entity.append(entity)
        for number, entity in enumerate(message.entity, 1):
            entity.id = f"{number:06d}ACE"
        bodies.append(message.SerializeToString())
    return bodies


def with_later_clock(body: bytes) -> bytes:
    """Return the same capture as if published 30 s later."""
    message = parsed(body)
    message.header.timestamp += 30
    return bytes(message.SerializeToString())


def parsed(body: bytes) -> gtfs_realtime_pb2.FeedMessage:
    """Return a body parsed as a GTFS-realtime message."""
    message = gtfs_realtime_pb2.FeedMessage()
    message.ParseFromString(body)
    return message


def key_of(entity: gtfs_realtime_pb2.FeedEntity) -> tuple[str, str]:
    """Return the trip or the vehicle that an entity is about; its id is only a running number in this feed."""
    if entity.HasField("vehicle"):
        return "vehicle", entity.vehicle.trip.trip_id
    return "trip", entity.trip_update.trip.trip_id


def save(bodies: list[bytes], folder: Path) -> list[Path]:
    """Write publications to a folder of their own."""
    folder.mkdir()
    paths = []
    for number, body in enumerate(bodies):
        paths.append(folder / Publication("ace", HOUR + number * 3600 // len(bodies), "pb").file_name)
        paths[-1].write_bytes(body)
    return paths


def old_bundle(files: list[Path]) -> bytes:
    """Return the archive that `tarfile` with bz2 makes of files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:bz2") as archive:
        for path in files:
            archive.add(path, path.name)
    return target.getvalue()


def old_read(data: bytes) -> None:
    """Read every file of an archive that `old_bundle` made."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            file.read()


def fastest(work: Callable[[], object]) -> tuple[bytes, float]:
    """Return the result of some work and its CPU seconds in the fastest of some runs."""
    best, result = float("inf"), None
    for _ in range(ROUNDS):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return result if isinstance(result, bytes) else b"", best
