"""`aggregator streams`: the file, what is built of it, listings and gaps; no supervisord runs."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.streams.aliveness import Aliveness, write_aliveness
from aggregator.streams.managing.changes import ChangeFailed, editing
from aggregator.streams.managing.options import program_options, stream_options
from aggregator.streams.messages import Gap
from tests.commands.conftest import Site

RECORD = "[worker_record]\nstage = record\nlistento = events\n# the end\n"
SSE = ("--type", "sse", "--url", "http://127.0.0.1:1/x", "--pushto", "events")
T0 = 1_790_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def streams(site: Site) -> Site:
    """An instance that records streams, and has none."""
    site.configure(RECORD)
    return site


def text_of(site: Site) -> str:
    return (site.root / "loglines.cfg").read_text()


def linked(site: Site, name: str) -> bool:
    return (site.root / f"workers_enabled/stream_{name}.conf").exists()


def listed(site: Site, name: str) -> dict[str, Any]:
    """Return what `list` says of a stream."""
    return next(each for each in site.run("streams", "list", "--json").json()["streams"] if each["name"] == name)


def gap(stream: str, begin_s: float, end_s: float, cause: str = "disconnect", lost: int | None = None) -> Gap:
    return Gap(
        stream=stream, from_ms=T0 + int(begin_s * 1000), to_ms=T0 + int(end_s * 1000), cause=cause, lost=lost
    )  # fmt: skip


def write_gaps(site: Site, stream: str, *gaps: Gap, torn: bytes = b"") -> None:
    """Write the file of a stream's gaps, as `record` does."""
    file = site.root / f"data/streams/{stream}/{stream}.gaps.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in gaps) + torn)


def test_a_stream_is_added_built_and_removed_again(streams: Site) -> None:
    before = text_of(streams)

    added = streams.run("streams", "add", "a", *SSE)

    assert added.code == 0
    assert text_of(streams).startswith(before)
    assert text_of(streams).endswith("\n[stream_a]\ntype = sse\npushto = events\nurl = http://127.0.0.1:1/x\n")
    assert linked(streams, "a")
    assert added.lines[-1] == "supervisord does not run: this takes effect when it starts"
    assert listed(streams, "a")["state"] == "active"

    removed = streams.run("streams", "remove", "a")

    assert removed.code == 0
    assert text_of(streams) == before
    assert not (streams.root / "workers_available/stream_a.conf").exists()
    assert not linked(streams, "a")


def test_every_fault_is_told_at_once_and_nothing_changes(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)
    before = {path: path.read_bytes() for path in streams.root.rglob("*") if path.is_file()}

    ran = streams.run(
        "streams", "add", "b", "--type", "twitter_v1", "--endpoint", "filter", "--pushto", "bad queue",
        "--locations", "-74,95,-73,96", "--max_size", "1",
    )  # fmt: skip
    edited = streams.run("streams", "edit", "a", "--max_size", "1", "--unset", "url")

    assert (ran.code, edited.code) == (2, 2)
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == [
        "[stream_b] pushto", "[stream_b] max_size", "nothing was changed",
    ]  # fmt: skip
    assert edited.err.splitlines()[-1] == "nothing was changed"
    assert {path: path.read_bytes() for path in streams.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "a", *SSE), "[stream_a] is there already; `streams edit` changes it"),
        (("add", "a b", *SSE), "'a b' is no name for a stream"),
        (("edit", "aa", "--track", "x"), "no section [stream_aa]; did you mean a?"),
        (("edit", "a"), "nothing to change: give --OPTION VALUE or --unset OPTION"),
        (("edit", "a", "--unset", "tipe"), "--unset tipe: unknown option; did you mean type?"),
        (("edit", "a", "--unset", "track"), "--unset track: [stream_a] does not have it"),
        (("edit", "a", "--unset", "url", "--url", "http://x/"), "--unset url: this command sets it too"),
        (("remove", "zzz"), "no section [stream_zzz]; there are: a"),
        (("activate", "zzz"), "no section [stream_zzz]"),
    ],
)
def test_what_cannot_be_meant_is_refused(streams: Site, words: tuple[str, ...], told: str) -> None:
    streams.run("streams", "add", "a", *SSE)
    before = text_of(streams)

    ran = streams.run("streams", *words)

    assert ran.code == 2
    assert told in ran.err
    assert text_of(streams) == before


def test_a_file_of_bad_form_is_refused_with_its_lines(streams: Site) -> None:
    streams.configure(f"{RECORD}nonsense\n")
    before = text_of(streams)

    ran = streams.run("streams", "add", "a", *SSE)

    assert ran.code == 2
    assert "loglines.cfg:10 [worker_record]: neither a section nor an option" in ran.err
    assert text_of(streams) == before


def test_an_edit_keeps_comments_and_says_what_it_changed(streams: Site) -> None:
    streams.configure(f"{RECORD}[stream_a]\n# mine\ntype = sse  ; a form\npushto = events\nurl = http://127.0.0.1:1/\n")

    ran = streams.run("streams", "edit", "stream_a", "--type", "ndjson", "--stall_after", "5m", "--priority", "7")

    assert ran.code == 0
    assert text_of(streams).endswith(
        "# the end\n[stream_a]\n# mine\ntype = ndjson  ; a form\npushto = events\nurl = http://127.0.0.1:1/\n"
        "stall_after = 5m\npriority = 7\n"
    )
    assert "priority = 7" in (streams.root / "workers_available/stream_a.conf").read_text()


def test_a_draft_may_be_incomplete_and_is_validated_when_it_is_activated(streams: Site) -> None:
    added = streams.run("streams", "add", "a", "--inactive", "--locations", "-74,40,-73,41")
    draft = listed(streams, "a")
    refused = streams.run("streams", "activate", "a")
    streams.run("streams", "edit", "a", *SSE, "--unset", "locations")
    activated = streams.run("streams", "activate", "a")

    assert (added.code, refused.code, activated.code) == (0, 2, 0)
    assert added.err.startswith("warning: [stream_a] type: missing")
    assert (draft["state"], len(draft["faults"])) == ("draft", 2)
    assert "[stream_a] type: missing" in refused.err and "[stream_a] pushto: missing" in refused.err
    assert "enabled = yes\n" in text_of(streams)
    assert linked(streams, "a")


def test_deactivating_keeps_the_section_as_a_draft(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)

    ran = streams.run("streams", "deactivate", "a")

    assert ran.code == 0
    assert text_of(streams).endswith("enabled = no\n")
    assert not linked(streams, "a")
    assert listed(streams, "a")["state"] == "draft"


def test_activating_brings_back_what_was_disabled_by_hand(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)
    streams.run("disable", "stream_a")
    disabled = listed(streams, "a")["state"]

    streams.run("streams", "activate", "a")

    assert (disabled, linked(streams, "a")) == ("disabled", True)


def test_two_streams_do_not_share_a_credential_that_allows_one(streams: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "very secret")
    streams.configure(f"{RECORD}[credential_one]\nbearer_token = %(ENV_TOKEN)s\n")
    words = ("--type", "twitter_v1", "--pushto", "events", "--credential", "one")
    streams.run("streams", "add", "a", *words, "--endpoint", "sample")

    refused = streams.run("streams", "add", "b", *words, "--endpoint", "filter", "--track", "nasa")
    draft = streams.run("streams", "add", "b", *words, "--endpoint", "filter", "--track", "nasa", "--inactive")
    activated = streams.run("streams", "activate", "b")
    shown = streams.run("streams", "show", "a")

    assert (refused.code, draft.code, activated.code, shown.code) == (2, 0, 2, 0)
    assert "[stream_a] and [stream_b] use it, and twitter_v1 allows one connection" in activated.err
    assert "credential = one" in shown.out and "very secret" not in shown.out


def test_mode_and_link_of_the_file_stay(streams: Site, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.cfg"
    file = streams.root / "loglines.cfg"
    file.rename(place)
    place.chmod(0o640)
    file.symlink_to(place)

    assert streams.run("streams", "add", "a", *SSE).code == 0

    assert file.is_symlink() and "[stream_a]" in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_file_stays(streams: Site) -> None:
    file = streams.root / "loglines.cfg"
    os.chown(file, 0, 12345)

    assert streams.run("streams", "add", "a", *SSE).code == 0

    assert (file.stat().st_uid, file.stat().st_gid) == (0, 12345)


def test_a_second_command_does_not_edit_at_the_same_time(streams: Site) -> None:
    handle = os.open(streams.root, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        ran = streams.run("streams", "add", "a", *SSE)
    finally:
        os.close(handle)

    assert ran.code == 1
    assert "another command is editing" in ran.err


def test_a_file_that_an_editor_saved_meanwhile_is_not_overwritten(streams: Site) -> None:
    file = streams.root / "loglines.cfg"
    with editing(file, streams.root) as edit:
        change = edit.add("a", {"type": "sse", "pushto": "events", "url": "http://x/"}, draft=False)
        streams.configure(f"{RECORD}# saved meanwhile\n")
        before = text_of(streams)

        with pytest.raises(ChangeFailed, match="was changed meanwhile"):
            list(change.carry_out())

    assert text_of(streams) == before


def test_a_build_that_is_refused_leaves_the_file(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)
    (streams.root / "workers_available/stream_b.conf").write_text("[program:mine]\n")
    before = text_of(streams)

    ran = streams.run("streams", "add", "b", *SSE)

    assert ran.code == 2
    assert "workers_available/stream_b.conf: in the way" in ran.err
    assert text_of(streams) == before


def test_each_option_of_the_section_is_an_option_of_the_command(streams: Site) -> None:
    with pytest.raises(SystemExit, match="0"):
        streams.run("streams", "edit", "--help")

    out, _ = streams._capsys.readouterr()
    for option in (*stream_options(), *program_options()):
        assert f"--{option.name} VALUE" in out


def test_show_masks_what_is_secret(streams: Site) -> None:
    url = "http://me:pass-word@127.0.0.1:1/?x=1&access_token=abcdef"
    streams.run("streams", "add", "a", "--type", "sse", "--pushto", "events", "--url", url, "--environment", 'A="b"')

    text = streams.run("streams", "show", "a").out
    shown = streams.run("streams", "show", "a", "--json").json()

    assert "http://127.0.0.1:1/?x=1&access_token=***" in text
    assert all(secret not in f"{text}{shown}" for secret in ("pass-word", "abcdef", '"b"'))
    assert shown["settings"]["environment"] == "A=***"


def test_show_counts_the_files_so_far(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)
    folder = streams.root / "data/streams/a/2026/11/28/12"
    folder.mkdir(parents=True)
    for name in ("a-2026-11-28T12-15-00Z.jsonl.gz", "a-2026-11-28T12-30-00Z-1.jsonl.gz"):
        (folder / name).write_bytes(b"x" * 10)
        (folder / f"{name}.json").write_bytes(b"{}")
    (folder / ".a-2026-11-28T12-30-00Z-1.jsonl.gz.lock").touch()

    shown = streams.run("streams", "show", "a", "--json").json()

    assert (shown["files"], shown["size_bytes"]) == (2, 20)
    assert shown["newest_file"].endswith("T12-30-00Z-1.jsonl.gz")


def test_gaps_are_added_up_by_cause_and_overlaps_count_once(streams: Site) -> None:
    write_gaps(
        streams,
        "a",
        gap("a", 0, 60),
        gap("a", 30, 90, "stall"),
        gap("a", 3600, 3600, "limit", 12),
        torn=b'no gap\n{"kind":"gap","str',
    )

    (found,) = streams.run("streams", "gaps", "--json").json()["streams"]

    assert (found["missing_s"], found["lost"], found["unreadable_lines"]) == (90.0, 12, 1)
    assert found["completeness"] == pytest.approx(1 - 90 / 3600)
    assert found["causes"] == {
        "disconnect": {"gaps": 1, "missing_s": 60.0, "lost": 0},
        "stall": {"gaps": 1, "missing_s": 60.0, "lost": 0},
        "limit": {"gaps": 1, "missing_s": 0.0, "lost": 12},
    }


def test_gaps_are_cut_at_start_and_end(streams: Site) -> None:
    write_gaps(streams, "a", gap("a", 0, 7200), gap("a", 20000, 20010))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(T0 / 1000 + 3600))
    later = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(T0 / 1000 + 10000))

    (found,) = streams.run("streams", "gaps", "a", "--json", "--start", stamp, "--end", later).json()["streams"]
    reversed_ = streams.run("streams", "gaps", "--start", later, "--end", stamp)

    assert (len(found["gaps"]), found["missing_s"]) == (1, 3600.0)
    assert found["to_ms"] - found["from_ms"] == 6_400_000
    assert (reversed_.code, reversed_.err) == (1, "aggregator: --end must be later than --start\n")


def test_a_gap_that_lasts_still_is_told(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)
    note = streams.root / "data/streams/.a.alive"
    note.parent.mkdir(parents=True)
    write_aliveness(note, Aliveness(int(time.time() * 1000) - HOUR_MS, "stall"))

    (found,) = streams.run("streams", "gaps", "--json").json()["streams"]

    assert [(each["cause"], each["open"]) for each in found["gaps"]] == [("stall", True)]
    assert found["missing_s"] == pytest.approx(3600, abs=60)
    assert "lasts still" in streams.run("streams", "gaps").out
    assert listed(streams, "a")["gaps_24h"] == 1


@pytest.mark.parametrize(
    ("type_", "hours", "causes"),
    [("wikimedia", 6 * 24, []), ("wikimedia", 8 * 24, ["stall"]), ("jetstream", 35, []), ("jetstream", 37, ["stall"])],
)
def test_what_a_platform_sends_later_is_a_gap_once_it_is_too_old_for_it(
    streams: Site, type_: str, hours: int, causes: list[str]
) -> None:
    streams.configure(f"{RECORD}\n[stream_a]\ntype = {type_}\npushto = events\n")
    note = streams.root / "data/streams/.a.alive"
    note.parent.mkdir(parents=True)
    write_aliveness(note, Aliveness(int(time.time() * 1000) - hours * HOUR_MS, "stall"))

    (found,) = streams.run("streams", "gaps", "--json").json()["streams"]

    assert [each["cause"] for each in found["gaps"]] == causes


@pytest.mark.parametrize(("hours", "columns"), [(3, 3), (24 * 20, 20)])
def test_the_page_has_a_column_for_each_hour_or_day(streams: Site, hours: int, columns: int) -> None:
    day = T0 // (24 * HOUR_MS) * 24 * HOUR_MS
    begin = (day - T0) / 1000
    write_gaps(streams, "a", gap("a", begin, begin + 1800), gap("a", begin + hours * 3600 - 1, begin + hours * 3600))
    page = streams.root / "out/gaps.html"

    ran = streams.run("streams", "gaps", "--html", str(page))

    text = page.read_text()
    assert ran.lines[-1] == f"the heat map is in {page}"
    assert text.count("<td ") == columns
    assert 'class="half"' in text if hours == 3 else 'class="good"' in text
    assert "<script" not in text and "url(" not in text


def test_what_was_written_by_others_reaches_no_terminal_and_no_page_raw(streams: Site) -> None:
    evil = msgspec.structs.replace(gap("a", 0, 60), detail="\x1b[2J<script>alert(1)</script>")
    write_gaps(streams, "a", evil)

    ran = streams.run("streams", "gaps", "--html", str(streams.root / "gaps.html"))

    assert "\x1b" not in ran.out
    assert "<script" not in (streams.root / "gaps.html").read_text()


def test_an_unknown_stream_and_none_at_all_are_told(streams: Site) -> None:
    none = streams.run("streams", "list")
    unknown = streams.run("streams", "gaps", "zzz")

    assert (none.code, none.out) == (0, "no streams; `streams add` makes one\n")
    assert (unknown.code, unknown.err) == (1, "aggregator: nothing is known of a stream 'zzz'\n")
    assert streams.run("streams", "show", "zzz").code == 1


def test_events_that_wait_in_the_journal_are_told_when_their_stream_is_removed(streams: Site) -> None:
    streams.run("streams", "add", "a", *SSE)
    journal = streams.root / "data/streams/.a.journal"
    journal.mkdir(parents=True)
    (journal / "000000000001.journal").write_bytes(b"x" * 1234)

    ran = streams.run("streams", "remove", "a")

    assert ran.lines[-1].startswith("up to 1,234 bytes in data/streams/.a.journal were received and not delivered")
