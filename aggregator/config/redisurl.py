"""Parse the addresses of Redis without connecting, so that a wrong address is reported before anything starts."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

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


class RedisAddress(NamedTuple):
    """A parsed URL; `service` is Sentinel's name of the master, `sentinel_options` Sentinel's own login."""

    scheme: str
    hosts: list[tuple[str, int]]
    options: dict[str, Any]
    service: str
    sentinel_options: dict[str, str]


def parse(url: str) -> RedisAddress:
    """Split a URL. Raises ValueError, which says what is wrong with the URL."""
    split = urlsplit(url)
    if split.scheme not in _OPTIONS:
        raise ValueError(f"unknown scheme {split.scheme!r}")
    # by hand, because SplitResult.port refuses a list of hosts
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
        if not str(options["db"]).isdecimal():
            raise ValueError(f"the database is not a number (found {options['db']!r})")
        options["db"] = int(options["db"])
    if options.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise ValueError(f"ssl_cert_reqs is none, optional or required (found {options['ssl_cert_reqs']!r})")
    default_port = 26379 if split.scheme == "sentinel" else 6379
    hosts = [_host(text, default_port) for text in hosts_text.split(",")] if hosts_text else []
    if split.scheme in ("redis", "rediss") and len(hosts) > 1:
        raise ValueError("more than one host")
    return RedisAddress(split.scheme, hosts, options, service, sentinel_options)


def mask(url: str) -> str:
    """Return a URL with its passwords hidden, for display and logs, even when it is malformed."""
    url = re.sub(r"(://[^:@/]*:).*@", r"\1***@", url)
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url)


def _read_path(split: SplitResult, hosts_text: str, options: dict[str, Any]) -> str:
    """Put the meaning of a scheme's path into `options`; return Sentinel's service name, or nothing."""
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
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s]+))(?::(\d{1,5}))?", text)
    if not found or not 0 < int(found[3] or default_port) < 65536:
        raise ValueError(f"cannot read the host and port {text!r}")
    return found[1] or found[2], int(found[3] or default_port)
