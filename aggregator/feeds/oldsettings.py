"""From the settings file of the old realtime aggregator, a Python module, to sections of loglines.cfg.

The old file says `feeds`, a list of (name, url, extension, function), and `using_remote_storage`, `bucket`,
`global_prefix` and `boto3_client_settings`.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aggregator import placeholders
from aggregator.errors import AggregatorError
from aggregator.feeds.layout import parse_extension, parse_feed_name
from aggregator.feeds.masking import SECRET_PARAMETER

STORE_OPTIONS = {"endpoint_url": "endpoint_url", "region_name": "region"}
STORE_SECRETS = {"aws_access_key_id": "access_key", "aws_secret_access_key": "secret_key"}
_MEANINGLESS = ("service_name", *STORE_OPTIONS, *STORE_SECRETS)


class BadSettings(AggregatorError):
    """The file is no settings file of the old program."""


class Imported(NamedTuple):
    """What a settings file comes to."""

    text: str
    """Sections of loglines.cfg."""
    variables: Mapping[str, str]
    """The variables that stand for secrets there: name → where the old file has the value."""
    notes: tuple[str, ...]
    """What could not be taken over as it was."""


def import_settings(path: Path) -> Imported:
    """Run an old settings file, which computes its addresses, and return what it says. Raises BadSettings."""
    try:
        found = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise BadSettings(f"{path}: {type(error).__name__}: {error}; it must run before it can be read") from error
    if not isinstance(found.get("feeds"), list | tuple) or not found["feeds"]:
        raise BadSettings(f"{path}: no list `feeds` in it; is it a settings file of the old program?")
    return _Importer(path, found).run()


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

    def _feed(self, number: int, entry: Any) -> Iterator[str]:
        if not isinstance(entry, list | tuple) or len(entry) < 4 or not all(isinstance(v, str) for v in entry[:3]):
            raise BadSettings(f"{self.path}: feeds: the {number}. is not [name, url, extension, function]")
        name, url, extension, function = entry[:4]
        yield f"[feed_{self._name(name)}]"
        yield f"url = {self._url(url, name)}"
        yield f"extension = {self._extension(extension, name)}"
        yield f"timestamp = {self._timestamp(function, name)}"

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
        """Return an address with variables for its secrets."""
        written = ""
        at = 0
        for match in SECRET_PARAMETER.finditer(url):
            secret = url[match.end(1) : match.end()]
            written += _escaped(url[at : match.end(1)])
            parameter = re.split(r"[?&;#]", match[1])[-1].rstrip("=")
            written += f"%(ENV_{self._variable(secret, parameter, feed)})s" if secret else ""
            at = match.end()
        return written + _escaped(url[at:])

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
        if not callable(function):
            raise BadSettings(f"{self.path}: feeds: {feed}: the fourth value is no function")
        if _reads_gtfs_realtime(function):
            return "gtfs-realtime"
        name = getattr(function, "__name__", "function")
        module = re.sub(r"\W", "_", self.path.stem)
        note = f"{self.path.name} has the function {name} that {feed} needs: copy it to plugins/{module}.py"
        if note not in self.notes:
            self.notes.append(note)
        return f"plugins.{module}:{name}"

    def _store(self) -> Iterator[str]:
        client = self.settings.get("boto3_client_settings") or {}
        bucket, prefix = str(self.settings.get("bucket", "")), str(self.settings.get("global_prefix") or "")
        if prefix and not prefix.endswith("/"):
            self.notes.append(
                f"the old keys began with {prefix!r} and no slash behind it: what is stored there is not found below "
                f"{prefix}/, the prefix from now on"
            )
        yield "[store_main]"
        yield f"url = s3://{bucket}/{prefix.strip('/')}".rstrip("/")
        for old, new in STORE_OPTIONS.items():
            if client.get(old):
                yield f"{new} = {_escaped(str(client[old]))}"
        for old, new in STORE_SECRETS.items():
            if client.get(old):
                name = f"STORE_{new.upper()}"
                self.variables[name] = f"boto3_client_settings[{old!r}]"
                yield f"{new} = %(ENV_{name})s"
        for name in client:
            if name not in _MEANINGLESS:
                self.notes.append(f"boto3_client_settings[{name!r}] is not taken over")


def _reads_gtfs_realtime(function: Callable[..., Any]) -> bool:
    """True for the function of the old program's example, and its like."""
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    return "gtfs_realtime_pb2" in names or bool(re.search(r"gtfs_?r(eal)?_?t", function.__name__, re.IGNORECASE))


def _escaped(text: str) -> str:
    """Return a text that means itself in loglines.cfg."""
    return text if placeholders.expand(text, "", {}) == (text, []) else text.replace("%", "%%")
