"""What a section wrote stays, whatever becomes of the names, the section and the Redis that it was written for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggregator.config.parsing import parse_settings
from aggregator.errors import Superseded, Unavailable
from aggregator.logs.logfile import LogFile
from tests.logs.driving import make
from tests.logs.test_logfile import message
from tests.settling import settled


class Output:
    """An instance with one output file; cursors are kept for each section of each state, as Redis does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stores: dict[tuple[str, str], dict[str, str]] = {}
        self.now = 1_800_000_000.0
        self.section, self.state = "", ""
        self.stage: LogFile | None = None
        (root / "out").mkdir()
        (root / "link").symlink_to("out")
        (root / "linked.log").symlink_to("out/all.log")

    @property
    def path(self) -> Path:
        return self.root / "out" / "all.log"

    @property
    def cursors(self) -> dict[str, str]:
        return self.stores.setdefault((self.section, self.state), {})

    def start(self, logfile: str = "out/all.log", section: str = "logger_o", state: str = "one") -> LogFile:
        self.section, self.state = section, state
        stage = make(
            LogFile,
            self.root,
            dict(self.cursors),
            section=section,
            state=state,
            clock=lambda: self.now,
            listento="q",
            logfile=logfile,
        )
        stage.start()
        self.stage = stage
        return stage

    def write(self, *texts: str, commit: bool = True) -> None:
        """Write each text in a commit of its own, a second after another; the last one uncommitted if so wished."""
        assert self.stage is not None
        for number, text in enumerate(texts, 1):
            self.now += 1.0
            assert list(self.stage.handle(message(logline=text))) == []
            cursor = settled(self.stage)
            if commit or number < len(texts):
                self.cursors.update(cursor)

    def stop(self) -> None:
        assert self.stage is not None
        self.stage.stop()
        self.stage = None

    def kill(self) -> None:
        """Let go as the kernel does when a process is killed."""
        assert self.stage is not None
        self.stage.file.release()
        self.stage = None

    def lines(self) -> str:
        return "".join(json.loads(line)["logline"] for line in self.path.read_text().splitlines())

    def reported(self) -> list[tuple[str, bool]]:
        assert self.stage is not None
        return [(report.code, report.lasting) for report in self.stage.context.reports.values()]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    made = Output(tmp_path)
    yield made
    if made.stage is not None:
        made.stage.stop()


SPELLINGS = ["./out/all.log", "out//all.log", "link/all.log", "out/../out/all.log", "linked.log", "{root}/out/all.log"]
ENDS: list[Callable[[Output], None]] = [Output.stop, Output.kill]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("texts", ["a", "abc"])
def test_lines_stay_when_the_path_is_spelt_otherwise(
    output: Output, spelling: str, end: Callable[[Output], None], texts: str
) -> None:
    output.start()
    output.write(*texts)
    end(output)
    output.start(spelling.format(root=output.root))
    assert output.lines() == texts
    assert output.reported() == []
    output.write("d", commit=False)
    output.kill()
    output.start()
    assert output.lines() == texts, "what was not committed is taken back under any spelling"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_was_not_committed_is_taken_back_under_another_spelling(output: Output, spelling: str) -> None:
    output.start(spelling.format(root=output.root))
    output.write("a", "b", "c", commit=False)
    output.kill()
    output.start()
    assert output.lines() == "ab"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("texts", ["a", "abc"])
@pytest.mark.parametrize(("section", "state"), [("logger_p", "one"), ("logger_o", "two"), ("logger_p", "two")])
def test_lines_stay_when_redis_knows_nothing_of_them(
    output: Output, section: str, state: str, end: Callable[[Output], None], texts: str
) -> None:
    output.start()
    output.write(*texts)
    end(output)
    output.start(section=section, state=state)
    assert output.lines() == texts
    assert output.reported() == ([] if end is Output.stop else [("may_be_double", True)])
    output.write("d")
    output.kill()
    output.start()
    assert output.lines() == texts + "d", "nor when the section or the state of before is back"


def test_lines_of_another_state_are_warned_of(output: Output, caplog: pytest.LogCaptureFixture) -> None:
    output.start()
    output.write("a")
    output.stop()
    output.start(state="two")
    assert "other_state path=" in caplog.text


def test_a_renamed_section_that_took_over_the_cursors_takes_back(output: Output) -> None:
    output.start()
    output.write("a", "b", "c", commit=False)
    output.kill()
    output.stores["logger_p", "one"] = output.stores.pop(("logger_o", "one"))
    output.start(section="logger_p")
    assert output.lines() == "ab"


def test_a_cursor_that_stayed_behind_when_another_section_wrote_takes_nothing_back(output: Output) -> None:
    output.start()
    output.write("a", "b")
    output.kill()
    output.stores["logger_p", "one"] = dict(output.cursors)
    output.start(section="logger_p")
    output.write("c", "d")
    output.kill()
    output.start()
    assert output.lines() == "abcd"


@pytest.mark.parametrize(("passed_s", "kept"), [(0.0, "ab"), (600.0, "abcd")])
def test_a_redis_that_is_older_takes_back_seconds_and_no_more(output: Output, passed_s: float, kept: str) -> None:
    output.start()
    output.write("a", "b")
    older = dict(output.cursors)
    output.write("c")
    output.now += passed_s
    output.write("d")
    output.now += passed_s
    output.write("e", commit=False)
    output.kill()
    output.stores["logger_o", "one"] = older
    output.start()
    assert output.lines() == kept + ("e" if passed_s else "")
    assert output.reported() == ([("may_be_double", True)] if passed_s else [])


def test_a_redis_that_is_older_takes_nothing_back_from_a_section_that_was_stopped(output: Output) -> None:
    output.start()
    output.write("a", "b")
    older = dict(output.cursors)
    output.write("c")
    output.stop()
    output.stores["logger_o", "one"] = older
    output.start()
    assert output.lines() == "abc"
    assert output.reported() == [("may_be_double", True)]


def test_lines_that_were_put_into_the_file_while_the_section_was_stopped_stay(output: Output) -> None:
    output.start()
    output.write("a", "b")
    output.stop()
    with output.path.open("a") as file:
        file.write('{"logline": "x"}\n')
    output.start()
    output.write("c")
    assert output.lines() == "abxc"


@pytest.mark.parametrize("move", [True, False])
def test_lines_stay_when_the_folder_is_moved_or_copied(tmp_path: Path, move: bool) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    output = Output(old)
    output.start()
    output.write("a", "b", "c", commit=False)
    output.kill()
    (shutil.move if move else shutil.copytree)(str(old), str(new))
    output.root = new
    output.start()
    assert output.lines() == ("ab" if move else "abc"), "a copy has other inodes, so nothing proves what it is"
    output.stop()


@pytest.mark.parametrize("known", [True, False])
def test_the_note_of_an_earlier_version_counts_only_with_a_cursor(output: Output, known: bool) -> None:
    output.start()
    output.write("a", "b")
    output.kill()
    cursor = json.loads(output.cursors["out/all.log"])
    size = output.path.stat().st_size
    lock = output.path.with_name(".all.log.lock")
    first = {"pid": 1, "place": {**cursor, "generation": 2}, "end": size + 17, "head": "eyJsb2dsaW5lIjogImMifQo="}
    lock.write_text(json.dumps(first).ljust(512) + "\n")
    with output.path.open("a") as file:
        file.write('{"logline": "c"}\n')
    output.cursors.clear()
    if known:
        output.cursors["link/all.log"] = json.dumps({**cursor, "generation": 1})
    output.start()
    assert output.lines() == ("ab" if known else "abc")


def test_a_lost_note_takes_nothing_back(output: Output) -> None:
    output.start()
    output.write("a", "b", "c", commit=False)
    output.kill()
    output.path.with_name(".all.log.lock").unlink()
    output.start()
    assert output.lines() == "abc"
    assert output.reported() == [("may_be_double", True)]


def test_who_had_to_wait_for_the_file_starts_anew(output: Output) -> None:
    first = output.start()
    output.write("a")
    second = make(LogFile, output.root, dict(output.cursors), section="logger_p", listento="q", logfile="link/all.log")
    with pytest.raises(Unavailable, match="held by pid"):
        second.start()
    output.write("b")
    first.stop()
    with pytest.raises(Superseded, match="until now"):
        second.start()
    assert output.lines() == "ab"
    output.start()


def test_a_link_that_leads_elsewhere_meanwhile_makes_the_section_start_anew(output: Output) -> None:
    stage = output.start("linked.log")
    output.write("a")
    link = output.root / "linked.log"
    link.unlink()
    link.symlink_to("out/other.log")
    list(stage.handle(message(logline="b")))
    with pytest.raises(Superseded, match="leads to another file"):
        settled(stage)
    output.kill()
    output.start("linked.log")
    output.write("b")
    assert output.lines() == "a"
    assert "b" in (output.root / "out/other.log").read_text()


@pytest.mark.parametrize("spelling", ["out/all.log", *SPELLINGS])
def test_a_file_belongs_to_a_section_however_it_is_spelt(output: Output, spelling: str) -> None:
    text = spelling.format(root=output.root)
    settings, _ = parse_settings(LogFile.Settings, {"listento": "q", "logfile": text})
    assert LogFile.belongings(settings, output.root) == (f"file:{os.path.realpath(output.path)}",)
