"""One Redis client from a URL, that never repeats a command behind our back.

redis-py's defaults retry a command whose reply did not come, and so execute it twice; after a timeout it may go on
with a Sentinel's old master (redis-py #3874). Here a call is sent once: it answers, or raises one of `AWAY`, and the
caller, who knows how to make the call harmless when repeated, asks again. The next call asks the sentinels, or the
cluster, anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from redis.backoff import NoBackoff
from redis.client import Redis
from redis.connection import Connection, ConnectionPool, DefaultParser, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from aggregator.config.instance import foreign_sockets
from aggregator.config.redisurl import FORMS, RedisAddress, mask, parse
from aggregator.errors import ConfigError

CONNECT_TIMEOUT_S = 5.0


class OwnSocketConnection(UnixDomainSocketConnection):
    """A connection to a socket, but to none in a folder of ours that somebody else has made."""

    def _connect(self) -> Any:
        if words := foreign_sockets(Path(self.path).parent):
            raise ConnectionError(words)
        return super()._connect()  # type: ignore[no-untyped-call]


_KINDS = {"redis": Connection, "rediss": SSLConnection, "unix": OwnSocketConnection}


class NoDatabase(AuthorizationError):
    """The server has no database of this number."""


class Unwritable(ConnectionError):
    """The server answers, but takes no writes at the moment: a replica, a full disk, a script that does not end, a key
    of ours that somebody made something else.

    A ConnectionError because redis-py closes the connection on one, and the next call then finds the new master.
    """


AWAY = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    TryAgainError,
    # CLUSTERDOWN, and a slot that moves faster than we can follow
    ClusterError,
    # what the cluster client raises while no node answers, or a slot has no master yet
    RedisClusterException,
)
"""Redis is away, or cannot take writes now: try the same call again, later."""

REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
"""Redis refuses us: trying again does not help. The first two are ConnectionErrors, so catch these before `AWAY`."""


def is_full(error: Exception) -> bool:
    """True for one of `AWAY` that says that Redis is at its maxmemory."""
    return isinstance(error, OutOfMemoryError) or bool(_FULL.search(str(error)))


def refusal(error: Exception) -> ConfigError:
    """Return what one of `REFUSED` means for the user."""
    return ConfigError(f"[redis] Redis refuses us: {error}; check the user, password and database of its url")


_UNWRITABLE = re.compile(
    # MISTYPED is our own scripts' word
    r"(READONLY|MISCONF|NOREPLICAS|UNBLOCKED|BUSY|MASTERDOWN|MISTYPED) "
    # Redis 6.2 wraps what a script ran into
    r"|ERR Error running script .*?@user_script: ?\d+: -(READONLY|MISCONF|NOREPLICAS|OOM) "
)


# Redis 6.2 wraps it, as it does the other ones
_FULL = re.compile(r": -OOM ")


def connect(url: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a client for the Redis at `url`, in one of `redisurl.FORMS`.

    `timeout_s` bounds the wait for every reply, so a blocking command must ask for less. Nothing is connected yet,
    except for a cluster, where one of `AWAY` may be raised at once. A cluster's client has the methods of `Redis`.
    Replies are bytes. ConfigError when the URL is wrong.
    """
    try:
        place = parse(url)
        _check_files(place.options)
    except ValueError as wrong:
        raise ConfigError(f"redis url {mask(url)}: {wrong}; allowed: {', '.join(FORMS)}") from None
    options = {
        **place.options,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "decode_responses": False,
        # replies have one shape, whatever the version of server and library; no maintenance pushes
        "protocol": 2,
    }
    if place.scheme == "cluster":
        return _cluster(place.hosts, options)
    options["retry"] = Retry(NoBackoff(), 0)
    if place.scheme == "sentinel":
        return _sentinel(place, options)
    if place.hosts:
        options["host"], options["port"] = place.hosts[0]
    pool = ConnectionPool(_KINDS[place.scheme], parser_class=_Parser, **options)
    return Redis(connection_pool=pool)


class Script:
    """A Lua script, sent by its hash and by its text only to a server that does not know it yet.

    In a cluster all keys must share one hash tag, and there must be one at least.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Redis, keys: Sequence[str | bytes], args: Sequence[str | bytes | int | float] = ()) -> Any:
        """Run it and return its reply. NOSCRIPT means that nothing has run, so sending the text then is safe."""
        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.execute_command("EVAL", self.text, len(keys), *keys, *args)


def warnings_about(client: Redis) -> list[str]:
    """Return what this Redis could lose as it is set up, a sentence each.

    Asks INFO only, as CONFIG may be forbidden.
    """
    found = [sentence for info in _infos(client) for sentence in _weaknesses(info)]
    return list(dict.fromkeys(found))


def _weaknesses(info: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with one server."""
    sentences = []
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
        sentences.append(f"Redis is version {version}; claiming a message needs 6.2 or newer (BLMOVE).")
    # while a server loads its append-only file, it says that it has none
    if not int(info["aof_enabled"]) and not int(info["loading"]):
        sentences.append(
            "Redis keeps no append-only file: when it is killed, everything since its last snapshot is lost. "
            "Set `appendonly yes`."
        )
    policy = str(info["maxmemory_policy"])
    if policy != "noeviction":
        sentences.append(
            f"Redis deletes data when its memory is full (maxmemory-policy {policy}): messages and books could vanish. "
            "Set `maxmemory-policy noeviction`."
        )
    return sentences


def _infos(client: Redis) -> list[Mapping[str, Any]]:
    """Return INFO of the server, or of each of a cluster's masters."""
    # a cluster of one master answers for itself, of more under each node's name
    everywhere: dict[str, Any] = {} if isinstance(client, Redis) else {"target_nodes": "primaries"}
    reply = cast(Mapping[str, Any], client.info(**everywhere))
    return [reply] if "redis_version" in reply else list(reply.values())


def _check_files(options: Mapping[str, str]) -> None:
    """Look at the files of TLS now: redis-py would report a missing one as a server that is away."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"cannot read {name} {options[name]!r}")


def _sentinel(place: RedisAddress, options: dict[str, Any]) -> Redis:
    # imported here: most instances have no sentinels
    from redis.sentinel import Sentinel

    keep = ("socket_timeout", "socket_connect_timeout", "protocol", "retry")
    asking = {name: options[name] for name in keep} | place.sentinel_options
    master = Sentinel(place.hosts, sentinel_kwargs=asking).master_for(place.service, parser_class=_Parser, **options)
    return cast(Redis, master)


def _cluster(hosts: list[tuple[str, int]], options: dict[str, Any]) -> Redis:
    # imported here: most instances have no cluster
    from redis.cluster import ClusterNode, RedisCluster

    class Cluster(RedisCluster):
        def execute_command(self, *args: Any, **kwargs: Any) -> Any:
            # its nodes' connections take no parser of ours, so errors are looked at here
            try:
                return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if _UNWRITABLE.match(str(error)):
                    raise Unwritable(str(error)) from error
                raise

    nodes = [ClusterNode(host, port) for host, port in hosts]
    return cast(Redis, Cluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **options))


class _Parser(DefaultParser):  # type: ignore[misc, valid-type]
    """redis-py's parser, that knows the errors which pass by themselves."""

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """Return the exception for an error reply."""
        if response.startswith("ERR DB index is out of range"):
            return NoDatabase(response)
        if _UNWRITABLE.match(response):
            return Unwritable(response)
        return cast(Exception, super().parse_error(response))
