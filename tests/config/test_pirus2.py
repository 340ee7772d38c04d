"""A loglines.cfg as PIRUS2 shipped it, unmodified."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config import pirus2
from aggregator.config.configuration import Config
from aggregator.config.loading import load
from aggregator.supervision import build

SHIPPED = """\
# CONFIGURE THE FOLLOWING:
[supervisor]
port = 127.0.0.1:9001
username = guest
password = guest

[process_redis]
# the path to the redis server
command = /opt/redis-1.2.6/redis-server

[redis]
host = localhost
port = 6379
db = 0

[redis_test]
host = localhost
port = 6379
db = 1

[queues]
prefix = q:

[logger_logfilewatcher]
command = ./logfilewatcher.py
pushto = loglines
servicename = ora.example.org
logfile = temp.log
stdout_logfile = workerlogs/logfilewatcher.log

[worker_broker]
listento = loglines
command = ./broker.py
fanout = pirus2
fanout_status_queue = broker_temp
# Time in seconds to sleep if there is nothing on the queue
idletime = 1
stdout_logfile = workerlogs/broker.log

[worker_pirus2]
listento = pirus2
command = ./pirus2.py
debug = true
numprocs = 3
repository_plugin = plugins.default_utils
# OpenURL default details
endpoint_url = http://tracker.example.org/tracker/
url_ver = Z39.88-2004
rfr_id = ora.example.org
# Expected HTTP status for success
success = 200
timeout = 60
pauseonfail = 3600
# Rate-limit (in requests per second per process)
ratelimit = 1
success_queue = articlelog
other_queue = otherlog
stdout_logfile = workerlogs/pirus2.log

[logger_articlelogger]
listento = articlelog
command = ./logfromqueue.py
logfile = logs/articles.log
stdout_logfile = workerlogs/articlelogger.log

[logger_otherlogger]
listento = otherlog
command = ./logfromqueue.py
logfile = logs/other.log
stdout_logfile = workerlogs/otherlogger.log
"""


def configure(root: Path) -> Config:
    file = root / "loglines.cfg"
    file.write_text(SHIPPED)
    file.chmod(0o640)
    return load(file, root)


def test_its_sections_are_our_stages(tmp_path: Path) -> None:
    config = configure(tmp_path)

    assert {name: program.stage_name for name, program in config.programs.items()} == {
        "process_redis": None,
        "logger_logfilewatcher": "tail",
        "worker_broker": "broker",
        "worker_pirus2": "openurl",
        "logger_articlelogger": "logfile",
        "logger_otherlogger": "logfile",
    }
    assert config.programs["worker_pirus2"].numprocs == 3
    assert config.redis.url == "redis://localhost:6379/0"
    assert config.supervisor.username == "guest"


def test_its_options_keep_their_meaning(tmp_path: Path) -> None:
    programs = configure(tmp_path).programs

    pings = programs["worker_pirus2"].settings
    assert (pings.endpoint_url, pings.success) == ("http://tracker.example.org/tracker/", {200})
    assert (pings.timeout, pings.pauseonfail, pings.ratelimit, pings.debug) == (60.0, 3600.0, 1.0, True)
    assert programs["worker_pirus2"].feeds == ("articlelog", "otherlog")
    assert programs["worker_broker"].settings.fanout == ("pirus2",)
    assert programs["logger_logfilewatcher"].settings.servicename == "ora.example.org"
    assert programs["logger_articlelogger"].settings.logfile == "logs/articles.log"


def test_what_was_mapped_or_ignored_is_told(tmp_path: Path) -> None:
    config = configure(tmp_path)

    told = [warning.removeprefix(f"{tmp_path}/loglines.cfg") for warning in config.warnings]
    assert told == [
        ":21 [queues]: ignored; the names of queues need no prefix here, [redis] namespace keeps them apart",
        ":25 [logger_logfilewatcher] command: ./logfilewatcher.py of PIRUS2 is built in; write stage = tail instead",
        ":33 [worker_broker] command: ./broker.py of PIRUS2 is built in; write stage = broker instead",
        ":35 [worker_broker] fanout_status_queue: ignored; "
        "a message and its copies are one atomic step, so there is nothing to keep",
        ":37 [worker_broker] idletime: ignored; whoever reads a queue is woken by it",
        ":42 [worker_pirus2] command: ./pirus2.py of PIRUS2 is built in; write stage = openurl instead",
        ":62 [logger_articlelogger] command: ./logfromqueue.py of PIRUS2 is built in; write stage = logfile instead",
        ":68 [logger_otherlogger] command: ./logfromqueue.py of PIRUS2 is built in; write stage = logfile instead",
    ]


def test_its_programs_are_built(tmp_path: Path) -> None:
    build(configure(tmp_path))

    text = (tmp_path / "workers_available/worker_pirus2.conf").read_text()
    assert 'command = "%(here)s/../run/aggregator" work worker_pirus2 %(process_num)d\n' in text
    assert "stdout_logfile = %(here)s/../workerlogs/pirus2_%(process_num)d.log\n" in text
    redis = (tmp_path / "workers_available/process_redis.conf").read_text()
    assert "command = /opt/redis-1.2.6/redis-server\n" in redis
    assert (tmp_path / "workerlogs").is_dir()


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("./broker.py", "broker"),
        ("broker.py", "broker"),
        ("python pirus2.py", "openurl"),
        ("/usr/bin/python2.6 ./logfromqueue.py", "logfile"),
        ("/usr/bin/env python ./logfilewatcher.py", "tail"),
        ("./mybroker.py", None),
        ("./broker.py --mine", None),
        ("/srv/mine/broker.py", None),
        ("redis-server", None),
    ],
)
def test_only_the_commands_of_pirus2_are_mapped(command: str, stage: str | None) -> None:
    assert pirus2.stage_of(command) == stage
