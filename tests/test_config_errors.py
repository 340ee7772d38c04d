"""Every fault of a configuration, with the exact words a user sees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from tests import samplestages

FEEDER = "[logger_in]\nstage = tests.samplestages:Feeder\npushto = a\n"
COPIER = "[worker_copy]\nstage = tests.samplestages:Copier\nlistento = a\nfanout = b\n"
KEEPER = "[logger_out]\nstage = tests.samplestages:Keeper\nlistento = b\nlogfile = out.log\n"
WRITER = "[logger_out]\nstage = logfile\nlistento = a\nlogfile = out.log\n"
REDIS = "[redis]\nurl = redis://localhost/0\n"
REDIS_FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB] or rediss://[USER:PASSWORD@]HOST[:PORT][/DB]?ssl_ca_certs=FILE "
    "or unix://[USER:PASSWORD@]/PATH?db=N or sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DB] "
    "or cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]"
)
SECTIONS = "supervisor, redis, aggregator, process_*, worker_*, logger_*, feed_*, store_*"
FEEDER_OPTIONS = (
    "autorestart, autostart, batch, command, enabled, environment, exitcodes, idletime, numprocs, priority, pushto, "
    "redirect_stderr, stage, stale_after, startretries, startsecs, stdout_logfile, stdout_logfile_backups, "
    "stdout_logfile_maxbytes, stopsignal, stopwaitsecs, user"
)


class Case(NamedTuple):
    """A text and what is wrong with it: each message without the file's name in front."""

    name: str
    text: str | bytes
    faults: tuple[str, ...]


CASES = [
    Case(
        "unknown section",
        REDIS + "[mirror]\n",
        (f":3 [mirror]: unknown section; allowed: {SECTIONS}",),
    ),
    Case(
        "misspelt section",
        REDIS + "[supervisr]\nport = 9001\n",
        (f":3 [supervisr]: unknown section; allowed: {SECTIONS}; did you mean supervisor?",),
    ),
    Case(
        "misspelt section prefix",
        REDIS + "[wroker_broker]\nstage = broker\n",
        (f":3 [wroker_broker]: unknown section; allowed: {SECTIONS}; did you mean worker_broker?",),
    ),
    Case(
        "stage that reads a table which there is not",
        REDIS + COPIER.replace("Copier", "Outdated") + FEEDER,
        (
            ":4 [worker_copy] stage: tests.samplestages:Outdated reads unknown tables (found feed_); allowed: feed, "
            "store",
        ),
    ),
    Case(
        "section name that supervisord cannot take",
        REDIS + "[worker_a:b]\nstage = broker\n",
        (":3 [worker_a:b]: bad name; allowed: letters, digits, _ . - (1 to 60) after process_, worker_ or logger_",),
    ),
    Case(
        "misspelt option",
        REDIS + FEEDER + "pusto = b\n" + COPIER + KEEPER,
        (":6 [logger_in] pusto: unknown option; did you mean pushto?",),
    ),
    Case(
        "unknown option",
        REDIS + FEEDER + "zzz = b\n" + COPIER + KEEPER,
        (f":6 [logger_in] zzz: unknown option; allowed: {FEEDER_OPTIONS}",),
    ),
    Case(
        "unknown option of a plain process",
        REDIS + "[process_a]\ncommand = sleep 1\npiority = 3\n",
        (":5 [process_a] piority: unknown option; did you mean priority?",),
    ),
    Case(
        "unknown option of a core section",
        "[redis]\nhots = localhost\n",
        (":2 [redis] hots: unknown option; did you mean host?",),
    ),
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
            ":4 [aggregator] node: dots alone name a folder; bad name (found '..'); allowed: letters, digits, _ . - (at most 80)",
        ),
    ),
    Case(
        "command with a list of queues to read",
        REDIS + FEEDER + "[worker_x]\ncommand = ./x.py\nlistento = a, b\nfanout = c c\n",
        (
            ":8 [worker_x] listento: bad queue (found 'a, b'); allowed: one queue name",
            ":9 [worker_x] fanout: bad queue (found 'c c'); allowed: queue names with commas between them, each of them once",
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
        "bad environment",
        REDIS + "[process_a]\ncommand = sleep 1\nenvironment = A\n",
        (""":5 [process_a] environment: bad environment (found 'A'); allowed: NAME="VALUE",OTHER="VALUE\"""",),
    ),
    Case(
        "percent sign without quotation marks, which supervisord refuses",
        REDIS + "[process_a]\ncommand = sleep 1\nenvironment = A=50%\n",
        (""":5 [process_a] environment: bad environment (found 'A=50%'); allowed: NAME="VALUE",OTHER="VALUE\"""",),
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
    Case(
        "bad address of Redis, its password not shown",
        "[redis]\nurl = http://me:secret@localhost/0\n",
        (
            ":2 [redis] url: unknown scheme 'http'; bad address (found 'http://me:***@localhost/0'); "
            f"allowed: {REDIS_FORMS}",
        ),
    ),
    *(
        Case(
            f"address of Redis with {words}",
            f"[redis]\nurl = {url}\n",
            (f":2 [redis] url: {words}; bad address (found '{url}'); allowed: {REDIS_FORMS}",),
        )
        for url, words in (
            ("localhost", "unknown scheme ''"),
            ("redis://localhost:99999", "cannot read the host and port 'localhost:99999'"),
            ("redis://h:***@local host", "cannot read the host and port 'local host'"),
            ("redis://h/notanumber", "the database is not a number (found 'notanumber')"),
            ("redis://h?nosuch=1", "unknown option 'nosuch' (known for redis: db)"),
            ("redis://[::1", "Invalid IPv6 URL"),
            ("rediss://h?ssl_cert_reqs=no", "ssl_cert_reqs is none, optional or required (found 'no')"),
            ("sentinel://h1,h2", "no service name after the hosts"),
            ("unix://rel/x", "the path of the socket must be absolute: three slashes after unix:"),
        )
    ),
    Case(
        "address of Redis whose password hides the fault",
        "[redis]\nurl = redis://:sec/ret@localhost/0\n",
        (f":2 [redis] url: bad address; allowed: {REDIS_FORMS}",),
    ),
    Case(
        "bad host of Redis",
        "[redis]\nhost = a b\n",
        (":2 [redis] host: bad host (found 'a b'); allowed: a name or an address, without a port",),
    ),
    Case(
        "host of Redis with its port",
        "[redis]\nhost = localhost:6380\n",
        (":2 [redis] host: bad host (found 'localhost:6380'); allowed: a name or an address, without a port",),
    ),
    Case(
        "Redis said twice",
        "[redis]\nurl = redis://localhost/0\nhost = localhost\n",
        (":3 [redis] host: stands beside url, which says it already; give one of the two",),
    ),
    Case(
        "Redis of our own and another",
        "[redis]\nhost = localhost\n[process_redis]\n",
        (":2 [redis] host: [process_redis] runs a Redis of its own; take this out, or take out [process_redis]",),
    ),
    Case(
        "two servers on the same data",
        "[process_redis]\nnumprocs = 2\n",
        (":2 [process_redis] numprocs: two servers cannot share one append-only file (found '2'); allowed: 1",),
    ),
    Case(
        "no Redis",
        "[supervisor]\n",
        (
            " [redis]: missing section; say where Redis is (url = redis://HOST), "
            "or add an empty section [process_redis] to run one here",
        ),
    ),
    Case(
        "missing option",
        REDIS + "[logger_in]\nstage = tests.samplestages:Feeder\n",
        (
            ":3 [logger_in] pushto: missing; where lines go; "
            "allowed: a queue name: letters, digits, _ . - and at most @node",
        ),
    ),
    Case(
        "missing stage",
        REDIS + "[worker_a]\nlistento = a\n",
        (
            ":3 [worker_a] stage: missing; allowed: archive, broker, compress, download, filter, logfile, openurl, tail or MODULE:CLASS; "
            "or run a program with command = …",
        ),
    ),
    Case(
        "empty stage beside a command",
        REDIS + "[worker_a]\nlistento = a\nstage =\ncommand = ./x.py\n",
        (
            ":5 [worker_a] stage: missing; allowed: archive, broker, compress, download, filter, logfile, openurl, tail or MODULE:CLASS; "
            "or run a program with command = …",
        ),
    ),
    Case(
        "missing command",
        REDIS + "[process_a]\n",
        (":3 [process_a] command: missing; allowed: a program and its arguments",),
    ),
    Case(
        "empty command",
        REDIS + "[process_a]\ncommand =\n",
        (":4 [process_a] command: bad command (found ''); allowed: a program and its arguments",),
    ),
    Case(
        "command of quotation marks",
        REDIS + "[process_a]\ncommand = '' x\n",
        (""":4 [process_a] command: bad command (found "'' x"); allowed: a program and its arguments""",),
    ),
    Case(
        "stage and command",
        REDIS + FEEDER + "command = ./in.sh\n" + COPIER + KEEPER,
        (":6 [logger_in] command: stands beside stage; give one of the two",),
    ),
    Case(
        "command without its closing quotation",
        REDIS + "[process_a]\ncommand = echo 'a\n",
        (""":4 [process_a] command: No closing quotation (found "echo 'a")""",),
    ),
    Case(
        "log that is a folder",
        REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = logs/\n",
        (
            ":5 [process_a] stdout_logfile: names a folder; bad path (found 'logs/'); "
            "allowed: a path; a relative one starts at the instance's folder",
        ),
    ),
    Case(
        "log that is a home",
        REDIS + "[process_a]\ncommand = sleep 1\nnumprocs = 2\nstdout_logfile = ~root\n",
        (
            ":6 [process_a] stdout_logfile: names a folder; bad path (found '~root'); "
            "allowed: a path; a relative one starts at the instance's folder",
        ),
    ),
    Case(
        "white space that is none to supervisord",
        REDIS + "[process_a]\ncommand = sleep 1\nenvironment = A=\u2028a\n",
        (""":5 [process_a] environment: bad environment (found 'A=\\u2028a'); allowed: NAME="VALUE",OTHER="VALUE\"""",),
    ),
    Case(
        "placeholders that supervisord fills in however they are written",
        REDIS
        + "[process_a]\ncommand = echo %%(here)s %%(process_num)d\nenvironment = A='%%(here)s'\n"
        + "stdout_logfile = %%(process_num)d.log\n[process_b]\ncommand = sleep 1\nstdout_logfile = %%(here)s.log\n",
        (
            ":4 [process_a] command: supervisord fills in %%(here) all the same; take it out",
            ":5 [process_a] environment: supervisord fills in %%(here) all the same; take it out",
            ":6 [process_a] stdout_logfile: supervisord fills in %%(process_num) all the same; take it out",
            ":9 [process_b] stdout_logfile: supervisord fills in %%(here) all the same; take it out",
        ),
    ),
    Case(
        "log with the folder of the file inside its path",
        REDIS
        + "[process_a]\ncommand = sleep 1\nstdout_logfile = %%/%(here)s/a.log\n"
        + "[process_b]\ncommand = sleep 1\nstdout_logfile = %(here)s.log\n",
        (
            ":5 [process_a] stdout_logfile: %(here)s can only stand in front of a / at the beginning",
            ":8 [process_b] stdout_logfile: %(here)s can only stand in front of a / at the beginning",
        ),
    ),
    Case(
        "value that supervisord would cut",
        REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = logs/a #1.log\n",
        (":5 [process_a] stdout_logfile: supervisord takes # after a space for a comment (found 'logs/a #1.log')",),
    ),
    Case(
        "unknown stage",
        REDIS + "[worker_a]\nstage = brokre\nlistento = a\n",
        (
            ":4 [worker_a] stage: unknown stage (found 'brokre'); "
            "allowed: archive, broker, compress, download, filter, logfile, openurl, tail or MODULE:CLASS; did you mean broker?",
        ),
    ),
    Case(
        "stage of a module that is not there",
        REDIS + "[worker_a]\nstage = nowhere.mine:Mine\nlistento = a\n",
        (":4 [worker_a] stage: cannot import nowhere.mine: ModuleNotFoundError: No module named 'nowhere'",),
    ),
    Case(
        "stage whose class is not there",
        REDIS + "[worker_a]\nstage = tests.samplestages:Mine\nlistento = a\n",
        (f":4 [worker_a] stage: tests.samplestages has no class Mine; it was found in {samplestages.__file__}",),
    ),
    Case(
        "stage that is none",
        REDIS + "[worker_a]\nstage = tests.samplestages:NO_STAGE\nlistento = a\n",
        (
            ":4 [worker_a] stage: tests.samplestages:NO_STAGE is no stage; "
            "derive it from Stage or Source of aggregator.runtime.contract",
        ),
    ),
    Case(
        "plugin that cannot be imported",
        REDIS + FEEDER + "[worker_ask]\nstage = tests.samplestages:Caller\nlistento = a\n"
        "repository_plugin = plugins.nothere\n[nothere]\nkey = value\n",
        (
            ":9 [worker_ask] repository_plugin: cannot import plugins.nothere: "
            "ModuleNotFoundError: No module named 'plugins.nothere'",
        ),
    ),
    Case(
        "fault that only the stage can see",
        REDIS + FEEDER + "[worker_ask]\nstage = tests.samplestages:Caller\nlistento = a\n"
        "repository_plugin = json\nsuccess_queue = forbidden\n",
        (":10 [worker_ask] success_queue: is a queue that this test forbids",),
    ),
    Case(
        "unknown option of a plugin's section",
        REDIS + FEEDER + "[worker_ask]\nstage = tests.samplestages:Caller\nlistento = a\n"
        "repository_plugin = tests.sampleplugin\n[sampleplugin]\npatern = x\n[sampleplugin_two]\npattern = y\n",
        (":11 [sampleplugin] patern: unknown option; did you mean pattern?",),
    ),
    Case(
        "two sections making the same program",
        REDIS + "[process_a]\ncommand = sleep 1\n[process_A]\ncommand = sleep 1\n",
        (":5 [process_A]: makes the same program as [process_a] in line 3; names must differ in more than case",),
    ),
    Case(
        "queue with two readers",
        REDIS + FEEDER + KEEPER.replace("= b", "= a") + KEEPER.replace("= b", "= a").replace("_out", "_too"),
        (
            ":12 [logger_too] listento: [logger_out] in line 8 reads the queue a too; "
            "give each its own queue and feed them by a broker's fanout, or raise numprocs",
        ),
    ),
    Case(
        "stage that feeds itself",
        REDIS + FEEDER + COPIER.replace("= b", "= a"),
        (":9 [worker_copy] fanout: sends to the queue that it reads itself (a)",),
    ),
    Case(
        "file with two writers",
        REDIS + FEEDER + WRITER + WRITER.replace("_out", "_too").replace("= a", "= b").replace("= out", "= ./x/../out"),
        (":13 [logger_too] logfile: [logger_out] in line 9 writes the file ./x/../out.log too; give each its own",),
    ),
    Case(
        "file that is a folder",
        REDIS + FEEDER + WRITER.replace("out.log", "/"),
        (":9 [logger_out] logfile: is a folder (found '/'); allowed: a file",),
    ),
    Case(
        "source with two processes",
        REDIS + FEEDER + "numprocs = 2\n" + COPIER + KEEPER,
        (
            ":6 [logger_in] numprocs: a second process of tests.samplestages:Feeder could only stand in the way "
            "(found '2'); allowed: 1",
        ),
    ),
    Case(
        "exclusive stage with two processes",
        REDIS + FEEDER + COPIER + KEEPER + "numprocs = 2\n",
        (
            ":14 [logger_out] numprocs: a second process of tests.samplestages:Keeper could only stand in the way "
            "(found '2'); allowed: 1",
        ),
    ),
    Case(
        "no such user",
        REDIS + "[process_a]\ncommand = sleep 1\nuser = nobodyatall\n",
        (":5 [process_a] user: no such user on this machine (found 'nobodyatall')",),
    ),
    Case(
        "user that is a number to nobody",
        REDIS + "[process_a]\ncommand = sleep 1\nuser = ²\n",
        (":5 [process_a] user: no such user on this machine (found '²')",),
    ),
    Case(
        "log in the folder of a user that is not there",
        REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = ~nobodyatall/a.log\n",
        (":5 [process_a] stdout_logfile: no such user on this machine (found '~nobodyatall')",),
    ),
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
            ":6 [worker_a] stage: unknown stage (found 'none'); "
            "allowed: archive, broker, compress, download, filter, logfile, openurl, tail or MODULE:CLASS",
            ":7 [worker_b] stage: missing; allowed: archive, broker, compress, download, filter, logfile, openurl, tail or MODULE:CLASS; "
            "or run a program with command = …",
            f":8 [warker_c]: unknown section; allowed: {SECTIONS}; did you mean worker_c?",
            ":9 [redis]: duplicate section; the first one stands in line 3",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "loglines.cfg"
    file.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    assert raised.value.problems == tuple(f"{file}{fault}" for fault in case.faults)


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


def test_a_variable_that_would_break_a_list_of_variables_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTED", 'a"b')
    file = tmp_path / "loglines.cfg"
    file.write_text(REDIS + '[process_a]\ncommand = sleep 1\nenvironment = A="%(ENV_QUOTED)s"\n')

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    words = """bad environment (found 'A="%(ENV_QUOTED)s"'); allowed: NAME="VALUE",OTHER="VALUE\""""
    assert raised.value.problems == (f"{file}:5 [process_a] environment: {words}",)


def test_a_variable_that_would_break_the_path_of_a_log_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER", "a%b")
    file = tmp_path / "loglines.cfg"
    file.write_text(REDIS + "[process_a]\ncommand = sleep 1\nstdout_logfile = logs/%(ENV_FOLDER)s/100%.log\n")

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    words = "supervisord cannot read a % in the value of the variable FOLDER here; write it out"
    assert raised.value.problems == (f"{file}:5 [process_a] stdout_logfile: {words}",)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("broken_syntax", "def parseline(:\n", "SyntaxError: invalid syntax (broken_syntax.py, line 1)"),
        ("broken_exit", "raise SystemExit('bye')\n", "SystemExit: bye"),
        ("broken_base", "class Stop(BaseException): pass\nraise Stop('now')\n", "Stop: now"),
        ("broken_use", "import json\njson.nothing\n", "AttributeError: module 'json' has no attribute 'nothing'"),
    ],
)
def test_a_broken_plugin_is_told_with_the_last_line_of_its_traceback(
    name: str, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / f"{name}.py").write_text(source)
    file = tmp_path / "loglines.cfg"
    file.write_text(f"{REDIS}[worker_a]\nstage = {name}:Stage\nlistento = a\n")

    with pytest.raises(ConfigError) as raised:
        load(file, tmp_path)

    assert raised.value.problems == (f"{file}:4 [worker_a] stage: cannot import {name}: {words}",)
