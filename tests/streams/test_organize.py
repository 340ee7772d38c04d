"""`streams organize`: an old data folder becomes ours; nothing is lost, whatever state its files are in."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import simplejson

from aggregator.cli import main
from aggregator.streams.organizing.inspecting import inspect
from aggregator.streams.organizing.oldfiles import OldFile
from aggregator.streams.organizing.takeover import Left, take_over

CASES = Path(__file__).parents[1] / "data/streams/organize-cases.tsv"
NAME = "twitterfilter-2-2014-04-11T04-34-28Z.gz"
TWEETS = [
    b'{"id":%d,"id_str":"%d","text":"t","user":{"id":1},"created_at":"x"}' % (n, n) for n in range(2**60, 2**60 + 50)
]
OLD = 7200.0


def packed(lines: list[bytes], ending: bytes = b"\r\n") -> bytes:
    return gzip.compress(b"".join(line + ending for line in lines), mtime=0)


def put(folder: Path, name: str, data: bytes, age_s: float = OLD) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return tmp_path / "ours"


def organize(old: Path, ours: Path, *words: str) -> int:
    return main(["-r", str(ours.parent), "streams", "organize", str(old), "--directory", str(ours), *words])


def below(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, but for the lock."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop(".organize.lock", None)
    return files


def sidecar(folder: Path) -> Any:
    """Return the only sidecar below a folder."""
    [path] = folder.rglob("*.gz.json")
    return simplejson.loads(path.read_text())


@pytest.mark.parametrize("case", [line for line in CASES.read_text().splitlines() if line[0] != "#"])
def test_a_file_goes_where_the_old_program_put_it(case: str, old: Path, ours: Path) -> None:
    name, age_s, wanted = case.split("\t")
    if name.endswith("/"):
        (old / name).mkdir()
    else:
        put(old, name, packed(TWEETS), float(age_s))
    # the old program never moved a name with a capital T before the time; we do
    folder = "Teachers/2014/04/11/04/" if name.startswith("Teachers") else wanted

    assert organize(old, ours) == 0

    if folder == "-":
        assert (old / name).exists() and below(ours) == {}
    else:
        assert not (old / name).exists()
        [copy] = [path for path in below(ours) if path.endswith(".jsonl.gz")]
        assert os.path.dirname(copy) + "/" == folder
        assert below(ours)[copy] == packed(TWEETS)


def test_the_sidecar_says_what_the_file_holds(old: Path, ours: Path) -> None:
    lines = [b'{"limit":{"track":3}}', b"", *TWEETS, b'{"delete":{"status":{"id":1}}}', b"no JSON"]
    path = put(old, NAME, packed(lines))

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert organize(old, ours) == 0

    told = sidecar(ours)
    assert (told["stream"], told["count"], told["sha256"]) == ("twitterfilter-2", 53, digest)
    assert told["first_received"] == "2014-04-11T04:34:28Z"
    assert told["origin"]["file"] == NAME
    content = told["content"]
    assert (content["blank_lines"], content["with_id"], content["no_json"]) == (1, 50, 1)
    assert content["kinds"] == {"control": 1, "deletion": 1, "other": 1, "post": 50}
    assert content["is_whole"] is True


def test_a_cut_file_keeps_its_bytes_and_the_sidecar_says_what_can_be_read(old: Path, ours: Path) -> None:
    incompressible = [b'{"id":%d,"text":"%s"}' % (n, os.urandom(40).hex().encode()) for n in range(200)]
    data = packed(incompressible)
    put(old, NAME, data[: len(data) // 2])

    assert organize(old, ours) == 0

    told = sidecar(ours)
    [copy] = ours.rglob("*.jsonl.gz")
    assert copy.read_bytes() == data[: len(data) // 2]
    assert told["content"]["is_whole"] is False and told["content"]["fault"].startswith("cut")
    assert 80 < told["count"] < 110
    assert 0 < told["content"]["tail_bytes"] < 150


@pytest.mark.parametrize("data", [b"", packed(TWEETS)[:5]])
def test_a_file_that_was_hardly_begun_is_kept_too(data: bytes, old: Path, ours: Path) -> None:
    put(old, NAME, data)

    assert organize(old, ours) == 0

    assert sidecar(ours)["count"] == 0
    assert data in below(ours).values()


def test_damage_inside_is_told_and_the_bytes_stay(old: Path, ours: Path) -> None:
    data = bytearray(packed([os.urandom(40).hex().encode() for _ in range(5000)]))
    data[len(data) // 2] ^= 0xFF
    put(old, NAME, bytes(data))

    assert organize(old, ours) == 0

    assert bytes(data) in below(ours).values()
    assert sidecar(ours)["content"]["fault"].startswith("damaged")


def test_what_the_server_said_in_plain_text_makes_no_other_file_of_it(old: Path, ours: Path) -> None:
    put(old, NAME, packed([b"Exceeded connection limit for user", *TWEETS]))

    organize(old, ours)

    [copy] = ours.rglob("*.jsonl.gz")
    assert copy.read_bytes() == packed([b"Exceeded connection limit for user", *TWEETS])


def test_xml_stays_xml(old: Path, ours: Path) -> None:
    put(old, "sample-2012-04-22T17:33:44Z.xml.gz", packed([b"<status/>"]))

    organize(old, ours)

    assert "sample/2012/04/22/17/sample-2012-04-22T17-33-44Z.xml.gz" in below(ours)


def test_xml_that_is_in_place_already_stays_there(old: Path) -> None:
    name = "sample/2012/04/22/17/sample-2012-04-22T17-33-44Z.xml.gz"
    put(old, name, packed([b"<status/>"]))

    for _ in range(2):
        assert organize(old, old) == 0
        assert {*below(old)} == {name, f"{name}.json"}


def test_what_is_no_gzip_is_left_and_is_a_failure(old: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(old, NAME, b"hello")

    assert organize(old, ours) == 1

    assert below(old) == {NAME: b"hello"} and below(ours) == {}
    assert "not packed by gzip" in capsys.readouterr().out


def test_files_that_the_old_program_had_moved_are_taken_over_too(old: Path, ours: Path) -> None:
    put(old, f"twitterfilter-2/2014/04/11/04/{NAME}", packed(TWEETS))

    organize(old, ours)

    assert len(list(ours.rglob("*.jsonl.gz"))) == 1 and below(old) == {}


def test_the_folder_may_be_its_own_target_and_twice_changes_nothing(old: Path) -> None:
    put(old, NAME, packed(TWEETS))
    put(old, f"twitterfilter-2/2014/04/11/05/{NAME.replace('T04', 'T05')}", packed(TWEETS))

    organize(old, old)
    once = below(old)
    assert organize(old, old) == 0

    assert below(old) == once
    assert sorted(path for path in once if path.endswith(".gz")) == [
        "twitterfilter-2/2014/04/11/04/twitterfilter-2-2014-04-11T04-34-28Z.jsonl.gz",
        "twitterfilter-2/2014/04/11/05/twitterfilter-2-2014-04-11T05-34-28Z.jsonl.gz",
    ]


def test_two_files_of_one_second_are_both_kept(old: Path, ours: Path) -> None:
    put(old, "s-2014-04-11T04-34-28Z.gz", packed(TWEETS))
    put(old, "s-2014-04-11T04:34:28Z.gz", packed(TWEETS[1:]))

    organize(old, ours)

    assert {packed(TWEETS), packed(TWEETS[1:])} < {*below(ours).values()}
    assert len(below(ours)) == 4


def test_a_file_that_a_process_has_open_is_left(old: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put(old, NAME, packed(TWEETS))
    with path.open("ab") as written:
        holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=written)
    os.utime(path, (1, 1))
    try:
        assert organize(old, ours) == 0
        assert path.exists() and "has it open" in capsys.readouterr().out
    finally:
        holder.communicate(timeout=30)

    assert organize(old, ours) == 0
    assert not path.exists()


def test_links_and_odd_names_are_left_alone(old: Path, ours: Path, tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.gz", packed(TWEETS))
    (old / NAME).symlink_to(secret)
    outside = tmp_path / "outside"
    put(outside, f"2014/04/11/04/{NAME}", packed(TWEETS))
    (old / "twitterfilter-2").symlink_to(outside)
    os.mkfifo(old / "s-2014-04-11T04-34-28Z.gz")
    for odd in (
        "a\nb-2014-04-11T04-34-28Z.gz",
        "..-2014-04-11T04-34-28Z.gz",
        "s-2014-13-41T04-34-28Z.gz",
        "\x1b[2J.gz",
    ):
        put(old, odd, packed(TWEETS))
    before = len(below(old))

    assert organize(old, ours) == 0

    assert len(below(old)) == before and below(ours) == {}
    assert secret.exists()


def test_names_reach_the_terminal_harmless(old: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(old, "\x1b[2J\n.gz", packed(TWEETS))

    organize(old, ours)

    assert "\x1b" not in capsys.readouterr().out


def test_a_bomb_is_left_where_it_is(old: Path, ours: Path) -> None:
    path = put(old, NAME, gzip.compress(bytes(3 << 20)))

    with pytest.raises(Left, match="unpacks to more than"):
        take_over(OldFile(path, 0, "s", 0), ours, most_bytes=1 << 20)

    assert path.exists() and not ours.exists()


def test_a_copy_that_reads_back_otherwise_is_not_trusted(
    old: Path, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(old, NAME, packed(TWEETS))

    def lying(handle: int) -> None:
        """Sync as a disk does that stores something else."""
        with suppress(OSError):
            os.pwrite(handle, b"?", 30)

    monkeypatch.setattr(os, "fsync", lying)

    assert organize(old, ours) == 1

    assert path.exists() and below(ours) == {}


def test_a_dry_run_does_nothing(old: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(old, NAME, packed(TWEETS))

    assert organize(old, ours, "--dry-run") == 0

    assert (old / NAME).exists() and not ours.exists()
    assert f"would move {old}/{NAME} to {ours}/twitterfilter-2/2014/04/11/04/" in capsys.readouterr().out


def test_json_has_each_file(old: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(old, NAME, packed(TWEETS))
    put(old, "notes.txt", b"")

    organize(old, ours, "--json")

    told = simplejson.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert [(moved["count"], moved["is_whole"]) for moved in told["moved"]] == [(50, True)]
    assert [left["file"] for left in told["left"]] == [f"{old}/notes.txt"]


def test_a_folder_that_is_not_there_is_bad_usage(old: Path, ours: Path) -> None:
    assert organize(old / "none", ours) == 2


def test_two_runs_do_not_meet(old: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours.mkdir()
    put(old, NAME, packed(TWEETS))
    command = ["flock", str(ours / ".organize.lock"), "cat"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin and holder.stdout
    holder.stdin.write(b"x\n")
    holder.stdin.flush()
    holder.stdout.readline()
    try:
        assert organize(old, ours) == 1
    finally:
        holder.communicate(timeout=30)

    assert "is at work" in capsys.readouterr().err
    assert (old / NAME).exists()


@pytest.mark.parametrize("call", ["utime", "link", "unlink", "replace"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_killed_anywhere_and_run_again_gives_the_same(call: str, count: int, tmp_path: Path) -> None:
    names = ["s-2014-04-11T04-34-28Z.gz", "s-2014-04-11T04:50:28Z.gz"]
    results = []
    for run in ("killed", "whole"):
        folder = tmp_path / run
        for name in names:
            put(folder / "old", name, packed(TWEETS))
            os.utime(folder / "old" / name, (1_500_000_000, 1_500_000_000))
        if run == "killed":
            ended = subprocess.run([sys.executable, "-c", KILLED, call, str(count), str(folder)], timeout=60)
            assert ended.returncode in (0, -signal.SIGKILL)
        assert organize(folder / "old", folder / "ours") == 0
        results.append((below(folder / "old"), below(folder / "ours")))

    assert results[0] == results[1]
    assert len(results[0][1]) == 4


KILLED = """
import os, signal, sys
call, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
real, calls = getattr(os, call), []
def dying(*args, **kwargs):
    calls.append(args)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(os, call, dying)
from aggregator.cli import main
sys.exit(main(["-r", folder, "streams", "organize", f"{folder}/old", "--directory", f"{folder}/ours"]))
"""


def test_inspecting_counts_a_last_message_without_its_line_break(tmp_path: Path) -> None:
    path = put(tmp_path, NAME, gzip.compress(b'{"a":1}\r\n{"b":2}'))

    with path.open("rb") as file:
        assert inspect(file).count == 2
