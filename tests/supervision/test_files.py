"""Which files a build makes, what is in them, and that a second build changes nothing."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from aggregator.config.loading import load
from aggregator.supervision import build, carry_out, plan
from tests.supervision.building import PIPELINE, REDIS, TWO, build_from, configure, snapshot


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
