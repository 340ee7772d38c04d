"""A file that is no text of ours: its encoding, its lines, what stands twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from tests.config.faults import REDIS, SECTIONS, STAGES, Case, problems

CASES = [
    Case(
        "bad encoding",
        REDIS.encode() + b"[process_a]\ncommand = sleep 1\n# caf\xe9\n",
        (":5 [process_a]: bad encoding (found byte 0xe9 at column 6); save the file as UTF-8",),
    ),
    Case(
        "UTF-16",
        REDIS.encode("utf-16"),
        (":1: bad encoding (found UTF-16); save the file as UTF-8",),
    ),
    Case(
        "carriage return inside a line",
        REDIS + "[process_a]\r\ncommand = sleep 1\rautostart = no\r\n",
        (":4 [process_a]: control character (found '\\r' at column 18); end lines with LF or CR LF",),
    ),
    Case(
        "lines that end with CR alone",
        "# mine\r[redis]\rurl = redis://localhost/0\r",
        (":1: control character (found '\\r' at column 7); end lines with LF or CR LF",),
    ),
    Case(
        "control characters",
        REDIS + "# \f\n[process_a]\ncommand = sleep\0 1\nuser = ro\0ot\nenvironment =\n  A='\x1b[1m' ; \a\n\f\n",
        (
            ":5 [process_a]: control character (found '\\x00' at column 16); take it out",
            ":6 [process_a]: control character (found '\\x00' at column 10); take it out",
            ":6 [process_a] user: no such user on this machine (found 'ro\ufffdot')",
            ":8 [process_a]: control character (found '\\x1b' at column 6); take it out",
        ),
    ),
    Case(
        "duplicate option",
        REDIS + "url = redis://other/0\n",
        (":3 [redis] url: duplicate option; the first one stands in line 2",),
    ),
    Case(
        "duplicate section",
        REDIS + "[process_a]\ncommand = sleep 1\n[process_a]\n",
        (":5 [process_a]: duplicate section; the first one stands in line 3",),
    ),
    Case(
        "missing environment variable",
        REDIS + "[supervisor]\npassword = %(ENV_NOBODY_SETS_THIS)s\n",
        (":4 [supervisor] password: missing environment variable NOBODY_SETS_THIS",),
    ),
    Case(
        "lines of no meaning",
        "here = 1\n[redis\nurl = x\n[redis]\nurl = redis://localhost/0\nwhat is this\n= 2\n[]\n",
        (
            ":1: option before the first section (found 'here')",
            ":2: bad section header (found '[redis'); allowed: [NAME]",
            ":6 [redis]: neither a section nor an option; allowed: NAME = VALUE",
            ":7 [redis]: neither a section nor an option; allowed: NAME = VALUE",
            ":8 [redis]: bad section header (found '['…); allowed: [NAME]",
        ),
    ),
    Case(
        "everything at once, by line",
        "[supervisor]\nport = x\n[redis]\ndb = -1\n[worker_a]\nstage = none\n[worker_b]\n[warker_c]\n[redis]\n",
        (
            ":2 [supervisor] port: bad address (found 'x'); allowed: HOST:PORT, such as 127.0.0.1:9001",
            ":4 [redis] db: out of bounds (found '-1'); allowed: 0 or more",
            f":6 [worker_a] stage: unknown stage (found 'none'); allowed: {STAGES}",
            f":7 [worker_b] stage: missing; allowed: {STAGES}; or run a program with command = …",
            f":8 [warker_c]: unknown section; allowed: {SECTIONS}; did you mean worker_c?",
            ":9 [redis]: duplicate section; the first one stands in line 3",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    assert problems(case.text, tmp_path) == case.faults


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "loglines.cfg", tmp_path)

    assert raised.value.problems == (f"{tmp_path}/loglines.cfg: cannot be read: No such file or directory",)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, tmp_path)

    assert raised.value.problems == (f"{tmp_path}: cannot be read: Is a directory",)


@pytest.mark.parametrize("character", ["%", '"', "\\", "\n", "\r", "[", "]", "*", "?"])
def test_a_folder_that_supervisord_cannot_name_is_told(character: str, tmp_path: Path) -> None:
    root = tmp_path / f"50{character}"
    root.mkdir()
    file = root / "loglines.cfg"
    file.write_text(REDIS)

    with pytest.raises(ConfigError) as raised:
        load(file, root)

    words = f"the instance's folder has {character!r} in its path, which supervisord cannot read; move it"
    assert raised.value.problems == (f"{file}: {words}",)


def test_a_value_from_the_environment_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT_AND_SECRET", "hush hush")
    file = tmp_path / "loglines.cfg"
    file.write_text("[redis]\nport = %(ENV_PORT_AND_SECRET)s\n")

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    words = "bad number (found '%(ENV_PORT_AND_SECRET)s'); allowed: a whole number"
    assert raised.value.problems == (f"{file}:2 [redis] port: {words}",)
