"""`aggregator work`: the process that supervisord runs, as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import PROJECT, Site
from tests.runtime.desk import bodies
from tests.servers import wait_until

BROKER = """
[worker_broker]
stage = broker
listento = lines
fanout = kept, spare

[worker_keep]
command = sleep 1000
listento = kept
maxdepth = 3
"""
OWN_STAGE = BROKER.replace("command = sleep 1000", "stage = plugins.stages_of_mine:Nothing")


def broker_copies(site: Site, count: int, **variables: str) -> None:
    """Run the broker until so many messages wait in `kept`."""
    command = [sys.executable, "-m", "aggregator", "-r", str(site.root), "work", "worker_broker", "0"]
    process = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(site.desk.waiting("kept")) == count)
    finally:
        process.terminate()
        process.wait(60)


def test_a_worker_works_until_told_to_stop_and_holds_back_at_its_targets_limit(site: Site) -> None:
    site.configure(BROKER)
    site.desk.push("lines", *bodies(5))
    process = site.start("work", "worker_broker", "0")

    try:
        wait_until(lambda: len(site.desk.waiting("kept")) == 5)
        site.desk.push("lines", *bodies(2))
        wait_until(
            lambda: b"held back" in site.desk.client.hget(site.desk.keys.worker("node:worker_broker_0"), "state")
        )
        waiting = site.desk.waiting("lines")
    finally:
        process.terminate()
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    assert waiting == bodies(2)
    assert "start worker=node:worker_broker_0" in out
    assert "stop worker=node:worker_broker_0 handled=5" in out
    assert err == ""


def test_a_stage_of_the_instances_own_plugins_is_run(site: Site) -> None:
    plugins = site.root / "plugins"
    plugins.mkdir()
    (plugins / "__init__.py").touch()
    (plugins / "stages_of_mine.py").write_text(
        "from aggregator.runtime.contract import Drop, Stage\n"
        "class Nothing(Stage):\n"
        "    def handle(self, message):\n"
        "        yield Drop('mine')\n"
    )
    site.configure(OWN_STAGE)
    site.desk.push("kept", *bodies(3))
    site.build()
    command = [sys.executable, "-m", "aggregator", "-r", str(site.root), "work", "worker_keep", "0"]
    environment = {"PYTHONPATH": str(PROJECT)}
    # not in the project's folder, which has plugins of its own
    process = subprocess.Popen(command, cwd=site.root, env=environment, stdout=subprocess.DEVNULL)

    try:
        wait_until(lambda: site.desk.books("kept").dropped == {"mine": 3})
    finally:
        process.terminate()
        process.wait(60)

    assert process.returncode == 0


def test_what_a_stranger_says_stays_on_one_line_of_the_log(site: Site) -> None:
    plugins = site.root / "plugins"
    plugins.mkdir()
    (plugins / "stages_of_mine.py").write_text(
        "from aggregator.runtime.contract import Stage\n"
        "class Nothing(Stage):\n"
        "    def handle(self, message):\n"
        "        raise RuntimeError(message.body['said'])\n"
    )
    site.configure(OWN_STAGE + "maxtries = 1\n")
    site.desk.push("kept", b'{"said": "two\\n2026-01-01 ERROR lines \\u001b[31m"}')
    process = site.start("work", "worker_keep", "0")

    try:
        wait_until(lambda: site.dead("kept"))
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=10)

    (line,) = [line for line in out.splitlines() if " ERROR " in line]
    assert line.endswith("error=RuntimeError: two\\n2026-01-01 ERROR lines \\x1b[31m")


def test_a_section_that_cannot_run_is_exit_code_78_with_the_reason_in_the_log(site: Site) -> None:
    site.configure(BROKER.replace("fanout = kept", "fanout = %(ENV_AGGREGATOR_TEST_TARGET)s"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGGREGATOR_TEST_TARGET", "kept")
        site.build()

    ran = work(site, "worker_broker")

    assert ran.returncode == 78
    assert "missing environment variable AGGREGATOR_TEST_TARGET" in ran.stdout


def test_what_was_never_built_does_not_run(site: Site) -> None:
    site.configure(BROKER)

    ran = work(site, "worker_broker")

    assert ran.returncode == 78
    assert "nothing was built yet" in ran.stdout


def test_a_worker_runs_what_was_built_whatever_the_file_says_by_now(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    site.configure("[worker_broker]\nstage = broker\nlistento = elsewhere\nfanout = wrong\n")
    site.desk.push("lines", *bodies(2))

    broker_copies(site, 2)

    assert site.desk.waiting("kept") == bodies(2)
    assert site.desk.waiting("wrong") == []


def test_a_worker_runs_the_build_that_its_program_file_names(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    digest = digest_in(site, "worker_broker")
    site.configure(BROKER.replace("fanout = kept", "fanout = kept, other"))
    site.build()
    site.desk.push("lines", *bodies(2))

    broker_copies(site, 2, AGGREGATOR_DIGEST=digest)

    assert digest_in(site, "worker_broker") != digest
    assert site.desk.waiting("other") == []


def test_what_was_sent_to_a_queue_that_the_section_was_built_for_and_never_read_moves_along(site: Site) -> None:
    for queue in ("lines", "rows", "columns"):
        site.configure(BROKER.replace("listento = lines", f"listento = {queue}"))
        site.build()
    site.desk.push("rows", *bodies(2))

    broker_copies(site, 2)

    assert site.desk.waiting("rows") == []


def test_a_copy_that_somebody_changed_is_not_run(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    copy = site.root / "run/built/1/loglines.cfg"
    copy.write_text(copy.read_text().replace("fanout = kept", "fanout = wrong"))

    ran = work(site, "worker_broker")

    assert ran.returncode == 78
    assert "somebody changed the copy that workers read" in ran.stdout


def work(site: Site, section: str) -> subprocess.CompletedProcess[str]:
    """Run a worker that is expected to end by itself."""
    command = [sys.executable, "-m", "aggregator", "-r", str(site.root), "work", section, "0"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def digest_in(site: Site, section: str) -> str:
    """Return the digest in a program file."""
    text = (site.root / f"workers_available/{section}.conf").read_text()
    return text.partition('AGGREGATOR_DIGEST="')[2].partition('"')[0]


def work_for_a_moment(site: Site, root: Path) -> None:
    """Start the worker of an instance and end it once it has begun."""
    site.desk.push("lines", *bodies(1))
    process = site.start("work", "worker_broker", "0", "--root", str(root))
    try:
        wait_until(lambda: not site.desk.waiting("lines"))
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_an_instance_under_the_name_of_another_takes_nothing(site: Site) -> None:
    site.configure(BROKER)
    other = site.root / "other"
    other.mkdir()
    shutil.copy(site.root / "loglines.cfg", other)
    work_for_a_moment(site, site.root)
    site.desk.push("lines", *bodies(1))

    ran = site.run("work", "worker_broker", "0", "--root", str(other))

    assert ran.code == 78
    assert f"the instance in {site.root} works in this Redis as node node too" in ran.out
    assert site.desk.waiting("lines") == bodies(1)


def test_an_instance_that_was_moved_or_is_reached_by_a_link_goes_on(site: Site) -> None:
    site.configure(BROKER)
    first, second, link = (site.root / name for name in ("first \u00e9", "second", "link"))
    (first / "data").mkdir(parents=True)
    shutil.copy(site.root / "loglines.cfg", first)
    work_for_a_moment(site, first)
    first.rename(second)
    link.symlink_to(second)

    work_for_a_moment(site, second)
    work_for_a_moment(site, link)

    assert len(site.desk.waiting("kept")) == 3


def test_a_section_with_a_command_is_not_ours_to_run(site: Site) -> None:
    site.configure("[worker_other]\ncommand = sleep 1\n")

    ran = site.run("work", "worker_other", "0")

    assert ran.code == 78
    assert "has no stage" in ran.out


def test_a_number_beyond_numprocs_is_refused(site: Site) -> None:
    site.configure(BROKER.replace("stage = broker", "stage = broker\nnumprocs = 2"))

    ran = [site.run("work", "worker_broker", number) for number in ("-1", "2")]

    assert [one.code for one in ran] == [78, 78]
    assert ran[1].out == f"{site.root}/loglines.cfg [worker_broker] numprocs: no process 2; allowed: 0 to 1\n"


LOOK = "import sys; from aggregator.cli import main; main(sys.argv[1:]); print(*sys.modules)"


def test_a_worker_imports_no_other_stage_and_no_command(site: Site) -> None:
    site.configure(BROKER)
    site.build()
    site.desk.push("lines", *bodies(1))
    command = [sys.executable, "-c", LOOK, "-r", str(site.root), "work", "worker_broker", "0"]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)

    try:
        wait_until(lambda: site.desk.books("lines").out == 1)
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=60)

    imported = set(out.splitlines()[-1].split())
    ours = {name for name in imported if name.startswith(("aggregator.logs.", "aggregator.commands."))}
    assert ours == {"aggregator.logs.broker", "aggregator.commands.invocation", "aggregator.commands.work"}
    assert not imported & {"aggregator.supervision", "supervisor", "requests"}


def test_the_demo_programs_are_behind_the_command_line() -> None:
    for program in ("replay", "tracker"):
        command = [sys.executable, "-m", "aggregator", "demo", program, "--help"]
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)

        assert f"aggregator demo {program}" in ran.stdout
