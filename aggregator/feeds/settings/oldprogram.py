"""Turn the settings file of the old realtime aggregator, a Python module, into sections of loglines.cfg.

The old file assigns `feeds`, a list of (name, url, extension, function), and `using_remote_storage`, `bucket`,
`global_prefix` and `boto3_client_settings`. The file is read, but never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aggregator.config import placeholders
from aggregator.errors import AggregatorError
from aggregator.feeds.naming.feednames import parse_extension, parse_feed_name
from aggregator.feeds.settings.pythonfile import VARIABLE, Function, Unknown, read_module
from aggregator.http.masking import parameters

STORE_OPTIONS = {"endpoint_url": "endpoint_url", "region_name": "region"}
STORE_SECRETS = {"aws_access_key_id": "access_key", "aws_secret_access_key": "secret_key"}
_LOGIN = re.compile(r"(?<=://)(?:([^/?#:@]*):)?([^/?#@]+)(?=@)")
_LIKE_A_KEY = re.compile(r"(?=[A-Za-z_.~-]*\d)(?=[0-9_.~-]*[A-Za-z])[A-Za-z0-9_.~-]{20,}")
"""A value that is taken for a secret, whatever its parameter is called."""
_FROM_ENVIRONMENT = re.compile(VARIABLE.format(r"(\w+)"))
_MEANINGLESS = ("service_name", *STORE_OPTIONS, *STORE_SECRETS)


class BadSettings(AggregatorError):
    """The file is not a usable settings file of the old program."""


class Imported(NamedTuple):
    """The result of importing a settings file."""

    text: str
    """The sections for loglines.cfg."""
    variables: Mapping[str, str]
    """The variables that replace secrets in the sections: name → where the old file has the value."""
    notes: tuple[str, ...]
    """Notes on everything that could not be taken over unchanged."""


def import_settings(path: Path) -> Imported:
    """Read an old settings file, and return the sections made from it. Raises BadSettings."""
    try:
        module = read_module(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadSettings(f"{path}: cannot be read: {str(error) or 'nested too deep'}") from error
    feeds = module.values.get("feeds")
    if isinstance(feeds, Unknown):
        raise BadSettings(f"{path}: line {feeds.line}: `feeds` is computed; write the list out")
    if not isinstance(feeds, list) or not feeds:
        raise BadSettings(f"{path}: no list `feeds` in it; is it a settings file of the old program?")
    importer = _Importer(path, module.values)
    for other in module.others:
        importer.by_hand(other, "something")
    return importer.run()


class _Importer:
    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.variables: dict[str, str] = {}
        self.notes: list[str] = []
        self._by_secret: dict[str, str] = {}
        self._names: set[str] = set()

    def run(self) -> Imported:
        lines: list[str] = []
        for number, entry in enumerate(self.settings["feeds"], 1):
            lines += [*self._feed(number, entry), ""]
        if self.settings.get("using_remote_storage"):
            lines += [*self._store(), ""]
        else:
            self.notes.append("it used no remote storage, so there is no section [store_main]")
        return Imported("\n".join(lines), self.variables, tuple(self.notes))

    def by_hand(self, unknown: Unknown, what: str) -> None:
        """Add a note on a value that cannot be known without running the file."""
        # do not quote the code, which may hold a secret
        self.notes.append(f"line {unknown.line} computes {what}: set by hand")

    def _feed(self, number: int, entry: Any) -> Iterator[str]:
        if isinstance(entry, Unknown):
            self.by_hand(entry, f"the {number}. feed")
            return
        if not isinstance(entry, list) or len(entry) < 4 or not all(isinstance(v, str | Unknown) for v in entry[:3]):
            raise BadSettings(f"{self.path}: feeds: the {number}. is not [name, url, extension, function]")
        name, url, extension, function = entry[:4]
        name = f"feed{number}" if self._is_unknown(name, f"the name of the {number}. feed") else name
        yield f"[feed_{self._name(name)}]"
        yield "# url =" if self._is_unknown(url, f"url of {name}") else f"url = {self._url(url, name)}"
        if self._is_unknown(extension, f"extension of {name}"):
            yield "# extension ="
        else:
            yield f"extension = {self._extension(extension, name)}"
        if self._is_unknown(function, f"timestamp of {name}"):
            yield "# timestamp ="
        else:
            yield f"timestamp = {self._timestamp(function, name)}"

    def _is_unknown(self, value: Any, what: str) -> bool:
        if isinstance(value, Unknown):
            self.by_hand(value, what)
        return isinstance(value, Unknown)

    def _name(self, name: str) -> str:
        try:
            free = parse_feed_name(name)
        except ValueError:
            free = re.sub(r'[/\\:*?"<>|]|[^ -~]', "_", name).strip(" .-") or "feed"
        if "]" in free:
            free = free.replace("]", "_")
        if free != name:
            self.notes.append(f"the feed {name!r} is now called {free!r}: files can bear that name everywhere")
        if free in self._names:
            raise BadSettings(f"{self.path}: feeds: two of the name {free!r}")
        self._names.add(free)
        return free

    def _url(self, url: str, feed: str) -> str:
        """Return an address with variables in place of its secrets."""
        secrets = [(match.span(2), "LOGIN" if match[1] is None else "PASSWORD") for match in _LOGIN.finditer(url)]
        for parameter in parameters(url):
            if parameter.is_secret or _LIKE_A_KEY.fullmatch(url, parameter.start, parameter.end):
                secrets.append(((parameter.start, parameter.end), parameter.name.rpartition("?")[2]))
        written, at = "", 0
        for (start, end), name in sorted(secrets):
            secret = url[start:end]
            if start >= at and secret and not _FROM_ENVIRONMENT.search(secret):
                written += self._escaped(url[at:start]) + f"%(ENV_{self._variable(secret, name, feed)})s"
                at = end
        return written + self._escaped(url[at:])

    def _escaped(self, text: str) -> str:
        """Return a text escaped for loglines.cfg, with variables of the environment where the old file had them."""
        pieces = _FROM_ENVIRONMENT.split(text)
        for name in pieces[1::2]:
            self.variables.setdefault(name, "what the old program found in it")
        pieces[0::2] = map(_escaped, pieces[0::2])
        pieces[1::2] = [f"%(ENV_{name})s" for name in pieces[1::2]]
        return "".join(pieces)

    def _variable(self, secret: str, parameter: str, feed: str) -> str:
        if secret not in self._by_secret:
            base = f"FEED_{re.sub(r'[^A-Z0-9]+', '_', parameter.upper())}"
            name, number = base, 2
            while name in self.variables:
                name, number = f"{base}_{number}", number + 1
            self._by_secret[secret] = name
            self.variables[name] = f"{parameter} in the address of {feed}"
        return self._by_secret[secret]

    def _extension(self, extension: str, feed: str) -> str:
        try:
            return parse_extension(extension)
        except ValueError as error:
            raise BadSettings(f"{self.path}: feeds: {feed}: bad extension {extension!r}") from error

    def _timestamp(self, function: Any, feed: str) -> str:
        if not isinstance(function, Function):
            raise BadSettings(f"{self.path}: feeds: {feed}: the fourth value is no function")
        if _reads_gtfs_realtime(function):
            return "gtfs-realtime"
        name = function.name
        module = re.sub(r"\W", "_", self.path.stem)
        note = f"{self.path.name} has the function {name} that {feed} needs: copy it to plugins/{module}.py"
        if note not in self.notes:
            self.notes.append(note)
        return f"plugins.{module}:{name}"

    def _store(self) -> Iterator[str]:
        client = self._setting("boto3_client_settings")
        client = client if isinstance(client, dict) else {}
        bucket, prefix = str(self._setting("bucket") or ""), str(self._setting("global_prefix") or "")
        if prefix and not prefix.endswith("/"):
            self.notes.append(
                f"the old keys began with {prefix!r} and no slash behind it: what is stored there is not found below "
                f"{prefix}/, the prefix from now on"
            )
        yield "[store_main]"
        yield f"url = s3://{self._escaped(bucket)}/{self._escaped(prefix.strip('/'))}".rstrip("/")
        for old, new in STORE_OPTIONS.items():
            if client.get(old) and not self._is_unknown(client[old], new):
                yield f"{new} = {self._escaped(str(client[old]))}"
        for old, new in STORE_SECRETS.items():
            if client.get(old):
                known = _FROM_ENVIRONMENT.fullmatch(str(client[old]))
                name = known[1] if known else f"STORE_{new.upper()}"
                self.variables.setdefault(name, f"boto3_client_settings[{old!r}]")
                yield f"{new} = %(ENV_{name})s"
        for name in client:
            if name not in _MEANINGLESS:
                self.notes.append(f"boto3_client_settings[{name!r}] is not taken over")

    def _setting(self, name: str) -> Any:
        value = self.settings.get(name)
        return None if self._is_unknown(value, name) else value


def _reads_gtfs_realtime(function: Function) -> bool:
    """True for the GTFS-realtime function of the old program's example, and for similar functions."""
    named = re.search(r"gtfs_?r(eal)?_?t", function.name, re.IGNORECASE)
    return "gtfs_realtime_pb2" in function.words or named is not None


def _escaped(text: str) -> str:
    """Return a text escaped for loglines.cfg, so that it is read unchanged whatever follows it."""
    means_itself = placeholders.expand(text, "", {}) == (text, []) and not text.endswith("%")
    return text if means_itself else text.replace("%", "%%")
