"""`aggregator init`, `run`, `enable`, `disable`."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import shutil
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import plugins
from aggregator.cli import main
from aggregator.commands.instance import greeting
from aggregator.config.loading import load
from aggregator.runtime.connection import connect
from aggregator.runtime.keys import Keys
from aggregator.supervision import build
from tests.commands.conftest import PROJECT, Site
from tests.instance import Instance
from tests.servers import wait_until


def test_init_makes_an_instance_whose_configuration_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "new"

    code = main(["init", str(root)])

    assert code == 0
    assert load(root / "loglines.cfg", root).warnings == ()
    assert {path.name for path in root.iterdir()} == {
        "loglines.cfg", "workers_available", "workers_enabled", "plugins", "data", "logs", "run",
    }  # fmt: skip
    assert str(root / "loglines.cfg") in capsys.readouterr().out


def test_all_that_is_commented_out_in_a_new_configuration_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__])
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    monkeypatch.setenv("MASTODON_TOKEN", "secret")
    main(["-q", "init", str(tmp_path)])
    (tmp_path / "plugins" / "myrepository.py").write_text(
        "def parseline(jmsg):\n    return {}\ndef get_openurl_params(c, worker_section, pl):\n    return {}\n"
    )
    (tmp_path / "plugins" / "mystage.py").write_text("from tests.runtime.stages import Sink as MyStage\n")
    file = tmp_path / "loglines.cfg"
    commented = re.compile(r"^# (?=\[\w+\]$|\w+ = )", re.MULTILINE)

    text, sections = commented.sub("", file.read_text()), file.read_text().count("\n# [")
    # as the remarks say: another Redis instead of our own, and the broker between the log and its keeper
    text = text.replace("[process_redis]\n", "")
    text = text.replace(
        "[worker_keep]\nstage = logfile\nlistento = lines", "[worker_keep]\nstage = logfile\nlistento = kept"
    )
    file.write_text(text)
    config = load(file, tmp_path)

    assert sections == 15 and "\n# [" not in text
    assert config.table("store").entry("local").url == f"file://{tmp_path}/data/archive"
    assert config.table("feed").entry("bikes").timestamp == "gbfs"
    assert config.node == "collector1" and config.redis.url.endswith("@redis.example.org:6379/0")
    assert [value for options in config.raw.values() for value in options.values() if re.search(r"\s\s", value)] == []


def test_init_makes_a_password_that_only_its_owner_reads_and_the_build_keeps(tmp_path: Path) -> None:
    main(["-q", "init", str(tmp_path / "one")])
    main(["-q", "init", str(tmp_path / "two")])
    one, two = (tmp_path / name / "run" / "password" for name in ("one", "two"))
    before = one.read_text()

    build(load(tmp_path / "one" / "loglines.cfg", tmp_path / "one"))

    assert one.stat().st_mode & 0o777 == 0o600
    assert len(before.strip()) >= 16
    assert one.read_text() == before != two.read_text()


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loglines.cfg").write_text("mine")

    code = main(["init", str(tmp_path)])

    assert code == 1
    assert (tmp_path / "loglines.cfg").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["loglines.cfg"]
    assert "is there already; nothing was changed" in capsys.readouterr().err


def test_init_refuses_a_folder_that_supervisord_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["init", str(tmp_path / "50%")])

    words = "the instance's folder has '%' in its path, which supervisord cannot read; choose another"
    assert (code, capsys.readouterr().err) == (2, f"{words}\n")
    assert not (tmp_path / "50%").exists()


def test_the_commands_that_init_advises_can_be_given_as_they_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "it's (here)"

    main(["init", str(root)])

    commands = [shlex.split(line.partition(": ")[2]) for line in capsys.readouterr().out.splitlines()[2:]]
    launcher = str(root / "run" / "aggregator")
    assert commands == [[launcher, "config", "check"], [launcher, "run"]]
    ran = subprocess.run(commands[0], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.startswith(f"{root}/loglines.cfg: fine")


def test_run_refuses_a_bad_configuration_before_anything_changes(site: Site) -> None:
    site.configure("[worker_x]\nstage = brokr\n")

    ran = site.run("run")

    assert ran.code == 2
    assert [path.name for path in site.root.iterdir()] == ["loglines.cfg"]


def test_run_refuses_a_port_that_is_taken(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.configure(f"[supervisor]\nport = 127.0.0.1:{port}\n")

        ran = site.run("run")

    assert ran.code == 1
    assert ran.err.startswith(f"aggregator: cannot listen on 127.0.0.1:{port} for the web pages: ")
    assert [path.name for path in site.root.iterdir()] == ["loglines.cfg"]


def test_the_greeting_says_where_things_are_and_shows_no_password(site: Site) -> None:
    config = site.config()
    build(config)

    text = "\n".join(greeting(config))

    assert "http://127.0.0.1:9001/" in text
    assert f"user admin, password in {site.root}/run/password" in text
    assert "logger_feed: tests.samplestages:Feeder" in text
    assert "worker_keep: tests.samplestages:Keeper data/kept.log" in text
    assert f"{site.root}/run/aggregator status" in text
    assert "Ctrl-C" in text
    assert (site.root / "run" / "password").read_text().strip() not in text


def test_the_greeting_counts_the_feeds(site: Site) -> None:
    feeds = "".join(f"[feed_{name}]\nurl = http://x.example/{name}\nextension = pb\n" for name in ("a", "b"))
    site.configure(f"[worker_download]\nstage = download\npushto = fetched\n{feeds}")
    build(site.config())

    assert "  collecting  worker_download: download 2 feeds" in list(greeting(site.config()))


def test_a_copy_of_an_instance_has_a_launcher_of_its_own(site: Site, tmp_path: Path) -> None:
    build(site.config())
    copy = tmp_path / "a copy"
    (copy / "run").mkdir(parents=True)
    shutil.copy(site.root / "loglines.cfg", copy)
    shutil.copy(site.root / "run/aggregator", copy / "run")
    (tmp_path / "linked").symlink_to(copy / "run/aggregator")

    ran = subprocess.run([tmp_path / "linked", "config", "check"], capture_output=True, text=True, check=False)

    assert ran.stdout.startswith(f"{copy}/loglines.cfg: fine")


def test_the_greeting_leaves_out_what_is_disabled(site: Site) -> None:
    config = site.config()
    build(config)
    (site.root / "workers_enabled" / "worker_keep.conf").unlink()

    assert "worker_keep" not in "\n".join(greeting(config))


def test_disable_and_enable_move_the_link(site: Site) -> None:
    build(site.config())
    link = site.root / "workers_enabled" / "worker_keep.conf"

    off = site.run("disable", "worker_keep")
    gone = not os.path.lexists(link)
    on = site.run("enable", "worker_keep")

    assert (off.out, on.out) == ("worker_keep: disabled\n", "worker_keep: enabled\n")
    assert gone and os.path.lexists(link)
    assert site.run("enable", "worker_keep").out == "nothing to change\n"


def test_an_unknown_name_is_refused_with_the_one_meant(site: Site) -> None:
    build(site.config())

    ran = site.run("disable", "worker_kep", "worker_copy")

    assert ran.code == 2
    assert "did you mean worker_keep?" in ran.err
    assert os.path.lexists(site.root / "workers_enabled" / "worker_copy.conf")


def test_the_generated_launcher_runs_commands_of_its_instance(site: Site, tmp_path: Path) -> None:
    build(site.config())
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}

    ran = subprocess.run(
        [site.root / "run" / "aggregator", "queues"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("QUEUE")
    assert sys.executable in (site.root / "run" / "aggregator").read_text()


MEET = """
trap 'touch $1.told; while [ ! -e $2.told ]; do sleep 0.05; done; touch $1.met; exit 0' TERM
touch $1.ready
while :; do sleep 0.1; done
"""


def test_ctrl_c_ends_all_workers_at_once_and_redis_behind_them() -> None:
    pairs = (("a", "b"), ("b", "a"))
    with Instance("".join(f"[worker_{one}]\ncommand = sh meet.sh {one} {other}\n" for one, other in pairs)) as instance:
        (instance.root / "meet.sh").write_text(MEET)
        instance.start(lambda: all((instance.root / f"{one}.ready").exists() for one, _ in pairs))

        code = instance.stop()

        ends = [line for line in (instance.root / "run.log").read_text().splitlines() if " stopped: " in line]
        assert code == 0
        assert all((instance.root / f"{one}.met").exists() for one, _ in pairs)
        assert "process_redis_0" in ends[-1] and len(ends) == 3


def test_a_terminal_that_is_closed_ends_everything_in_good_order() -> None:
    with Instance("[process_other]\ncommand = sleep 1000\n") as instance:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "aggregator", "-r", instance.root, "run"],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        instance.process = process
        wait_until(instance.control().running, 30, "supervisord runs")
        wait_until(instance.all_at_work, 30, "every program runs")

        os.close(ours)
        code = process.wait(30)

        log = (instance.root / "logs" / "supervisord.log").read_text()
        assert code == 0
        assert "stopped: process_other_0" in log and "stopped: process_redis_0" in log


BROKER = """
[worker_broker]
stage = broker
listento = lines
fanout = kept
[worker_sink]
stage = logfile
listento = kept
logfile = data/kept.log
"""


def test_a_run_is_watched_switched_and_ended_from_the_command_line() -> None:
    with Instance(BROKER) as instance:
        instance.start()
        config = instance.config()
        with connect(config.redis.url) as client:
            # until something came from outside, an instance without a source collects nothing
            client.rpush(Keys(config.redis.namespace).queue("lines"), b"{}")
        wait_until(lambda: instance.cli("health").returncode == 0, 60, "everything is up")

        again = instance.cli("run")
        shown = instance.json("status")["sections"]
        off = instance.cli("disable", "worker_sink")
        disabled = instance.json("status")["sections"][-1]
        on = instance.cli("enable", "worker_sink")
        controlled = subprocess.run(
            [instance.root / "run/supervisorctl", "status", "worker_sink:"], capture_output=True, text=True, check=False
        )
        code = instance.stop()

        assert (again.returncode, again.stdout) == (1, "")
        assert "runs already" in again.stderr
        assert [section["processes"][0]["state"] for section in shown] == ["RUNNING"] * 3
        assert off.stdout == "worker_sink: disabled\nworker_sink: removed\n"
        assert (disabled["enabled"], disabled["processes"][0]["state"]) == (False, None)
        assert on.stdout == "worker_sink: enabled\nworker_sink: added\n"
        assert controlled.stdout.startswith("worker_sink:worker_sink_0")
        assert code == 0


def test_the_feeds_that_a_new_configuration_shows_as_a_comment_are_fine(tmp_path: Path) -> None:
    main(["-q", "init", str(tmp_path)])
    file = tmp_path / "loglines.cfg"
    head, _, feeds = file.read_text().partition("# --- More: download feeds")
    feeds = feeds.partition("# --- More: ")[0]
    lines = [line.removeprefix("#").strip().partition("    ")[0] for line in feeds.splitlines()[1:]]
    file.write_text(head + "\n".join(lines))

    config = load(file, tmp_path)

    assert config.warnings == ()
    assert list(config.table("feed").all()) == ["bikes"]
