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
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

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

from aggregator.errors import ConfigError

CONNECT_TIMEOUT_S = 5.0

FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB]",
    "rediss://[USER:PASSWORD@]HOST[:PORT][/DB]?ssl_ca_certs=FILE",
    "unix://[USER:PASSWORD@]/PATH?db=N",
    "sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/SERVICE[/DB]",
    "cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]",
)

_SSL_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_OPTIONS = {
    "redis": ("db",),
    "rediss": ("db", *_SSL_OPTIONS),
    "unix": ("db",),
    "sentinel": ("db", "sentinel_username", "sentinel_password"),
    "cluster": (),
}
_KINDS = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}


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


def refusal(error: Exception) -> ConfigError:
    """Return what one of `REFUSED` means for the user."""
    return ConfigError(f"[redis] Redis refuses us: {error}; check the user, password and database of its url")


_UNWRITABLE = re.compile(
    # MISTYPED is our own scripts' word
    r"(READONLY|MISCONF|NOREPLICAS|UNBLOCKED|BUSY|MASTERDOWN|MISTYPED) "
    # Redis 6.2 wraps what a script ran into
    r"|ERR Error running script .*?@user_script: ?\d+: -(READONLY|MISCONF|NOREPLICAS|OOM) "
)


def connect(url: str, *, timeout_s: float = 5.0) -> Redis:
    """Return a client for the Redis at `url`, in one of `FORMS`.

    `timeout_s` bounds the wait for every reply, so a blocking command must ask for less. Nothing is connected yet,
    except for a cluster, where one of `AWAY` may be raised at once. A cluster's client has the methods of `Redis`.
    Replies are bytes. ConfigError when the URL is wrong.
    """
    try:
        place = _parse(url)
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


def mask(url: str) -> str:
    """Return the URL with its passwords hidden, to be shown and logged; also when it is malformed."""
    url = re.sub(r"(://[^:@/]*:).*@", r"\1***@", url)
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url)


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
    if not int(info["aof_enabled"]):
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


class _Place(NamedTuple):
    """A parsed URL; `service` is Sentinel's name of the master, `sentinel_options` its own login."""

    scheme: str
    hosts: list[tuple[str, int]]
    options: dict[str, Any]
    service: str
    sentinel_options: dict[str, str]


def _parse(url: str) -> _Place:
    """Split a URL; ValueError says what is wrong with it."""
    split = urlsplit(url)
    if split.scheme not in _OPTIONS:
        raise ValueError(f"unknown scheme {split.scheme!r}")
    # by hand, as SplitResult.port refuses a list of hosts
    login, _, hosts_text = split.netloc.rpartition("@")
    query = dict(parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query)))
    unknown = sorted(set(query) - set(_OPTIONS[split.scheme]))
    if unknown:
        known = ", ".join(_OPTIONS[split.scheme]) or "none"
        raise ValueError(f"unknown option {unknown[0]!r} (known for {split.scheme}: {known})")
    sentinel_options = {name[len("sentinel_") :]: query[name] for name in query if name.startswith("sentinel_")}
    options: dict[str, Any] = {name: query[name] for name in query if not name.startswith("sentinel_")}
    username, _, password = login.partition(":")
    if username:
        options["username"] = unquote(username)
    if password:
        options["password"] = unquote(password)
    service = _read_path(split, hosts_text, options)
    if "db" in options:
        if not str(options["db"]).isdigit():
            raise ValueError(f"the database is not a number (found {options['db']!r})")
        options["db"] = int(options["db"])
    _check_tls(options)
    default_port = 26379 if split.scheme == "sentinel" else 6379
    hosts = [_host(text, default_port) for text in hosts_text.split(",")] if hosts_text else []
    if split.scheme in ("redis", "rediss") and len(hosts) > 1:
        raise ValueError("more than one host")
    return _Place(split.scheme, hosts, options, service, sentinel_options)


def _check_tls(options: Mapping[str, str]) -> None:
    """Look at the TLS options now: redis-py would report a missing file as a server that is away."""
    if options.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise ValueError(f"ssl_cert_reqs is none, optional or required (found {options['ssl_cert_reqs']!r})")
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"cannot read {name} {options[name]!r}")


def _read_path(split: SplitResult, hosts_text: str, options: dict[str, Any]) -> str:
    """Put what a scheme's path means into `options`; return Sentinel's service name, or nothing."""
    if split.scheme == "unix":
        if hosts_text or len(split.path) < 2:
            raise ValueError("the path of the socket must be absolute: three slashes after unix:")
        options["path"] = unquote(split.path)
        return ""
    if not hosts_text:
        raise ValueError("no host")
    steps = [unquote(step) for step in split.path.split("/") if step]
    service = ""
    if split.scheme == "sentinel":
        if not steps:
            raise ValueError("no service name after the hosts")
        service = steps.pop(0)
    if steps and split.scheme != "cluster":
        options["db"] = steps.pop(0)
    if steps:
        raise ValueError(f"cannot read the path at {steps[0]!r}")
    return service


def _host(text: str, default_port: int) -> tuple[str, int]:
    """Read ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text)
    if not found or not 0 < int(found[3] or default_port) < 65536:
        raise ValueError(f"cannot read the host and port {text!r}")
    return found[1] or found[2], int(found[3] or default_port)


def _sentinel(place: _Place, options: dict[str, Any]) -> Redis:
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
