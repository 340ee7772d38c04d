"""Log lines, and what the access-log plugin makes of them."""

from __future__ import annotations

import json
from configparser import ConfigParser
from pathlib import Path

from plugins import accesslog

LOGS = Path(__file__).parents[1] / "data" / "logs"
WORKER = "worker_irus"
DOWNLOAD = (
    '192.0.2.7 - - [16/Mar/2010:13:31:14 +0100] "GET /objects/uuid%3A8fc817c9-9dd9/datastreams/ATTACHMENT01 HTTP/1.1" '
    '200 2291968 "http://example.org/search?q=a" "Mozilla/5.0 (X11)"'
)


def terms_of(line: str, service: str = "ora.ox.ac.uk") -> dict[str, str]:
    """Return the terms that are read from a line."""
    return accesslog.parseline(json.dumps({"service": service, "logline": line}))


def config(worker: dict[str, str] | None = None, **options: str) -> ConfigParser:
    """Return a configuration with these options of the plugin, and those of the worker."""
    c = ConfigParser(interpolation=None)
    c[accesslog.SECTION] = options
    c[WORKER] = worker or {}
    return c


def params_of(line: str, worker: dict[str, str] | None = None, **options: str) -> dict[str, str]:
    """Return the parameters that a line is sent with."""
    return accesslog.get_openurl_params(config(worker, **options), WORKER, terms_of(line))


def request(path: str, *, method: str = "GET", status: int = 200) -> str:
    """Return the line of a request."""
    return f'192.0.2.7 - - [16/Mar/2010:13:31:14 +0100] "{method} {path} HTTP/1.1" {status} 10 "-" "curl/8"'
