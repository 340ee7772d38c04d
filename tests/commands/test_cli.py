"""The command line as a whole: usage, errors, exit codes, and that all of it is documented."""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import simplejson

from aggregator import __version__
from aggregator.cli import COMMANDS, command_parser, main, top_parser
from aggregator.commands import screen
from aggregator.commands.screen import Column, Painted
from aggregator.config.hints import counted
from tests.commands.conftest import PROJECT, Site
from tests.logs.driving import nobody
from tests.runtime.desk import bodies


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every parser that is not hidden, with the words that lead to it."""
    yield "aggregator", top_parser()
    for name, command in COMMANDS.items():
        if command.words:
            yield from below(f"aggregator {name}", command_parser(name))


def below(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a parser and those of its actions."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from below(f"{words} {name}", sub)


def test_every_command_and_option_is_in_the_documentation() -> None:
    page = (PROJECT / "docs" / "cli.md").read_text(encoding="utf-8")

    for words, parser in parsers():
        assert f"`{words}" in page, words
        for action in parser._actions:
            for option in action.option_strings:
                assert option in page, f"{words} {option}"


DOING = {
    "init", "run", "config build", "enable", "disable", "work",
    "dead requeue", "dead drop", "state adopt", "state drop", "state export", "state import", "state fork",
    "feeds retrieve", "feeds export", "feeds import", "download", "filter", "compress", "archive", "testrun",
    "streams add", "streams edit", "streams activate", "streams deactivate", "streams remove", "streams export",
    "rules add", "rules remove", "rules import", "rules export",
}  # fmt: skip
"""The commands that do something; every other command lists something."""


def test_every_listing_takes_json() -> None:
    for words, parser in parsers():
        leaf = not any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
        if leaf and words != "aggregator" and words.removeprefix("aggregator ") not in DOING:
            assert any("--json" in action.option_strings for action in parser._actions), words


def test_every_command_that_the_pages_show_can_be_given_as_it_stands() -> None:
    shown = []
    for page in ("README.md", "docs/streams.md"):
        text = (PROJECT / page).read_text()
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            found = re.findall(r"^ *(?:\$ )?(?:run/)?aggregator ([a-z].*?)(?:   .*)?$", block, re.MULTILINE)
            shown += [shlex.split(line) for line in found]

    assert len(shown) > 30
    for name, *words in shown:
        command_parser(name).parse_args(words)  # exits when it is wrong


def test_every_option_has_help() -> None:
    for words, parser in parsers():
        for action in parser._actions:
            assert action.help or isinstance(action, argparse._SubParsersAction), f"{words} {action.dest}"


def test_without_a_command_the_help_is_shown_and_the_usage_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "words"), [(0, "0 queues"), (1, "1 queue"), (2000, "2,000 queues")])
def test_one_thing_is_no_things(number: int, words: str) -> None:
    assert counted(number, "queue") == words


def test_hidden_commands_are_not_in_the_help() -> None:
    text = top_parser().format_help()

    assert "  status" in text
    assert "  demo" not in text


def test_an_unknown_command_is_refused_with_the_one_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["statsu"])

    assert "did you mean status?" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])

    assert capsys.readouterr().out == f"aggregator {__version__}\n"


@pytest.mark.parametrize("words", [["queues"], ["ledger"], ["dead", "list"], ["dead", "requeue", "--all"]])
def test_redis_away_is_one_clear_line(site: Site, words: list[str]) -> None:
    site.head = "[redis]\nurl = redis://user:secret@127.0.0.1:1/0\n"
    site.configure("")

    ran = site.run(*words)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("aggregator: Redis at redis://user:***@127.0.0.1:1/0 is away: ")
    assert len(ran.err.splitlines()) == 1


def test_our_own_redis_away_says_how_to_start_it(site: Site) -> None:
    site.head = ""
    site.configure("[process_redis]\n")

    ran = site.run("queues")

    assert ran.err.endswith(f"it runs while the instance does: aggregator -r {site.root} run\n")


def test_a_socket_of_another_user_is_said_to_be_theirs(site: Site, tmp_path: Path) -> None:
    site.head = f"[redis]\nurl = unix://{tmp_path}/redis.sock\n"
    site.configure("")
    site.run("queues")  # what nobody may not import is imported
    tmp_path.chmod(0o755)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/redis.sock")
        (tmp_path / "redis.sock").chmod(0)
        with nobody():
            ran = site.run("queues")

    assert ran.err.endswith("Permission denied; that is for the user whom the instance runs as\n")


def test_a_reader_that_goes_away_is_no_error(site: Site) -> None:
    site.kill("kept", *bodies(3000))
    process = site.start("dead", "list", "--limit", "3000")
    assert process.stdout and process.stderr

    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(60)

    assert err == ""


def test_a_shell_that_closed_the_output_still_gets_the_exit_code(site: Site) -> None:
    command = shlex.join([sys.executable, "-m", "aggregator", "-r", str(site.root), "config", "check"])

    for closed in (">&-", "<&- >&-", "<&- >&- 2>&-"):
        ran = subprocess.run(f"{command} {closed}", shell=True, stderr=subprocess.PIPE, cwd=PROJECT, check=False)

        assert (ran.returncode, ran.stderr) == (0, b""), closed


def test_what_the_terminal_has_no_character_for_is_shown_by_its_number(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "caf\u00e9"
    root.mkdir()
    (root / "loglines.cfg").write_text(f"{site.head}[worker_a]\ncommand = cat\n")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    def told(*words: str) -> str:
        command = [sys.executable, "-m", "aggregator", "-r", str(root), *words]
        return subprocess.run(
            command, capture_output=True, encoding="ascii", cwd=PROJECT, env=environment, check=True
        ).stdout  # fmt: skip

    assert told("config", "check").startswith(f"{tmp_path}/caf\\xe9/loglines.cfg: fine")
    assert simplejson.loads(told("status", "--json"))["root"] == str(root)


def test_quiet_prints_results_only(site: Site) -> None:
    assert site.run("-q", "dead", "list").out == ""
    assert site.run("ledger", "--quiet").lines[-1] != "The books balance."
    assert site.run("config", "check", "-q").out == ""


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "aggregator", "--version"]

    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout == f"aggregator {__version__}\n"


class Terminal(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_whose_users_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    wanted = screen.colours_wanted(Terminal()), screen.colours_wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")

    assert wanted == (True, False)
    assert not screen.colours_wanted(Terminal())


def test_a_table_is_aligned_whether_painted_or_not() -> None:
    columns = (Column("NAME"), Column("N", True), Column("X"))
    rows: list[list[str | Painted]] = [["a", "1,000", Painted("bad", "red")], ["longer", "1", ""]]

    plain = screen.table(columns, rows)
    painted = screen.table(columns, rows, colours=True)

    assert plain == "NAME        N  X\na       1,000  bad\nlonger      1"
    assert painted.replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") == plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.44, "0.4 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (360000, "4 d 4 h")],
)
def test_spans_of_time_have_two_units(seconds: float | None, text: str) -> None:
    assert screen.age(seconds) == text
