"""Messages between the stages of feeds: each says what it is, and is looked at when it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.errors import Reject
from aggregator.feeds.archive import Archive
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.bundle.openperiods import PeriodFolder, Record
from aggregator.feeds.compress import Compress
from aggregator.feeds.messages.bundles import Bundle, Clear, Close, Remove, Unite
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.messages.ticks import Downloaded, DueTick, Filtered, Missed
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message, encode_body
from aggregator.stores.settings import StoreSettings
from tests.feeds.bundles import HOUR
from tests.feeds.captures import subway_captures
from tests.feeds.filtering import Filtering
from tests.feeds.stepping import FEED, Stepped, bundles_of, failed, held, publish
from tests.settling import settled

SHA = "0" * 64
WEEK_MS = 7 * 86_400_000
CAPTURE = subway_captures()[0][1]
TICK = Tick(planned_ms=HOUR * 1000, outcome="failed", error="no route")
DOWNLOADED: dict[str, Any] = {
    "feed": FEED, "url": "http://x.example/", "period_ms": 14_000, "extension": "pb", "timestamp": "none",
    "format": "other", "tick": {"planned_ms": HOUR * 1000, "outcome": "failed"},
}  # fmt: skip
BUNDLE: dict[str, Any] = {
    "feed": FEED, "start": write_stamp(HOUR), "revision": 1, "sha256": SHA, "contents_id": SHA, "level": "default",
    "file": f"data/feeds/bundles/2024-02-08/12/{FEED}-{write_stamp(HOUR)}.r1.tar.zst",
}  # fmt: skip
FETCHED = (Downloaded,)
PUBLISHED = (Filtered, Missed, Close, Clear)
BUNDLED = (Bundle, Remove, Unite)


def compress(root: Path, **options: Any) -> Stepped:
    return Stepped(Compress, root, pushto="bundled@node", **options)


def archive(root: Path) -> Stepped:
    return Stepped(Archive, root, store="test", store_settings=StoreSettings(url=f"file://{root}/store"), keep="0")


# Kinds


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (DueTick(feed=FEED, planned_ms=1), "due"),
        (msgspec.convert(DOWNLOADED, Downloaded), "downloaded"),
        (msgspec.convert({**failed(HOUR)}, Filtered), "filtered"),
        (Missed(feed=FEED, missed_from_ms=0, missed_to_ms=0, url="", period_ms=1000, node="n"), "missed"),
        (Close(feed=FEED, start=write_stamp(HOUR)), "close"),
        (Clear(feed=FEED, start=write_stamp(HOUR), revision=1), "clear"),
        (msgspec.convert(BUNDLE, Bundle), "bundle"),
        (Remove(file=BUNDLE["file"], sha256=SHA), "remove"),
        (Unite(feed=FEED, start=write_stamp(HOUR), format="zst", level="default"), "unite"),
    ],
)
def test_each_message_says_what_it_is_and_reads_back(message: msgspec.Struct, kind: str) -> None:
    raw = encode(message)

    assert msgspec.json.decode(raw)["kind"] == kind
    assert decode(raw, type(message)) == message


@pytest.mark.parametrize(
    ("body", "kinds", "found"),
    [
        (DOWNLOADED, FETCHED, Downloaded),
        (failed(HOUR), PUBLISHED, Filtered),
        (
            {"feed": "a", "missed_from_ms": 0, "missed_to_ms": 9, "url": "", "period_ms": 100, "node": "n"},
            PUBLISHED,
            Missed,
        ),
        ({"close": {"feed": "a", "start": write_stamp(HOUR)}}, PUBLISHED, Close),
        ({"clear": {"feed": "a", "start": write_stamp(HOUR), "revision": 2}}, PUBLISHED, Clear),
        (BUNDLE, BUNDLED, Bundle),
        ({"remove": {"file": BUNDLE["file"], "sha256": SHA}}, BUNDLED, Remove),
        ({"unite": {"feed": "a", "start": write_stamp(HOUR), "format": "zst", "level": "small"}}, BUNDLED, Unite),
        ({"feed": "a", "planned_ms": 1}, (DueTick,), DueTick),
    ],
)
def test_a_message_of_before_there_were_kinds_is_what_its_stage_reads(
    body: dict[str, Any], kinds: tuple[type[msgspec.Struct], ...], found: type
) -> None:
    assert type(decode(encode_body(body), *kinds)) is found


@pytest.mark.parametrize("with_kind", [True, False])
def test_a_download_in_the_queue_of_compress_is_set_aside_and_its_body_stays(tmp_path: Path, with_kind: bool) -> None:
    message = Filtering(tmp_path).download(CAPTURE)
    told = msgspec.json.decode(message.raw)
    if not with_kind:
        del told["kind"]
    body = tmp_path / told["file"]
    stage = compress(tmp_path)
    raw = encode_body(told)

    with pytest.raises(Reject):
        list(stage.stage.handle(Message(raw, raw)))
    assert body.read_bytes() == CAPTURE and not settled(stage.stage)


@pytest.mark.parametrize("with_kind", [True, False])
def test_a_tick_of_the_filter_in_its_own_queue_is_set_aside(tmp_path: Path, with_kind: bool) -> None:
    line = Filtering(tmp_path)
    told = {**failed(HOUR), **({"kind": "filtered"} if with_kind else {})}
    raw = encode_body(told)

    with pytest.raises(Reject):
        list(line.stage.handle(Message(raw, raw)))


def test_the_words_say_which_kind_came_where(tmp_path: Path) -> None:
    with pytest.raises(Reject, match=r"a message of kind 'bundle' in a queue of downloaded: were two queues swapped"):
        decode(encode(msgspec.convert(BUNDLE, Bundle)), Downloaded)


# Values


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({**failed(HOUR), "node": "../../../evil"}, PUBLISHED),
        ({**failed(HOUR), "node": ""}, PUBLISHED),
        ({**failed(HOUR), "period_ms": 1}, PUBLISHED),
        ({**failed(HOUR), "period_ms": 10**12}, PUBLISHED),
        ({**failed(HOUR), "feed": "a/b"}, PUBLISHED),
        ({**failed(HOUR), "feed": " a"}, PUBLISHED),
        ({**failed(HOUR), "publication": "../x.pb", "published_ms": 1}, PUBLISHED),
        ({**failed(HOUR), "publication": f"other-{write_stamp(HOUR)}.pb", "published_ms": HOUR * 1000}, PUBLISHED),
        ({**failed(HOUR), "publication": f"{FEED}-{write_stamp(HOUR)}.pb", "published_ms": None}, PUBLISHED),
        ({**failed(HOUR), "publication": f"{FEED}-{write_stamp(HOUR)}.pb", "published_ms": 5}, PUBLISHED),
        ({**failed(HOUR), "tick": {"planned_ms": -1, "outcome": "failed"}}, PUBLISHED),
        ({**failed(HOUR), "tick": {"planned_ms": 1, "outcome": "ok", "sha256": "../x"}}, PUBLISHED),
        ({**failed(HOUR), "tick": {"planned_ms": 1, "outcome": "ok", "header_ms": 10**18}}, PUBLISHED),
        (
            {"feed": "a", "missed_from_ms": 0, "missed_to_ms": 10**12, "url": "", "period_ms": 100, "node": "n"},
            PUBLISHED,
        ),
        (
            {"feed": "a", "missed_from_ms": 0, "missed_to_ms": 10**12, "url": "", "period_ms": WEEK_MS, "node": "n"},
            PUBLISHED,
        ),
        ({"kind": "close", "feed": "a", "start": write_stamp(HOUR + 7)}, PUBLISHED),
        ({"kind": "clear", "feed": "..", "start": write_stamp(HOUR), "revision": 1}, PUBLISHED),
        ({"kind": "clear", "feed": "a", "start": write_stamp(HOUR), "revision": 0}, PUBLISHED),
        ({**DOWNLOADED, "period_ms": 0}, FETCHED),
        ({**DOWNLOADED, "stale_after_ms": -1}, FETCHED),
        ({**DOWNLOADED, "extension": "../x"}, FETCHED),
        ({**DOWNLOADED, "file": f"data/feeds/downloads/{FEED}/.."}, FETCHED),
        ({**DOWNLOADED, "tick": {"planned_ms": 1, "outcome": "ok", "sha256": SHA}}, FETCHED),
        (
            {
                **DOWNLOADED,
                "tick": {"planned_ms": 1, "outcome": "ok", "sha256": SHA},
                "file": f"data/feeds/downloads/{FEED}/..",
            },
            FETCHED,
        ),
        ({**BUNDLE, "file": f"data/feeds/bundles/2024-02-08/12/{FEED}/.."}, BUNDLED),
        ({**BUNDLE, "file": "data/feeds/bundles/2024-02-08/12"}, BUNDLED),
        ({**BUNDLE, "file": BUNDLE["file"].replace("bundles/", "bundles/../bundles/")}, BUNDLED),
        ({**BUNDLE, "start": write_stamp(HOUR + 1)}, BUNDLED),
        ({**BUNDLE, "level": "huge"}, BUNDLED),
        ({"kind": "remove", "file": "data/feeds/bundles/2024-02-08/../x.tar.zst", "sha256": ""}, BUNDLED),
        ({"kind": "unite", "feed": "a", "start": write_stamp(HOUR), "format": "exe", "level": "default"}, BUNDLED),
        ({"feed": "../a", "planned_ms": 1}, (DueTick,)),
        ({"feed": "a", "planned_ms": 10**18}, (DueTick,)),
        ({"feed": "a", "planned_ms": 1, "why": "x" * 1_000_000}, (DueTick,)),
    ],
)
def test_what_no_stage_would_write_is_refused(body: dict[str, Any], kinds: tuple[type[msgspec.Struct], ...]) -> None:
    with pytest.raises(Reject):
        decode(encode_body(body), *kinds)


def test_a_body_behind_a_link_is_not_opened(tmp_path: Path) -> None:
    line = Filtering(tmp_path)
    message = line.download(CAPTURE)
    path = tmp_path / msgspec.json.decode(message.raw)["file"]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Reject, match="no file of this feed's downloads"):
        line.handle(message)


def test_a_folder_of_downloads_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    line = Filtering(tmp_path)
    message = line.download(CAPTURE)
    (line.folders.downloads / "ace").rename(tmp_path / "elsewhere")
    (line.folders.downloads / "ace").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Reject, match="no file of this feed's downloads"):
        line.handle(message)


def test_a_bundle_behind_a_link_is_neither_stored_nor_removed(tmp_path: Path) -> None:
    stage = archive(tmp_path)
    (tmp_path / "secret.tar.zst").write_bytes(b"not yours")
    path = tmp_path / BUNDLE["file"]
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "secret.tar.zst")

    for told in (BUNDLE, {"kind": "remove", "file": BUNDLE["file"], "sha256": ""}):
        raw = encode_body(told)
        with pytest.raises(Reject, match="a link leads out of our bundles"):
            list(stage.stage.handle(Message(raw, raw)))
    assert path.is_symlink()


# What an older version let in


def test_records_that_no_manifest_can_hold_do_not_keep_a_period_from_being_bundled(tmp_path: Path) -> None:
    stage = compress(tmp_path)
    stage.push(publish(tmp_path, HOUR + 10, CAPTURE))
    stage.step()
    bad = [
        Record(node="../../../evil", period_ms=1000, tick=TICK),
        Record(node="here", period_ms=1, tick=Tick(planned_ms=HOUR * 1000 + 5, outcome="failed")),
        Record(node="here", period_ms=1, missed_from_ms=HOUR * 1000, missed_to_ms=HOUR * 1000 + 900_000),
    ]
    PeriodFolder(FeedFolders(tmp_path / "data/feeds").period(FEED, HOUR)).append(1, bad)

    stage.run(until=HOUR + 5000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    assert len(held(tmp_path, stage.out)) == 1
    assert [(one.header.node, len(one.ticks)) for one in contents.manifests] == [("here", 1)]


def test_more_ticks_than_there_can_be_do_not_either_and_those_that_prove_most_stay(tmp_path: Path) -> None:
    stage = compress(tmp_path, bundle="1m")
    stage.push(publish(tmp_path, HOUR + 10, CAPTURE, period_s=60))
    for offset in range(5):
        row = {"feed": FEED, "missed_from_ms": HOUR * 1000 + offset, "missed_to_ms": HOUR * 1000 + 59_000 + offset}
        stage.push({**row, "url": "", "period_ms": 100, "node": "here"})

    stage.run(until=HOUR + 5000)

    [(_, contents)] = bundles_of(tmp_path, stage.out)
    [manifest] = contents.manifests
    assert len(manifest.ticks) == 1600
    assert manifest.outcomes()["ok"] == 1
