from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import simplejson

from aggregator.config.parsing import parse_settings
from aggregator.errors import Reject, Unavailable
from aggregator.logs.logfile import LogFile
from aggregator.runtime.message import Message
from tests.logs.driving import make
from tests.servers import wait_until
from tests.settling import settled


def message(**body: Any) -> Message:
    raw = simplejson.dumps(body).encode()
    return Message(raw, raw)


class Writing:
    """A stage with its commits; `crash` forgets what was not committed, and lets the lock go as a dead process does."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.options = {"listento": "lines", "logfile": "out/articles.log", **options}
        self.cursors: dict[str, str] = {}
        self.stage = self.start()

    @property
    def path(self) -> Path:
        return self.root / "out" / "articles.log"

    def start(self) -> LogFile:
        self.stage = make(LogFile, self.root, dict(self.cursors), **self.options)
        self.stage.start()
        return self.stage

    def handle(self, *texts: str) -> None:
        for text in texts:
            assert list(self.stage.handle(message(logline=text))) == []

    def settle(self) -> dict[str, str]:
        return {name: str(text) for name, text in settled(self.stage).items()}

    def commit(self) -> None:
        self.cursors.update(self.settle())

    def crash(self) -> None:
        self.stage.file.release()
        self.start()

    def lines(self, path: Path | None = None) -> list[str]:
        return [json.loads(line)["logline"] for line in (path or self.path).read_text().splitlines()]


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    made = Writing(tmp_path)
    yield made
    made.stage.stop()


@pytest.fixture
def formatted(tmp_path: Path) -> Iterator[Callable[[str], LogFile]]:
    stages: list[LogFile] = []

    def start(template: str) -> LogFile:
        stages.append(make(LogFile, tmp_path, listento="q", logfile="f", format=template))
        stages[0].start()
        return stages[0]

    yield start
    stages[0].stop()


def test_messages_become_lines_as_they_came(tmp_path: Path, writing: Writing) -> None:
    raw = b'{"b": "\xc3\xbc",  "a":1}'
    list(writing.stage.handle(Message(raw, raw)))
    writing.commit()
    assert writing.path.read_bytes() == raw + b"\n"


def test_json_over_several_lines_becomes_one(writing: Writing) -> None:
    raw = b'{\r\n "logline":\n "a\\nb"}'
    list(writing.stage.handle(Message(raw, raw)))
    writing.commit()
    assert writing.path.read_bytes() == b'{"logline":"a\\nb"}\n'


def test_format_takes_fields_and_keeps_each_message_on_one_line(tmp_path: Path, formatted: Any) -> None:
    stage = formatted("{service} {{{number}}}: {logline} {more}")
    list(stage.handle(message(service="web", number=3, logline="a\nb\r\nü\ud800", more={"x": [1, None]})))
    settled(stage)
    assert (tmp_path / "f").read_bytes() == b'web {3}: a\\nb\\r\\n\xc3\xbc\\ud800 {"x":[1,null]}\n'


def test_a_field_that_format_needs_and_the_message_lacks_is_named(tmp_path: Path, formatted: Any) -> None:
    stage = formatted("{service} {logline}")
    with pytest.raises(Reject, match=r"no field 'logline', which format = \{service\} \{logline\} needs"):
        list(stage.handle(message(service="web")))
    assert settled(stage) == {}
    assert not (tmp_path / "f").exists()


def test_what_is_no_json_object_is_rejected(writing: Writing) -> None:
    with pytest.raises(Reject):
        list(writing.stage.handle(Message(b"nonsense", b"nonsense")))


def test_check_refuses_formats_of_fields() -> None:
    settings, _ = parse_settings(LogFile.Settings, {"listento": "q", "logfile": "f", "format": "{a:>10} {b!r} {c}"})
    assert [option for option, _ in LogFile.check(settings, RawConfigParser())] == ["format", "format"]


@pytest.mark.parametrize("text", ["{a}\n{b}", "{a}\r", "{a}\x1b[1m", "{a}\u2028", "{a}\x85"])
def test_a_format_of_several_lines_is_refused(text: str) -> None:
    _, faults = parse_settings(LogFile.Settings, {"listento": "q", "logfile": "f", "format": text})
    assert [fault.option for fault in faults] == ["format"]
    assert "one line of text" in str(faults[0])


def test_a_format_may_have_tabs_in_it(tmp_path: Path, formatted: Any) -> None:
    stage = formatted("{a}\t{b}")
    list(stage.handle(message(a="1", b="2")))
    settled(stage)
    assert (tmp_path / "f").read_bytes() == b"1\t2\n"


def test_folder_and_file_are_created_with_their_modes(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        writing = Writing(tmp_path, mode="0664")
        writing.handle("a")
        writing.commit()
    finally:
        os.umask(old)
    assert oct(writing.path.stat().st_mode & 0o7777) == "0o664"
    assert writing.path.parent.stat().st_mode & 0o027 == 0
    writing.stage.stop()


def test_a_batch_without_lines_stores_nothing(writing: Writing) -> None:
    assert writing.settle() == {}
    assert not writing.path.exists()


def test_what_was_handled_but_never_settled_leaves_no_trace(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    writing.handle("lost")
    writing.crash()
    writing.handle("b")
    writing.commit()
    assert writing.lines() == ["a", "b"]


def test_what_was_settled_but_not_committed_is_taken_back(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    writing.handle("b", "c")
    writing.settle()
    assert writing.lines() == ["a", "b", "c"]
    writing.crash()
    assert writing.lines() == ["a"]
    writing.handle("b", "c")
    writing.commit()
    assert writing.lines() == ["a", "b", "c"]


def test_the_very_first_write_is_taken_back_when_it_was_not_committed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/articles.log").write_text('{"logline": "older"}\n')
    writing = Writing(tmp_path)
    writing.handle("a")
    writing.settle()
    writing.crash()
    assert writing.lines() == ["older"]
    writing.stage.stop()


@pytest.mark.parametrize("texts", ["a", "ab", "abc"])
def test_lines_whose_cursor_redis_has_lost_are_kept(writing: Writing, texts: str) -> None:
    writing.handle("first")
    writing.commit()
    writing.crash()
    for text in texts:
        writing.handle(text)
        writing.commit()
    writing.cursors.clear()
    writing.crash()
    assert writing.lines() == ["first", *texts]


def test_a_renamed_file_is_left_and_its_successor_written(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    rotated = writing.path.with_name("articles.log.1")
    writing.path.rename(rotated)
    writing.handle("b")
    writing.commit()
    assert (writing.lines(rotated), writing.lines()) == (["a"], ["b"])


def test_a_file_that_was_removed_is_made_again(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    writing.path.unlink()
    writing.handle("b")
    writing.commit()
    assert writing.lines() == ["b"]


@pytest.mark.parametrize("create", [True, False])
def test_uncommitted_lines_of_a_file_that_was_rotated_since_are_taken_back(writing: Writing, create: bool) -> None:
    writing.handle("a")
    writing.commit()
    writing.handle("b")
    writing.settle()
    rotated = writing.path.with_name("articles.log.1")
    writing.path.rename(rotated)
    if create:
        writing.path.touch()
    writing.crash()
    writing.handle("b")
    writing.commit()
    assert (writing.lines(rotated), writing.lines()) == (["a"], ["b"])


def test_uncommitted_lines_of_a_new_file_are_taken_back_when_the_cursor_is_of_the_old_one(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    first = writing.path.with_name("articles.log.1")
    writing.path.rename(first)
    writing.handle("b")
    writing.settle()
    writing.crash()
    assert (writing.lines(first), writing.lines()) == (["a"], [])
    writing.handle("b")
    writing.settle()
    second = writing.path.with_name("articles.log.2")
    writing.path.rename(second)
    writing.crash()
    assert (writing.lines(first), writing.lines(second)) == (["a"], [])


def test_a_file_truncated_by_others_goes_on_at_its_actual_end(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    os.truncate(writing.path, 0)
    writing.handle("b")
    writing.commit()
    writing.crash()
    assert writing.lines() == ["b"]
    assert b"\0" not in writing.path.read_bytes()


@pytest.mark.parametrize("count", [1, 40])
def test_the_first_write_to_a_successor_is_taken_back_though_it_has_the_inode(writing: Writing, count: int) -> None:
    writing.handle("a", "b")
    writing.commit()
    writing.path.unlink()  # its inode is free from the next write on, and given to the successor more often than not
    writing.handle(*"n" * count)
    writing.settle()
    writing.crash()
    assert writing.lines() == []


@pytest.mark.parametrize("text", ["c", "c" * 100])
def test_the_first_write_after_a_truncation_by_others_is_taken_back(writing: Writing, text: str) -> None:
    writing.handle("a" * 20)
    writing.commit()
    os.truncate(writing.path, 0)
    writing.handle(text)
    writing.settle()
    writing.crash()
    assert writing.lines() == []


def test_a_first_write_of_which_only_a_part_is_there_is_taken_back(writing: Writing) -> None:
    writing.handle("a" * 100)
    writing.settle()
    writing.stage.file.release()
    os.truncate(writing.path, 10)
    writing.start()
    assert writing.path.read_bytes() == b""


def test_lines_of_a_file_that_was_only_begun_alike_are_kept(writing: Writing) -> None:
    writing.handle("a")
    writing.settle()
    writing.stage.file.release()
    with writing.path.open("r+b") as file:
        file.write(b"B")
    writing.start()
    assert writing.path.read_bytes() == b'B"logline": "a"}\n'


@pytest.mark.parametrize("name", ["articles.log", "articles.log.1", "important.csv"])
def test_a_file_of_others_that_got_the_inode_is_left_alone(writing: Writing, name: str) -> None:
    writing.handle("a")
    writing.commit()
    writing.stage.stop()
    other = writing.path.rename(writing.path.with_name(name))
    other.write_text("precious\n" * 100)  # the same inode, whatever the file system hands out
    writing.start()
    assert other.read_text() == "precious\n" * 100


def test_a_file_that_was_renamed_to_a_name_of_another_kind_is_left_alone(writing: Writing) -> None:
    writing.handle("a")
    writing.commit()
    writing.stage.stop()
    merged = writing.path.rename(writing.path.with_name("merged.log"))
    with merged.open("a") as file:
        file.write('{"logline": "merged"}\n')
    writing.start()
    assert writing.lines(merged) == ["a", "merged"]


def test_a_cursor_and_a_lock_file_of_an_older_form_take_nothing_back(writing: Writing) -> None:
    writing.handle("a", "b")
    writing.commit()
    writing.stage.stop()
    inode = writing.path.stat().st_ino
    writing.cursors["out/articles.log"] = f'{{"ino":{inode},"size":5}}'
    writing.path.with_name(".articles.log.lock").write_text(f'{{"pid":1,"ino":{inode},"size":0,"end":99}}\n'.ljust(128))
    writing.start()
    writing.handle("c")
    writing.commit()
    writing.handle("d")
    writing.settle()
    writing.crash()
    assert writing.lines() == ["a", "b", "c"]


def test_what_somebody_else_appended_is_kept_and_told(writing: Writing, caplog: pytest.LogCaptureFixture) -> None:
    writing.handle("a")
    writing.commit()
    with writing.path.open("a") as file:
        file.write('{"logline": "foreign"}\n')
    writing.handle("b")
    writing.commit()
    assert writing.lines() == ["a", "foreign", "b"]
    assert "somebody else writes to this file" in caplog.text


def test_a_second_process_is_kept_out_and_told_who_has_the_file(tmp_path: Path, writing: Writing) -> None:
    with pytest.raises(Unavailable, match=f"held by pid {os.getpid()}"):
        Writing(tmp_path)
    writing.path.parent.joinpath("articles.log").touch()
    writing.path.rename(writing.path.with_name("articles.log.1"))
    with pytest.raises(Unavailable, match="held by pid"):
        Writing(tmp_path)


def test_a_folder_that_is_not_ours_pauses_the_worker(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot lock"):
        Writing(tmp_path)


def run(root: Path, script: str, **options: Any) -> subprocess.Popen[str]:
    """Run a script with `stage`, `message` and `say` in a process of its own."""
    head = f"""
        import sys
        from pathlib import Path
        from aggregator.errors import Unavailable
        from aggregator.logs.logfile import LogFile
        from tests.logs.driving import make
        from tests.settling import settled
        from tests.logs.test_logfile import message
        def say(text):
            print(text, flush=True)
        stage = make(LogFile, Path({str(root)!r}), {{}}, listento="q", logfile="out/articles.log")
        stage.start()
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_sigkill_between_settle_and_commit_takes_the_lines_back(tmp_path: Path) -> None:
    script = """
        for number in range(1000):
            stage.handle(message(logline=str(number)))
            cursor = settled(stage)
            if number == 500:
                say(cursor["out/articles.log"])
        say("done")
        sys.stdin.read()
    """
    process = run(tmp_path, script)
    assert process.stdout is not None
    committed = process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    writing = Writing.__new__(Writing)
    writing.root, writing.options = tmp_path, {"listento": "q", "logfile": "out/articles.log"}
    writing.cursors = {"out/articles.log": committed}
    wait_until(lambda: writing.start())
    assert writing.lines() == [str(number) for number in range(501)]
    writing.stage.stop()


def test_a_write_that_does_not_fit_leaves_nothing_and_is_made_later(tmp_path: Path) -> None:
    script = """
        import resource
        stage.handle(message(logline="first"))
        settled(stage)
        for number in range(100):
            stage.handle(message(logline=str(number) * 10))
        try:
            settled(stage)
        except Unavailable as error:
            say(f"{error} {Path(%r).stat().st_size}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        stage.handle(message(logline="last"))
        settled(stage)
        say("written")
    """
    path = tmp_path / "out" / "articles.log"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # noqa: E731
    process = run(tmp_path, script % str(path), preexec_fn=limit)
    out, _ = process.communicate(timeout=60)
    size = len('{"logline": "first"}\n')
    assert out.splitlines() == [f"cannot write {path}: File too large {size}", "written"]
    lines = [json.loads(line)["logline"] for line in path.read_text().splitlines()]
    assert lines == ["first", *(str(number) * 10 for number in range(100)), "last"]
