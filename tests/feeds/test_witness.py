"""A memory in Redis counts with its proof on the disk only: in doubt a publication comes twice, and none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aggregator.errors import Retry, Unavailable
from aggregator.feeds.fetching.conditional import source_of
from aggregator.feeds.filtering.witness import Newest, Witness
from aggregator.feeds.messages.ticks import Validators
from aggregator.feeds.naming.publications import Publication
from aggregator.registry import load_stage
from aggregator.runtime.contract import Drop
from tests.feeds.downloading import Downloading, make
from tests.feeds.filtering import Filtering
from tests.feeds.webserver import WebServer, body
from tests.settling import settled

ABOUT: dict[str, Any] = {"timestamp": "none", "format": "other"}


@pytest.fixture
def line(tmp_path: Path) -> Filtering:
    return Filtering(tmp_path)


def outcomes(line: Filtering, *bodies: bytes) -> list[str]:
    return [line.take(body, **ABOUT).tick.outcome for body in bodies]


def test_a_feed_without_a_clock_that_goes_on_off_on_over_an_older_redis_is_on_again(line: Filtering) -> None:
    outcomes(line, b"on")
    older = dict(line.cursors)
    outcomes(line, b"off")
    line.cursors = older
    line.restart()

    assert outcomes(line, b"on", b"on") == ["ok", "same"]
    assert not line.stage.context.reports


def test_what_an_older_redis_has_forgotten_comes_once_all_the_same(line: Filtering) -> None:
    outcomes(line, b"on")
    older = dict(line.cursors)
    outcomes(line, b"off", b"off")
    line.cursors = older
    line.restart()

    assert outcomes(line, b"off", b"on") == ["same", "ok"]


def test_a_publication_is_known_by_the_disk_when_redis_has_lost_everything(line: Filtering) -> None:
    outcomes(line, b"on", b"off")
    line.cursors = {}
    line.restart()

    assert outcomes(line, b"off", b"on") == ["same", "ok"]
    assert not line.stage.context.reports


def test_bodies_whose_messages_redis_has_lost_come_before_what_is_downloaded_since(line: Filtering) -> None:
    line.configure(timestamp="none")
    outcomes(line, b"on")
    for text in (b"on", b"off"):
        line.download(text, **ABOUT)
    line.cursors = {}
    line.restart()

    told = line.handle_all(line.download(b"off", **ABOUT))

    assert [one.tick.outcome for one in told] == ["same", "ok", "same"]
    assert [("found" in one.tick.flags) for one in told] == [True, True, False]
    assert sorted(line.publications().values()) == [b"off", b"on"]
    line.age(120)
    assert line.idle() == []


@pytest.mark.parametrize("killed", [False, True])
def test_bodies_that_were_found_are_found_again_when_nothing_was_committed(line: Filtering, killed: bool) -> None:
    line.configure(timestamp="none")
    outcomes(line, b"on")
    line.download(b"on", **ABOUT)
    message = line.download(b"off", **ABOUT)
    line.cursors = {}
    line.restart()
    in_the_way = line.folders.newest / ".ace.part"
    in_the_way.mkdir()
    with pytest.raises(Retry):
        list(line.stage.handle(message))
    in_the_way.rmdir()
    if killed:
        line.restart()
    else:
        line.handle(line.no_body("failed", feed="other"))

    assert [one.tick.outcome for one in line.handle_all(message)] == ["same", "ok"]
    assert outcomes(line, b"off") == ["same"]
    assert line.downloads() == line.decided() == []


def test_a_body_that_cannot_be_taken_does_not_hold_the_younger_ones(line: Filtering) -> None:
    line.configure(timestamp="none")
    line.download(b"on", **ABOUT)
    line.age()
    in_the_way = line.folders.publication(Publication("ace", line.planned_ms // 1000, "pb"), 3600).parent
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"")
    message = line.download(b"off", after_s=3600, **ABOUT)

    assert [one.tick.outcome for one in line.handle_all(message)] == ["ok"]
    assert len(line.downloads()) == 1


def test_a_message_that_comes_behind_that_of_a_younger_tick_counts_once(line: Filtering) -> None:
    line.configure(timestamp="none")
    messages = [line.download(text, **ABOUT) for text in (b"on", b"off")]

    told = line.handle_all(messages[1])

    assert [one.tick.outcome for one in told] == ["ok", "ok"]
    [outcome] = line.stage.handle(messages[0])
    assert outcome == Drop("told_before")


def test_a_disk_that_is_older_than_the_memory_is_not_believed(line: Filtering) -> None:
    outcomes(line, b"on")
    older = (line.folders.newest / "ace.json").read_bytes()
    outcomes(line, b"off", b"off")
    (line.folders.newest / "ace.json").write_bytes(older)  # a power cut took the younger one
    line.restart()

    assert outcomes(line, b"on") == ["ok"]
    [report] = line.stage.context.reports.values()
    assert (report.code, report.about, report.lasting) == ("memory_older", "ace", True)


def test_a_section_that_gets_back_its_old_name_does_not_believe_its_old_memory(line: Filtering) -> None:
    outcomes(line, b"on")
    first, line.cursors = line.cursors, {}
    line.restart()
    outcomes(line, b"on", b"off")
    line.cursors = first
    line.restart()

    assert outcomes(line, b"on") == ["ok"]


def test_a_memory_that_has_its_proof_is_believed_over_restarts_and_other_outcomes(line: Filtering) -> None:
    outcomes(line, b"on", b"on")
    line.handle(line.no_body("failed"))
    line.restart()

    assert outcomes(line, b"on") == ["same"]
    assert not line.stage.context.reports


def test_a_kill_before_the_commit_is_no_doubt(line: Filtering) -> None:
    outcomes(line, b"on")
    messages = [line.download(text, **ABOUT) for text in (b"on", b"off", b"off")]
    for message in messages:
        line.handle(message, commit=False)
    settled(line.stage)
    line.restart()

    assert [line.handle(message).tick.outcome for message in messages] == ["same", "ok", "same"]
    assert outcomes(line, b"off") == ["same"]
    assert not line.stage.context.reports


def test_a_proof_that_cannot_be_read_costs_a_repetition(line: Filtering) -> None:
    outcomes(line, b"on")
    (line.folders.newest / "ace.json").write_bytes(b"")
    line.restart()

    assert outcomes(line, b"on", b"on") == ["ok", "same"]


def test_a_feed_that_tells_its_time_needs_no_proof(line: Filtering) -> None:
    line.take(b'{"last_updated":1700000000}', timestamp="gbfs", format="gbfs")

    assert not line.folders.newest.exists()


@pytest.mark.parametrize(("newest", "asked"), [("a" * 16, True), ("b" * 16, False), ("", True)])
def test_a_server_is_asked_for_the_whole_body_when_the_disk_knows_of_a_younger_one(
    tmp_path: Path, newest: str, asked: bool
) -> None:
    with WebServer() as server:
        server.answers["/feed"] = body(b"on")
        feed = make("ace", f"{server.url}/feed", timestamp="none")
        line = Downloading(tmp_path, feed)
        [tick] = line.seed()
        if newest:
            witness = line.stage.folders.newest
            witness.mkdir(parents=True)
            (witness / "ace.json").write_text(f'{{"planned_ms":1,"sha":"{newest}","published_ms":1}}')
        validators = Validators(url=source_of(feed), etag='"x"', sha="a" * 16)

        line.handle(type(tick)(feed="ace", planned_ms=tick.planned_ms, chain=tick.chain, validators=validators))

        assert ("if-none-match" in {name.lower() for name in server.asked[0].headers}) is asked


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    assert witness.read("ace") is None
    (tmp_path / "ace.json").write_text("[")
    assert witness.read("ace") == Newest(0, "", 0)


@pytest.mark.parametrize("name", ["download", "filter", "compress", "archive"])
def test_a_renamed_section_can_be_known_by_the_folder_it_is_about(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    stage = load_stage(name, tmp_path)

    [one] = stage.belongings(None, tmp_path)

    assert stage.belongings(None, tmp_path / "link") == (one,)
    assert one.startswith(f"{name}:")


def test_a_body_stays_until_its_own_decision_is_committed_though_others_are(line: Filtering) -> None:
    line.folders.newest.parent.mkdir(parents=True, exist_ok=True)
    line.folders.newest.write_bytes(b"in the way")
    message = line.download(b"on", **ABOUT)
    with pytest.raises(Unavailable):
        list(line.stage.handle(message))
    line.handle(line.no_body("failed", feed="other"))
    for publication in (line.folders.publications / "ace").rglob("*.pb"):
        publication.unlink()  # bundled meanwhile
    line.folders.newest.unlink()

    told = line.handle(message)

    assert told.tick.outcome == "ok"
