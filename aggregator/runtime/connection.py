"""Make a Redis client from a URL. The client never repeats a command behind our back.

By default redis-py retries a command whose reply did not come, and so executes it twice; after a timeout it may go on
with a Sentinel's old master (redis-py #3874). Here a call is sent once: it answers, or raises one of `AWAY`. The
caller, who knows how to make the call harmless when repeated, then tries again, and this next call asks the sentinels,
or the cluster, anew.
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
    """A connection to a Unix socket. It refuses a folder of ours that somebody else has made."""

    def _connect(self) -> Any:
        if words := foreign_sockets(Path(self.path).parent):
            raise ConnectionError(words)
        return super()._connect()  # type: ignore[no-untyped-call]


_KINDS = {"redis": Connection, "rediss": SSLConnection, "unix": OwnSocketConnection}


class NoDatabase(AuthorizationError):
    """The server has no database of this number."""


class Unwritable(ConnectionError):
    """The server answers, but takes no writes at the moment.

    The reason is a replica, a full disk, a script that does not end, or a key of ours that somebody gave another type.
    The class is a ConnectionError because redis-py closes the connection on such an error, and the next call then finds
    the new master.
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
    # raised by the cluster client while no node answers, or a slot has no master yet
    RedisClusterException,
)
"""The errors that say that Redis is away, or cannot take writes now: try the same call again, later."""

REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
"""The errors that say that Redis refuses us: trying again does not help. The first two are ConnectionErrors, so catch
these errors before `AWAY`."""


def is_full(error: Exception) -> bool:
    """True when an error of `AWAY` says that Redis is at its maxmemory."""
    return isinstance(error, OutOfMemoryError) or bool(_FULL.search(str(error)))


def refusal(error: Exception) -> ConfigError:
    """Return what an error of `REFUSED` means for the user."""
    return ConfigError(f"[redis] Redis refuses us: {error}; check the user, password and database of its url")


_UNWRITABLE = re.compile(
    # MISTYPED comes from our own scripts
    r"(READONLY|MISCONF|NOREPLICAS|UNBLOCKED|BUSY|MASTERDOWN|MISTYPED) "
    # Redis 6.2 wraps the error of a command inside a script
    r"|ERR Error running script .*?@user_script: ?\d+: -(READONLY|MISCONF|NOREPLICAS|OOM) "
)


# Redis 6.2 wraps OOM like the other errors inside a script
_FULL = re.compile(r": -OOM ")


def connect(url: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a client for the Redis at `url`, in one of `redisurl.FORMS`.

    `timeout_s` bounds the wait for every reply, so a blocking command must ask for less time. The client connects at
    its first call. Only the client of a cluster connects at once, and may raise one of `AWAY`; it has the methods of
    `Redis`. Replies are bytes. Raises ConfigError when the URL is wrong.
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
        # replies have one shape with every version of server and library; no maintenance pushes
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
    """A Lua script. It is sent by its hash, and by its text only to a server that does not know it yet.

    In a cluster there must be at least one key, and all keys must share one hash tag.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Redis, keys: Sequence[str | bytes], args: Sequence[str | bytes | int | float] = ()) -> Any:
        """Run the script and return its reply. After NOSCRIPT nothing has run, so sending the text is safe."""
        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.execute_command("EVAL", self.text, len(keys), *keys, *args)


def warnings_about(client: Redis) -> list[str]:
    """Return a sentence for each way in which this Redis, as it is set up, could lose data.

    Only INFO is asked, because CONFIG may be forbidden.
    """
    found = [sentence for info in _infos(client) for sentence in _weaknesses(info)]
    return list(dict.fromkeys(found))


def _weaknesses(info: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each weakness of one server."""
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
    """Return INFO of the server, or of each master of a cluster."""
    # a cluster with one master returns its INFO; with several masters it returns a dict by node
    everywhere: dict[str, Any] = {} if isinstance(client, Redis) else {"target_nodes": "primaries"}
    reply = cast(Mapping[str, Any], client.info(**everywhere))
    return [reply] if "redis_version" in reply else list(reply.values())


def _check_files(options: Mapping[str, str]) -> None:
    """Check the files for TLS now: redis-py would report a missing file as a server that is away."""
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
            # the connections of a cluster's nodes take no parser of ours, so errors are converted here
            try:
                return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if _UNWRITABLE.match(str(error)):
                    raise Unwritable(str(error)) from error
                raise

    nodes = [ClusterNode(host, port) for host, port in hosts]
    return cast(Redis, Cluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **options))


class _Parser(DefaultParser):  # type: ignore[misc, valid-type]
    """redis-py's parser, extended by the errors that pass by themselves."""

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """Return the exception for an error reply."""
        if response.startswith("ERR DB index is out of range"):
            return NoDatabase(response)
        if _UNWRITABLE.match(response):
            return Unwritable(response)
        return cast(Exception, super().parse_error(response))
