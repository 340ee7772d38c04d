"""Values of options that are not of their kind or out of bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.faults import COPIER, FEEDER, KEEPER, REDIS, Case, problems

CASES = [
    Case(
        "bad number",
        REDIS + "[process_a]\ncommand = sleep 1\nnumprocs = three\n",
        (":5 [process_a] numprocs: bad number (found 'three'); allowed: a whole number",),
    ),
    Case(
        "number out of bounds",
        REDIS + "[process_a]\ncommand = sleep 1\nnumprocs = 0\n",
        (":5 [process_a] numprocs: out of bounds (found '0'); allowed: 1 to 1000",),
    ),
    Case(
        "comment that is none",
        REDIS + "[process_a]\ncommand = sleep 1\nnumprocs = 3 # three\n",
        (
            ":5 [process_a] numprocs: bad number (found '3 # three'); allowed: a whole number; "
            "a comment after a value starts with ; not #",
        ),
    ),
    Case(
        "bad duration",
        REDIS + FEEDER + "idletime = 5 minutes\n" + COPIER + KEEPER,
        (
            ":6 [logger_in] idletime: bad duration (found '5 minutes'); "
            "allowed: a duration such as 14, 14s, 250ms, 5m or 1h",
        ),
    ),
    Case(
        "duration out of bounds",
        REDIS + "[store_a]\nurl = s3://bucket\ntimeout = 5000\nmultipart = 1KB\n",
        (
            ":5 [store_a] timeout: out of bounds (found '5000'); allowed: 1s to 1h",
            ":6 [store_a] multipart: out of bounds (found '1KB'); allowed: 5MB to 5GB",
        ),
    ),
    Case(
        "bad size",
        REDIS + FEEDER + "stdout_logfile_maxbytes = big\n" + COPIER + KEEPER,
        (":6 [logger_in] stdout_logfile_maxbytes: bad size (found 'big'); allowed: a size such as 500, 64KB or 50MB",),
    ),
    Case(
        "duration and size of 400 digits",
        REDIS
        + f"[process_a]\ncommand = sleep 1\nstartsecs = {'9' * 400}\nstdout_logfile_maxbytes = {'9' * 400}\n"
        + "[process_b]\ncommand = sleep 1\nstartsecs = 36501d\nstdout_logfile_maxbytes = 8388608TB\n",
        (
            f":5 [process_a] startsecs: more than 36500 days; bad duration (found '{'9' * 55}...'); "
            "allowed: a duration such as 14, 14s, 250ms, 5m or 1h",
            f":6 [process_a] stdout_logfile_maxbytes: more than any file can hold; bad size (found '{'9' * 55}...'); "
            "allowed: a size such as 500, 64KB or 50MB",
            ":9 [process_b] startsecs: more than 36500 days; bad duration (found '36501d'); "
            "allowed: a duration such as 14, 14s, 250ms, 5m or 1h",
            ":10 [process_b] stdout_logfile_maxbytes: more than any file can hold; bad size (found '8388608TB'); "
            "allowed: a size such as 500, 64KB or 50MB",
        ),
    ),
    Case(
        "address without the end of its host",
        REDIS + FEEDER + "[worker_ask]\nstage = openurl\nlistento = a\nrepository_plugin = tests.sampleplugin\n"
        "endpoint_url = http://[::1\n",
        (
            ":10 [worker_ask] endpoint_url: Invalid IPv6 URL; bad URL (found 'http://[::1'); "
            "allowed: an address that starts with http:// or https://",
        ),
    ),
    Case(
        "number that is none, or has no end",
        REDIS + FEEDER + "[worker_ask]\nstage = openurl\nlistento = a\nrepository_plugin = tests.sampleplugin\n"
        "endpoint_url = http://h/\nratelimit = nan\n"
        + FEEDER.replace("_in", "_on").replace("= a", "= b")
        + "[worker_too]\nstage = openurl\nlistento = b\nrepository_plugin = tests.sampleplugin\n"
        "endpoint_url = http://h/\nratelimit = inf\n",
        (
            ":11 [worker_ask] ratelimit: bad number (found 'nan'); allowed: a number",
            ":20 [worker_too] ratelimit: bad number (found 'inf'); allowed: a number",
        ),
    ),
    Case(
        "name of dots",
        REDIS + "[aggregator]\nnode = ..\n",
        (
            ":4 [aggregator] node: dots alone name a folder; bad name (found '..'); "
            "allowed: letters, digits, _ . - (at most 80)",
        ),
    ),
    Case(
        "command with a list of queues to read",
        REDIS + FEEDER + "[worker_x]\ncommand = ./x.py\nlistento = a, b\nfanout = c c\n",
        (
            ":8 [worker_x] listento: bad queue (found 'a, b'); allowed: one queue name",
            ":9 [worker_x] fanout: bad queue (found 'c c'); "
            "allowed: queue names with commas between them, each of them once",
        ),
    ),
    Case(
        "bad queue",
        REDIS + FEEDER.replace("pushto = a", "pushto = a b"),
        (
            ":5 [logger_in] pushto: bad queue (found 'a b'); "
            "allowed: a queue name: letters, digits, _ . - and at most @node",
        ),
    ),
    Case(
        "bad word",
        REDIS + "[process_a]\ncommand = sleep 1\nautorestart = maybe\nstopsignal = BYE\n",
        (
            ":5 [process_a] autorestart: bad word (found 'maybe'); allowed: yes, no or unexpected",
            ":6 [process_a] stopsignal: bad choice (found 'BYE'); "
            "allowed: TERM or HUP or INT or QUIT or KILL or USR1 or USR2",
        ),
    ),
    Case(
        "bad address of the web pages",
        REDIS + "[supervisor]\nport = 127.0.0.1:web\n",
        (":4 [supervisor] port: bad address (found '127.0.0.1:web'); allowed: HOST:PORT, such as 127.0.0.1:9001",),
    ),
    Case(
        "web pages open to everybody",
        REDIS + "[supervisor]\nport = *:9001\n",
        (
            ":4 [supervisor] port: other machines could reach it (found *:9001); "
            "set a password of your own, or listen on 127.0.0.1",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    assert problems(case.text, tmp_path) == case.faults
