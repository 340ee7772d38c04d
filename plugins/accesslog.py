"""Turn lines of an access log into OpenURL pings for IRUS (release 5): the example to copy for a repository.

A repository plugin is a module with two functions. The `openurl` stage calls `parseline(jmsg)` with a message of the
queue and then `get_openurl_params(c, worker_section, terms)`; an empty dict says that the line is no article download,
and the message goes on to `other_queue`.

The plugin reads the common and the combined format. A line may have a virtual host in front, a list of X-Forwarded-For
addresses in place of the client's, further fields behind the user agent, and the prefix of a Python logger
(`2010-03-16 13:31:15,239,239 INFO  [wsgi] …`). loglines.cfg says which requests count as downloads:

    [accesslog]
    pattern = /objects/(?P<id>uuid(:|%%3A)[0-9a-f-]+)/datastreams/(?P<dsid>\\w+)
    identifier = oai:ora.ox.ac.uk:{id}
    site = https://ora.ox.ac.uk

    [worker_pirus2]
    stage = openurl
    repository_plugin = plugins.accesslog
    rfr_id = ora.ox.ac.uk

(In loglines.cfg, a `%` of a pattern is written `%%`.) The parameters depend on the line and the configuration alone,
never on the time of day, so that a ping that is sent again is the same byte for byte.

Source: IRUS tracker protocol R5 (irus.jisc.ac.uk/r5/us/about/policies/tracker), ANSI/NISO Z39.88-2004 (KEV format).
"""

import json
import re
from collections.abc import Callable
from configparser import RawConfigParser
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from string import Formatter
from typing import TypeVar
from urllib.parse import unquote

SECTION = "accesslog"

OPTIONS = {
    "url_ver": "version of the OpenURL standard; default Z39.88-2004",
    "rfr_id": "host name of the repository; default the service that the message names",
    "svc_dat": "URL of the item page or file; default `site` with the path of the request",
}

SECTION_OPTIONS = {
    "pattern": (
        "regular expression that the whole path of a request matches (without its query, percent-encoded as logged); "
        "needs a group (?P<id>…), may have more, as (?P<dsid>…); default: Fedora datastreams"
    ),
    "identifier": (
        "identifier of the article, made from {service} and the groups of `pattern`, percent-decoded; "
        "info:doi/… is also sent as rft_id; default oai:{service}:{id}"
    ),
    "methods": "request methods that count; default GET",
    "status": "HTTP status codes that count; default 200,304 (COUNTER)",
    "rft_dat": "kind of use, Request or Investigation; default Request",
    "site": "URL of the site, put in front of the request's path in svc_dat; default none",
}

_DEFAULTS = {
    "pattern": r"(?i:/objects/(?P<id>(?:ora|uuid|hdl)(?::|%3A|%253A)[0-9a-f-]+)/datastreams/(?P<dsid>[0-9a-z_-]+))",
    "identifier": "oai:{service}:{id}",
    "methods": "GET",
    "status": "200,304",
    "rft_dat": "Request",
    "site": "",
}

# An unrolled loop: three times as fast on real lines as the usual (?:[^"\\]|\\.)*, and linear on hostile lines.
_QUOTED = r'[^"\\]*(?:\\.[^"\\]*)*'
_LINE = re.compile(
    r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d+)* +[A-Z]+ +\[[^\]]*\] )?"
    r"(?P<who>.*?) \[(?P<when>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    rf'"(?P<request>{_QUOTED})" (?P<status>\d{{3}}) (?P<bytes>\d+|-)'
    rf'(?: "(?P<referer>{_QUOTED})" "(?P<useragent>{_QUOTED})"(?: .*)?)?'
)
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def parseline(jmsg: str) -> dict[str, str]:
    """Return the terms of one message; empty when its line is in no format that the plugin reads.

    Terms: service, ip (left-most valid address in front of the date; empty when the log has names instead), time (UTC,
    2010-10-17T03:04:42Z), method, target (path and query as requested), status, bytes, referer, useragent. A `-` in the
    log becomes an empty term. Raises ValueError when the message is no JSON object with a `logline`.
    """
    message = json.loads(jmsg)
    if not isinstance(message, dict) or not isinstance(message.get("logline"), str):
        raise ValueError(f'message {jmsg[:80]!r} is no object with a "logline"; needed: {{"service": …, "logline": …}}')
    line = _LINE.fullmatch(message["logline"].rstrip("\r\n"))
    time = line and _utc(line["when"])
    # The client, the ident and the user stand in front of the date: a line with fewer words is no log line.
    clients = line and line["who"].replace(",", " ").replace('"', " ").split()[:-2]
    if not line or not time or not clients:
        return {}
    method, target = _request(line["request"])
    return {
        "service": str(message.get("service", "")),
        "ip": next(filter(None, map(_address, filter(_is_short, clients))), ""),
        "time": time,
        "method": method,
        "target": _text(target),
        "status": line["status"],
        "bytes": _text(line["bytes"]),
        "referer": _text(line["referer"]),
        "useragent": _text(line["useragent"]),
    }


def get_openurl_params(c: RawConfigParser, worker_section: str, pl: dict[str, str]) -> dict[str, str]:
    """Return the parameters of the ping for one line's terms; empty when the line is no download that counts.

    Lines without a client address do not count: the tracker cannot use them. Raises ValueError as `check` does.
    """
    if not pl or not pl["ip"]:
        return {}
    rules = _rules(c, worker_section)
    if pl["method"] not in rules.methods or pl["status"] not in rules.statuses:
        return {}
    origin = _ORIGIN.match(pl["target"])
    path = re.split("[?#]", pl["target"][origin.end() if origin else 0 :], maxsplit=1)[0]
    found = rules.pattern.fullmatch(path)
    if not found or not found["id"]:
        return {}
    groups = {name: _decoded(text or "") for name, text in found.groupdict().items()}
    identifier = rules.identifier.format_map(groups | {"service": pl["service"]})
    params = {
        "url_ver": "Z39.88-2004",
        "url_tim": pl["time"],
        "rft_dat": rules.rft_dat,
        "req_id": pl["ip"],
        "req_dat": pl["useragent"],
        "rft.artnum": identifier,
        "svc_dat": pl["target"] if origin else rules.site + pl["target"],
        "rfr_dat": pl["referer"],
        "rfr_id": pl["service"],
    }
    if identifier.startswith("info:doi/"):
        params["rft_id"] = identifier
    return params | rules.overrides


def check(c: RawConfigParser, worker_section: str) -> None:
    """Check the options. Raises ValueError with a line for each wrong option: `[accesslog] option: what (found …)`."""
    _rules(c, worker_section)


# --- the terms of a line ---


@lru_cache(maxsize=4096)  # log times repeat by the second
def _utc(when: str) -> str:
    """Return `16/Mar/2010:13:31:14 +0100` as 2010-03-16T12:31:14Z, or nothing when there is no such time."""
    # Not strptime: it takes its month names from the locale.
    try:
        offset = timedelta(hours=int(when[22:24]), minutes=int(when[24:26]))
        zone = timezone(-offset if when[21] == "-" else offset)
        day, month, year = int(when[:2]), _MONTHS[when[3:6]], int(when[7:11])
        local = datetime(year, month, day, int(when[12:14]), int(when[15:17]), int(when[18:20]), tzinfo=zone)
        return local.astimezone(timezone.utc).isoformat()[:19] + "Z"
    except (KeyError, ValueError, OverflowError):
        return ""


def _is_short(word: str) -> bool:
    """True for a word that is short enough for an address; longer words would only fill the cache of `_address`."""
    return len(word) <= 100


@lru_cache(maxsize=4096)
def _address(word: str) -> str:
    """Return a word that is an IP address in its shortest form; empty for any other word."""
    try:
        address = ip_address(word.strip("[]"))
    except ValueError:
        return ""
    # ::ffff:192.0.2.1 is an IPv4 client of a server that listens on IPv6 and IPv4.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _request(request: str) -> tuple[str, str]:
    """Split a request line into method and target; both may be anything, as clients send anything."""
    method, _, rest = request.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    return method, target if protocol.startswith("HTTP/") else rest


def _text(field: str | None) -> str:
    r"""Return a field's text: `-` becomes empty, and the server's escapes (\" \\ \t \xC3) are undone."""
    if field is None or field == "-":
        return ""
    if field.isascii() and "\\" not in field:
        return field
    # Bytes that are no UTF-8 after that stay visible as \xhh, because a lone surrogate could not be sent at all.
    return _ESCAPE.sub(_unescaped, field.encode(errors="surrogatepass")).decode(errors="backslashreplace")


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return bytes([int(code[1:], 16)]) if len(code) == 3 else _ESCAPED.get(code, code)


def _decoded(text: str) -> str:
    """Undo percent-encoding twice, because proxies and browsers send %253A for %3A."""
    return unquote(unquote(text))


# --- the options ---


@dataclass(frozen=True)
class _Rules:
    """The rules that say which requests count as downloads, and which values are sent for them."""

    pattern: re.Pattern[str]
    identifier: str
    methods: frozenset[str]
    statuses: frozenset[str]
    rft_dat: str
    site: str
    overrides: dict[str, str]


# The contract gives us no object to keep the compiled options in, so the module keeps the last ones.
# A worker has one configuration and one section. While `c` is kept, no other parser can have its identity.
_last: tuple[RawConfigParser, str, _Rules] | None = None


def _rules(c: RawConfigParser, worker_section: str) -> _Rules:
    global _last
    if _last is None or _last[0] is not c or _last[1] != worker_section:
        _last = (c, worker_section, _read_rules(c, worker_section))
    return _last[2]


_Value = TypeVar("_Value")


def _read_rules(c: RawConfigParser, worker_section: str) -> _Rules:
    faults: list[str] = []

    def read(option: str, parse: Callable[[str], _Value]) -> _Value | None:
        text = c.get(SECTION, option) if c.has_option(SECTION, option) else _DEFAULTS[option]
        try:
            return parse(text.strip())
        except ValueError as error:
            faults.append(f"[{SECTION}] {option}: {error} (found {text[:120]!r})")
            return None

    pattern = read("pattern", _pattern)
    fields = {"service", *(pattern.groupindex if pattern else ())}
    identifier = read("identifier", lambda text: _template(text, fields if pattern else None))
    methods, statuses = read("methods", _methods), read("status", _statuses)
    rft_dat, site = read("rft_dat", _rft_dat), read("site", _site)
    if pattern is None or identifier is None or methods is None or statuses is None or rft_dat is None or site is None:
        raise ValueError("\n".join(faults))
    overrides = {name: c.get(worker_section, name) for name in OPTIONS if c.has_option(worker_section, name)}
    return _Rules(pattern, identifier, methods, statuses, rft_dat, site, overrides)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if "id" not in pattern.groupindex:
        raise ValueError("needs a group named id: (?P<id>…)")
    return pattern


def _template(text: str, fields: set[str] | None) -> str:
    """Check that a template has plain fields only, all of them known; `fields` is None when the pattern is broken."""
    parts = list(Formatter().parse(text))
    used = [name for _, name, _, _ in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parts) or not all(name.isidentifier() for name in used):
        raise ValueError("fields are plain names in braces, as {id}")
    if set(used) <= {"service"}:
        raise ValueError("needs a field of the pattern, as {id}, else all articles have one identifier")
    if fields is not None and (unknown := sorted(set(used) - fields)):
        raise ValueError(f"no such field: {', '.join(unknown)}; allowed: {', '.join(sorted(fields))}")
    return text


def _words(text: str) -> list[str]:
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("needs at least one value")
    return words


def _methods(text: str) -> frozenset[str]:
    return frozenset(word.upper() for word in _words(text))


def _statuses(text: str) -> frozenset[str]:
    words = _words(text)
    if wrong := [word for word in words if not re.fullmatch("[1-5][0-9]{2}", word)]:
        raise ValueError(f"no HTTP status: {', '.join(wrong)}; allowed: 100 to 599, separated by commas")
    return frozenset(words)


def _rft_dat(text: str) -> str:
    if text not in ("Request", "Investigation"):
        raise ValueError("allowed: Request, Investigation")
    return text


def _site(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^/\s]+(?:/\S*)?", text):
        raise ValueError("needs a URL that begins with http:// or https://")
    return text.rstrip("/")
