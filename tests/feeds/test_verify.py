"""Verifying finds what is wrong with what is stored, and nothing else."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from aggregator.feeds.bundle.bundles import write_bundle
from aggregator.feeds.bundle.manifest import Manifest, make_manifest
from aggregator.feeds.compress import Compress
from aggregator.feeds.naming.bundles import FORMATS, BundleName
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication
from aggregator.feeds.naming.stamps import read_stamp
from aggregator.feeds.query.catalogue import Span, find_bundles
from aggregator.feeds.query.coverage import measure
from aggregator.feeds.query.evidence import gather
from aggregator.feeds.query.verify import Checked, verify
from aggregator.feeds.query.verifyparsers import Parser, guessed_parser, known_parser
from aggregator.stores import open_store
from aggregator.stores.store import Store
from tests.feeds.archives import (
    CAPTURES,
    START,
    folder_store,
    manifest,
    published,
    store_bundle,
    store_hour,
    tick,
    ticks_of,
)
from tests.feeds.bundles import MemoryBody
from tests.feeds.captures import capture
from tests.feeds.stepping import FEED, Stepped, failed, publish
from tests.stores.servers import S3Server

LATER = START + 86_400.0


def check(store: Store, timestamp: str = "gtfs-realtime", root: Path = Path(), now: float = LATER) -> list[Checked]:
    """Verify everything a store has."""
    return list(verify(store, find_bundles(store, ""), lambda feed, extension: known_parser(timestamp, root), now))


def test_a_good_archive_has_no_findings(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_hour(store)
    store_bundle(store, published()[:3], format_name="bz2")

    (checked,) = check(store)

    assert (checked.publications, checked.findings) == (14, ())


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    for format_name in ("zst", "gz", "bz2", "xz"):
        key = store_bundle(store, published(), feed=format_name, format_name=format_name)
        data = bytearray(store.get(key)[0])
        data[len(data) // 2] ^= 1
        store.put(key, bytes(data))

    assert [len(one.findings) for one in check(store)] == [1, 1, 1, 1]


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_object_that_changed_in_s3_is_found(moto: S3Server, prefix: str, format_name: str) -> None:
    store = open_store(**moto.options(prefix))
    key = store_bundle(store, published(), format_name=format_name)
    client = moto.client()
    name = f"{prefix}/{key}"
    recorded = client.head_object(Bucket="archive", Key=name)["Metadata"]
    target = BytesIO()
    write_bundle(target, published()[:4], (), format_name)
    client.put_object(Bucket="archive", Key=name, Body=target.getvalue(), Metadata=recorded)

    (checked,) = check(store)
    client.close()
    store.close()

    assert "what came is not what was written" in checked.findings[0]


def test_a_publication_that_is_missing_is_found(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, published()[1:], [manifest(ticks_of(published()))])

    (checked,) = check(store)

    assert len(checked.findings) == 1
    assert f"no member has the hash {published()[0].member.sha256}" in checked.findings[0]


@pytest.mark.parametrize("manifests", [[], [manifest([tick(n, "failed") for n in range(60)])]], ids=["gone", "changed"])
def test_publications_of_which_no_manifest_tells_are_found(tmp_path: Path, manifests: list[Manifest]) -> None:
    store = folder_store(tmp_path)
    key = store_bundle(store, published(), manifests)

    (checked,) = check(store)

    assert checked.findings == tuple(f"{key}: no manifest tells of {body.name}" for body in published())


def test_many_publications_of_which_no_manifest_tells_are_summed_up(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    bodies = [MemoryBody(Publication("nyct", START + n, "txt").file_name, b"%d" % n) for n in range(50)]
    store_bundle(store, bodies)

    (checked,) = check(store, "none")

    assert len(checked.findings) == 21
    assert checked.findings[-1].endswith("nor of 30 more")


@pytest.mark.parametrize("hour", [-1, 1])
def test_a_manifest_beside_may_tell_of_a_publication(tmp_path: Path, hour: int) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, published(), prefix="p")
    beside = START + 3600 * hour
    manifests = manifest(ticks_of(published()), start=beside)
    store_bundle(store, [], [manifests], start=beside, prefix="p")

    results = verify(store, find_bundles(store, "p"), lambda feed, extension: None, LATER)

    assert [checked.findings for checked in results] == [(), ()]


def test_a_publication_may_be_told_of_by_the_next_period_while_that_is_not_stored_yet(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_bundle(store, published()[:1], [manifest([tick(0, "failed")])])
    found = (f"{key}: no manifest tells of {published()[0].name}",)

    [early], [late] = check(store, now=START + 3 * 3600 - 1), check(store, now=START + 3 * 3600)
    store_bundle(store, [], [manifest([tick(60, "failed")], start=START + 3600)], start=START + 3600)
    [stored, _] = check(store, now=START + 2 * 3600)

    assert (early.findings, late.findings, stored.findings) == ((), found, found)


def test_of_a_feed_whose_clock_is_wrong_by_hours_nobody_is_asked_for_the_ticks(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    far = tick(0, "ok", sha256="a" * 64, header_ms=(START + 5 * 3600) * 1000)
    store_bundle(store, published(), [manifest([far])])

    (checked,) = check(store)

    assert checked.findings == ()


def test_what_compress_makes_of_a_feed_whose_first_timestamp_is_hours_old_has_no_findings(tmp_path: Path) -> None:
    stage = Stepped(Compress, tmp_path, pushto="bundled@node")
    data = CAPTURES[0][1]
    stage.push(publish(tmp_path, CAPTURES[0][0], data, planned=START + 5 * 3600 + 20))
    stage.push(*(failed(START + 5 * 3600 + 60 * number) for number in range(1, 60)))
    stage.run(until=START + 10 * 3600)
    store = folder_store(tmp_path)
    for message in stage.out:
        path = tmp_path / message["file"]
        store.put(BundleName(FEED, read_stamp(message["start"])).path, path.read_bytes())

    assert [checked.findings for checked in check(store)] == [(), ()]
    # and the first hour is no hour in which it was to be downloaded
    [(_, evidence)] = gather(store, "", FeedFolders(tmp_path / "nothing"), Span(START, int(LATER)), lambda feed: True)
    coverage = measure(FEED, evidence, Span(START, int(LATER)), LATER, strict=False)
    assert [hour.start for hour in coverage.hours] == [START + 5 * 3600]


def test_a_manifest_of_an_older_version_may_tell_of_a_publication_wherever_it_is(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_bundle(store, published(), prefix="p")
    far = START + 30 * 86_400
    *told, forgotten = ticks_of(published())
    store_bundle(store, [], [manifest(told, start=far)], start=far, prefix="p")

    checked, _ = verify(store, find_bundles(store, "p"), lambda feed, extension: None, LATER + 60 * 86_400)

    names = {body.member.sha256: body.name for body in published()}
    assert checked.findings == (f"{key}: no manifest tells of {names[forgotten.sha256]}",)


def test_a_publication_that_only_the_record_beside_it_tells_of_and_that_is_gone_is_found(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    bodies = published()
    header = msgspec.structs.replace(manifest([]).header, elsewhere=tuple(ticks_of(bodies)))
    store_bundle(store, bodies[1:], [make_manifest(header, [])])

    (checked,) = check(store)

    assert len(checked.findings) == 1 and "no member has the hash" in checked.findings[0]


def test_contents_of_another_feed_or_period_are_found(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    bodies = [*published()[:1], *published("other")[1:2], MemoryBody("nyct-2024-02-08T120000Z.pb", CAPTURES[2][1])]
    store_bundle(store, bodies, [manifest([tick(1)])])
    store_bundle(store, [], [manifest([], "mine")], feed="yours")

    mixed, swapped = check(store)

    lines = [line.partition(": ")[2] for line in mixed.findings]
    assert "other-2024-02-08T130115Z.pb is of another feed" in lines
    assert "nyct-2024-02-08T120000Z.pb is of another period" in lines
    assert "nyct-2024-02-08T120000Z.pb says it is of 2024-02-08T130215Z" in lines
    assert swapped.findings[0].endswith("mine-2024-02-08T130000Z.manifest.node.jsonl is of another bundle")


@pytest.mark.parametrize(
    ("timestamp", "extension", "name", "finding"),
    [
        ("gtfs-realtime", "pb", "gtfsrt-bad/html-challenge-instead-of-pb.html", "cannot be read: no GTFS-realtime"),
        ("gtfs-realtime", "pb", "gtfsrt-bad/14-empty-file.pb", "cannot be read: an empty body"),
        ("gbfs", "json", "gtfsrt-bad/html-challenge-instead-of-pb.html", "cannot be read: no JSON"),
        ("gbfs", "json", "gbfs/station_status.json", "says it is of 2025-07-02T062103Z"),
        ("none", "json", "gbfs/station_status.json", ""),
        ("http", "json", "gtfsrt-bad/14-empty-file.pb", ""),
    ],
)
def test_publications_are_parsed_as_their_feed_says(
    tmp_path: Path, timestamp: str, extension: str, name: str, finding: str
) -> None:
    store = folder_store(tmp_path)
    body = MemoryBody(Publication("nyct", START, extension).file_name, capture(name))
    store_bundle(store, [body], [manifest(ticks_of([body]))])

    (checked,) = check(store, timestamp)

    assert [finding in line for line in checked.findings] == ([True] if finding else [])


@pytest.mark.parametrize(
    ("extension", "name", "is_bad"),
    [
        ("pb", "gtfsrt-bad/html-challenge-instead-of-pb.html", True),
        ("json", "gbfs/station_status.json", False),
        ("json", "siri/sirilike-empty.xml", True),
        ("xml", "siri/sirilike-empty.xml", False),
        ("XML", "gbfs/station_status.json", True),
        ("txt", "gbfs/station_status.json", False),
    ],
)
def test_a_feed_nobody_configured_is_parsed_by_its_extension(
    tmp_path: Path, extension: str, name: str, is_bad: bool
) -> None:
    store = folder_store(tmp_path)
    body = MemoryBody(Publication("nyct", START, extension).file_name, capture(name))
    store_bundle(store, [body], [manifest(ticks_of([body]))])

    (checked,) = verify(store, find_bundles(store, ""), lambda feed, extension: guessed_parser(extension), LATER)

    assert bool(checked.findings) is is_bad


def test_json_nested_beyond_measure_is_a_finding(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    body = MemoryBody(Publication("nyct", START, "json").file_name, b"[" * 100_000)
    store_bundle(store, [body], [manifest(ticks_of([body]))])

    (checked,) = verify(store, find_bundles(store, ""), lambda feed, extension: guessed_parser(extension), LATER)

    assert "cannot be read: no JSON" in checked.findings[0]


def test_a_plugin_parses_again(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store_bundle(store, [MemoryBody(Publication("nyct", START, "txt").file_name, str(START + 60).encode())])
    (tmp_path / "plugins_of_verify.py").write_text(
        "import pathlib\ndef stamp(path):\n    return int(pathlib.Path(path).read_text())\n"
    )

    (checked,) = check(store, "plugins_of_verify:stamp", tmp_path)

    assert "says it is of 2024-02-08T130100Z" in checked.findings[0]


def test_many_findings_of_one_bundle_are_summed_up(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    times = [START + 60 * n for n in range(50)]
    bodies = [MemoryBody(Publication("nyct", at, "pb").file_name, b"%d" % at, at) for at in times]
    store_bundle(store, bodies, [manifest(ticks_of(bodies))])

    (checked,) = check(store)

    assert len(checked.findings) == 21
    assert checked.findings[-1].endswith("and 30 more")


def test_an_object_that_went_after_the_listing_is_a_finding(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    key = store_hour(store)
    bundles = find_bundles(store, "")
    store.delete(key)

    (checked,) = verify(store, bundles, lambda feed, extension: Parser(lambda fetched: 0, False), LATER)

    assert "no object" in checked.findings[0]
