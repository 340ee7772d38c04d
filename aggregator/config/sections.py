"""The options of the sections that belong to no stage, and of every supervised program."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from aggregator.config import redisurl
from aggregator.config.placeholders import OWN_PLACEHOLDER
from aggregator.config.settings import (
    Bounds,
    Doc,
    Duration,
    FilePath,
    Flag,
    Integer,
    OptionType,
    SafeName,
    Settings,
    Size,
    Text,
    choice,
    parse_flag,
)


class Address(NamedTuple):
    """Where a server listens; an empty host means every interface."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach the address."""
        return self.host == "localhost" or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"{self.host or '*'}:{self.port}"


def _parse_address(text: str) -> Address:
    host, _, port = text.strip().rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port) or not 1 <= int(port) <= 65535 or not re.fullmatch(r"[\w.-]*|\*", host):
        raise ValueError
    if not host and ":" not in text:
        # supervisord would take a bare port for every interface
        host = "127.0.0.1"
    return Address("" if host in ("*", "0.0.0.0") else host.lower(), int(port))


def _parse_redis_url(text: str) -> str:
    redisurl.parse(text.strip())
    return text.strip()


def _parse_host(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+|[0-9a-fA-F:.]+", text.strip()):
        raise ValueError
    return text.strip()


def _parse_autorestart(text: str) -> str:
    if text.strip().lower() == "unexpected":
        return "unexpected"
    return "true" if parse_flag(text) else "false"


def _parse_exit_codes(text: str) -> tuple[int, ...]:
    codes = tuple(int(word) for word in text.split(","))
    if not all(0 <= code <= 255 for code in codes):
        raise ValueError
    return codes


# Outside quotation marks supervisord reads only these characters, and what it fills in: a number or the program's name.
_BARE = rf"(?:[A-Za-z0-9_/.+():-]|{OWN_PLACEHOLDER.pattern})+"
_PAIR = rf"""[A-Za-z_][A-Za-z0-9_]*\s*=\s*(?:"[^"]*"|'[^']*'|{_BARE})"""


def _parse_environment(text: str) -> str:
    joined = text.replace("\n", " ").strip().rstrip(",")
    if not re.fullmatch(rf"{_PAIR}(\s*,\s*{_PAIR})*", joined, re.ASCII):
        raise ValueError
    return joined


def _parse_login(text: str) -> str:
    # supervisord cuts a value at " #"; a colon would end the name in a browser's answer
    if not re.fullmatch(r"[^\s:]+", text.strip()):
        raise ValueError
    return text.strip()


def _parse_logfile(text: str) -> str:
    if not text.strip() or "\n" in text:
        raise ValueError
    if text.endswith("/") or (text.startswith("~") and "/" not in text):
        raise ValueError("names a folder")
    return text.strip()


ListenAddress = Annotated[Address, OptionType("address", _parse_address, "HOST:PORT, such as 127.0.0.1:9001")]
RedisUrl = Annotated[str, OptionType("address", _parse_redis_url, " or ".join(redisurl.FORMS))]
Host = Annotated[str, OptionType("host", _parse_host, "a name or an address, without a port")]
AutoRestart = Annotated[str, OptionType("word", _parse_autorestart, "yes, no or unexpected")]
ExitCodes = Annotated[
    tuple[int, ...], OptionType("exit codes", _parse_exit_codes, "numbers from 0 to 255 such as 0, 2")
]
Environment = Annotated[str, OptionType("environment", _parse_environment, 'NAME="VALUE",OTHER="VALUE"')]
LogPath = Annotated[str, OptionType("path", _parse_logfile, "a path; a relative one starts at the instance's folder")]
Login = Annotated[str, OptionType("name", _parse_login, "a word without white space and colons")]
Signal = Annotated[str, choice("TERM", "HUP", "INT", "QUIT", "KILL", "USR1", "USR2")]


class SupervisorSettings(Settings, frozen=True, kw_only=True):
    """[supervisor]: supervisord's web pages."""

    port: Annotated[ListenAddress, Doc("where supervisord shows its web pages")] = Address("127.0.0.1", 9001)
    username: Annotated[Login, Doc("who may see them")] = "admin"
    password: Annotated[
        Text | None, Doc("the password, or {SHA} and its SHA-1; none = one is made and kept in run/password")
    ] = None


class RedisSettings(Settings, frozen=True, kw_only=True):
    """[redis]: where Redis is. `Config.redis.url` is always filled in, in whichever way the address was given."""

    url: Annotated[RedisUrl, Doc("the address of Redis; instead of host, port, db and password")] = ""
    host: Annotated[Host | None, Doc("the host that Redis runs on (127.0.0.1 when neither it nor url is given)")] = None
    port: Annotated[Integer, Doc("the port that Redis listens on"), Bounds(1, 65535)] = 6379
    db: Annotated[Integer, Doc("the number of the database"), Bounds(0)] = 0
    password: Annotated[Text | None, Doc("the password of Redis")] = None
    namespace: Annotated[SafeName, Doc("stands in front of every key, so that several pipelines share one Redis")] = (
        "aggregator"
    )
    patience: Annotated[Duration, Doc("a worker that finds no Redis for this long exits to be started anew")] = 600.0


class AggregatorSettings(Settings, frozen=True, kw_only=True):
    """[aggregator]: the instance as a whole."""

    node: Annotated[
        SafeName | None, Doc("this machine's name in positions and worker names; none = the host's name at first build")
    ] = None
    feeds_file: Annotated[
        FilePath | None,
        Doc("a file of more feeds, comma-separated: id, url, extension, period, timestamp; or a first line that says"),
    ] = None
    outage_after: Annotated[
        Duration, Doc("what a worker needs may be away for this long before `aggregator health` makes it an error")
    ] = 300.0


class RulesSettings(Settings, frozen=True, kw_only=True):
    """[rules]: where the rules of streams are. `Config.rules.url` is always filled in."""

    url: Annotated[
        RedisUrl, Doc("the Redis that rule managers write rules to; none = the instance's own. A cluster will not do")
    ] = ""
    notify_channel: Annotated[Text, Doc("the channel on which a change of rules is announced, as TYPE:ID")] = (
        "traptor-notify"
    )
    owner: (
        Annotated[
            SafeName,
            Doc("what marks rules at X as ours; none = a word that is made once and kept in the Redis of the rules"),
        ]
        | None
    ) = None
    x_rule_length: Annotated[
        Integer, Doc("the most characters of a rule of type x: 1024 pay-per-use, 2048 Enterprise"), Bounds(1, 2048)
    ] = 1024


class ProgramSettings(Settings, frozen=True, kw_only=True):
    """What supervisord is told about a section; None means a value that fits the section."""

    enabled: Annotated[Flag, Doc("no = the program file is made, but not linked into workers_enabled")] = True
    numprocs: Annotated[Integer, Doc("how many processes"), Bounds(1, 1000)] = 1
    priority: Annotated[
        Integer | None, Doc("lower ones start first; none = consumers before those who feed them"), Bounds(0, 999)
    ] = None
    autostart: Annotated[Flag, Doc("start together with supervisord")] = True
    autorestart: Annotated[AutoRestart | None, Doc("start again after an exit; unexpected = not by exitcodes")] = None
    exitcodes: Annotated[ExitCodes, Doc("the exit codes that are expected")] = (0,)
    startsecs: Annotated[Duration, Doc("a process that stays up for this long counts as started")] = 1.0
    startretries: Annotated[Integer, Doc("starts that fail in a row before supervisord gives up"), Bounds(0)] = 100
    stopsignal: Annotated[Signal, Doc("the signal that asks for an end")] = "TERM"
    stopwaitsecs: Annotated[Duration | None, Doc("how long after it SIGKILL follows; none = 30 s or more")] = None
    user: Annotated[Text | None, Doc("run as this user (supervisord must run as root)")] = None
    environment: Annotated[Environment | None, Doc("variables for the processes")] = None
    redirect_stderr: Annotated[Flag, Doc("standard error goes to stdout_logfile too")] = True
    stdout_logfile: Annotated[LogPath | None, Doc("what the processes print; none = logs/SECTION.log")] = None
    stdout_logfile_maxbytes: Annotated[Size, Doc("the log is rotated at this size; 0 = never")] = 10 * 1024**2
    stdout_logfile_backups: Annotated[Integer, Doc("how many rotated logs are kept"), Bounds(0)] = 5


CORE: dict[str, type[Settings]] = {
    "supervisor": SupervisorSettings,
    "redis": RedisSettings,
    "aggregator": AggregatorSettings,
    "rules": RulesSettings,
}
"""The sections that are neither a program nor an entry of a table."""
