"""Where Redis is: its address, its parts, and who else says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.faults import Case, problems

REDIS_FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB] or rediss://[USER:PASSWORD@]HOST[:PORT][/DB]?ssl_ca_certs=FILE "
    "or unix://[USER:PASSWORD@]/PATH?db=N or sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DB] "
    "or cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]"
)

CASES = [
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
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_is_told_in_these_words(case: Case, tmp_path: Path) -> None:
    assert problems(case.text, tmp_path) == case.faults
