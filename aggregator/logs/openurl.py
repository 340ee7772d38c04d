"""The stage `openurl`: tell a usage tracker of each download that a repository plugin finds."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

from aggregator import __version__, registry
from aggregator.config.hints import shorten
from aggregator.config.settings import (
    Bounds,
    Doc,
    Duration,
    Flag,
    Integer,
    Module,
    Number,
    StatusCodes,
    TargetQueue,
    WebUrl,
)
from aggregator.errors import ConfigError, Retry, Unavailable
from aggregator.http import options
from aggregator.http.breaker import Breaker, Trouble
from aggregator.http.client import Client
from aggregator.http.endpoint import Answer, Endpoint, Unanswered
from aggregator.http.masking import mask_bad_url, names_a_secret
from aggregator.http.ratelimit import Pace
from aggregator.runtime.context import Context
from aggregator.runtime.contract import SAME, ConsumerSettings, Drop, Emits, Outcome, Send, Stage
from aggregator.runtime.message import Message

_FUNCTIONS = ("parseline", "get_openurl_params")
_PIRUS2_OPTIONS = {
    "url_ver": "read by the plugin: version of the OpenURL standard",
    "rfr_id": "read by the plugin: identifier of the repository",
    "svc_dat": "read by the plugin: version or address of the item",
}
_READER = re.compile(r"(?:req[_.].*|rfr_dat)", re.IGNORECASE)
"""Parameters that tell of the reader: the address, the program, and the page that led to the download."""
_NAMESPACE = re.compile(r"(?:urn:[\w-]+|mailto):")
"""The beginning of an identifier; what is behind it says who the reader is also by itself."""
_BUSY = frozenset({408, 429, 502, 503, 504})
"""Statuses by which a server describes its own state; any other failure may be caused by the one request."""


class OpenUrl(Stage):
    """Send an OpenURL to a tracker for each message that the repository plugin finds eligible.

    In: messages that the plugin understands; from `tail`: `{"service": …, "logline": …}`.
    Out: the same bytes on `success_queue` once the tracker has the download, on `other_queue` when the plugin finds the
    message not eligible (without that queue the message is dropped, reason `not_eligible`).
    Effect: one GET to `endpoint_url`, at least once; a repeated request is the same byte for byte.
    Errors: no answer or another status than `success` means a retry; after three such failures in a row the section
    pauses for `pauseonfail` and holds no messages. After an exception of the plugin the message is retried, then set
    aside.
    Source: ANSI/NISO Z39.88-2004; irus.jisc.ac.uk/r5/us/about/policies/tracker; docs/logs.md.
    """

    emits: ClassVar[Emits] = {"success_queue": SAME, "other_queue": SAME}

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        repository_plugin: Annotated[Module, Doc("the module that finds downloads in messages: plugins.NAME or any")]
        endpoint_url: Annotated[WebUrl, Doc("the tracker's address")]
        success: Annotated[StatusCodes, Doc("the HTTP status codes that mean the tracker has it")] = frozenset({200})
        timeout: Annotated[Duration, Doc("how long an answer may take in all"), Bounds(0.1, 3600)] = 60.0
        ratelimit: Annotated[Number, Doc("the most requests a second, for each process; 0 = no limit"), Bounds(0)] = 0.0
        concurrency: Annotated[Integer, Doc("how many requests are in flight, for each process"), Bounds(1, 256)] = 8
        pauseonfail: Annotated[
            Duration, Doc("how long to leave the tracker alone after several failures in a row"), Bounds(0.1)
        ] = 300.0
        success_queue: Annotated[TargetQueue, Doc("the queue that gets what was sent")] | None = None
        other_queue: Annotated[TargetQueue, Doc("the queue that gets what is not eligible")] | None = None
        proxy: options.Proxy | None = None
        ca_file: options.CaFile | None = None
        client_cert: options.ClientCert | None = None
        client_key: options.ClientKey | None = None
        auth: options.AuthKind | None = None
        username: options.Username | None = None
        password: options.Password | None = None
        token: options.Token | None = None
        client_id: options.ClientId | None = None
        client_secret: options.ClientSecret | None = None
        token_url: options.TokenUrl | None = None
        scope: options.Scope | None = None
        debug: Annotated[
            Flag,
            Doc("log each address sent, without keys and the reader (req_id, req_dat, rfr_dat)"),
        ] = False

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        # a key in the address must reach neither the log, nor Redis with the reason of a failure
        self._shown_address = mask_bad_url(context.written.get("endpoint_url", settings.endpoint_url).strip())
        client = Client(f"Aggregator/{__version__}")
        self._route = options.route_of(settings, context.root)
        self._endpoint = Endpoint(settings.endpoint_url, settings.timeout, client, self._route)
        self._pace = Pace(settings.ratelimit, lambda: context.stopping)
        self._breaker = Breaker(settings.pauseonfail, self._show, wall_clock=context.clock)

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Check that the plugin has its functions, the plugin's own options, and the parts of the tracker's address."""
        plugin = importlib.import_module(settings.repository_plugin)
        for name in _missing(plugin):
            yield "repository_plugin", f"{settings.repository_plugin} has no function {name}()"
        yield from (("repository_plugin", fault) for fault in _plugin_faults(plugin, config))
        yield from (("endpoint_url", fault) for fault in _address_faults(settings.endpoint_url))
        yield from options.faults_of(settings)

    @classmethod
    def check_files(cls, settings: Any, root: Path) -> Iterator[tuple[str, str]]:
        """Check the files for TLS."""
        yield from options.faults_of_files(options.route_of(settings, root))

    @classmethod
    def plugin_options(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """Return the options of PIRUS2's plugins, and those in the plugin's own `OPTIONS`."""
        try:
            plugin = importlib.import_module(settings.get("repository_plugin", "").strip())
        except Exception:  # noqa: BLE001 - a plugin's import may raise anything; reported where it is loaded
            return _PIRUS2_OPTIONS
        return {**_PIRUS2_OPTIONS, **getattr(plugin, "OPTIONS", {})}

    def start(self) -> None:
        """Load the plugin. Raises ConfigError when it is no plugin, and for certificate files that cannot be used."""
        for option, text in options.faults_of_files(self._route):
            raise ConfigError(f"[{self.context.section}] {option}: {text}")
        name = self.settings.repository_plugin
        try:
            self._plugin = registry.load_module(name, self.context.root)
        except ValueError as error:
            raise ConfigError(f"[{self.context.section}] repository_plugin: {error}") from error
        missing = _missing(self._plugin)
        if missing:
            raise ConfigError(f"[{self.context.section}] repository_plugin: {name} has no function {missing[0]}()")
        self._config = self.context.config_parser()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Ask the plugin for a query, then send it to the tracker; a retry sends the same query as the first try."""
        query = message.kept or self._query(message)
        if not query:
            yield Send(self.settings.other_queue, message.raw) if self.settings.other_queue else Drop("not_eligible")
            return
        self._pace.wait()
        self._breaker.admit()
        try:
            self._send(query)
        except (Retry, Unavailable) as error:
            error.kept = query
            raise
        if self.settings.success_queue:
            yield Send(self.settings.success_queue, message.raw)

    def stop(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def _show(self, state: str, trouble: Trouble | None) -> None:
        """Show the breaker's state, and report a tracker that is away."""
        self.context.note("breaker", state)
        if trouble is None:
            self.context.withdraw("tracker_away")
        else:
            advice = "See whether endpoint_url is right and answers; what is to be told waits, and goes on by itself."
            self.context.report("tracker_away", trouble.reason, advice, since=trouble.since)

    def _query(self, message: Message) -> str:
        """Return the query string for a message; empty when the message is not eligible."""
        _ = message.body  # raises Reject for a message that no plugin could read
        terms = self._plugin.parseline(message.raw.decode())
        params = self._plugin.get_openurl_params(self._config, self.context.section, terms) if terms else None
        return query_of(params) if params else ""

    def _send(self, query: str) -> None:
        """Send one query to the tracker. Raises Retry or Unavailable."""
        try:
            answer = self._endpoint.get(query, [*self.context.from_environment, *readers_values(query)])
        except Unanswered as error:
            self.context.count("unanswered")
            self._fail(f"{self._shown_address}: {error}", None, about_request=False)
        except BaseException:
            self._breaker.failed("an error of ours")  # a half-open breaker waits for its one request to end
            raise
        self.context.count(f"status_{answer.status}")
        if self.settings.debug:
            joint = "&" if "?" in self._shown_address else "?"
            shown = f"{self._shown_address}{joint}{mask(query)}"
            self.context.log.info("openurl status=%d url=%s", answer.status, shown)
        if answer.status in self.settings.success:
            self._breaker.succeeded()
            self.context.count("sent")
        else:
            self._refused(answer)

    def _refused(self, answer: Answer) -> NoReturn:
        reason = f"{self._shown_address}: HTTP {answer.status}"
        if 300 <= answer.status < 400:
            reason += f" to {answer.location or 'nowhere'}, which is not followed: is this the new address?"
        elif answer.excerpt:
            reason += f": {answer.excerpt}"
        if 400 <= answer.status < 500 and answer.status not in _BUSY:
            self._breaker.succeeded()
            raise Retry(reason, answer.retry_after_s)
        self._fail(reason, answer.retry_after_s, about_request=answer.status >= 500 and answer.status not in _BUSY)

    def _fail(self, reason: str, retry_after_s: float | None, *, about_request: bool) -> NoReturn:
        """Count a failure against the tracker. Raises Retry or Unavailable.

        While the tracker is down, messages return to the queue and their tries are not counted. A message that may
        itself cause the failure goes behind the others: otherwise it would be the one that is tried after each pause,
        for ever. Its tries count as long as other messages come through.
        """
        pause_s = self._breaker.failed(reason, retry_after_s or 0.0)
        if pause_s is None:
            raise Retry(reason, retry_after_s)
        if about_request:
            raise Retry(reason, pause_s, counts=False)
        raise Unavailable(reason, pause_s)


def query_of(params: Mapping[str, Any]) -> str:
    """Return the query string: keys in the plugin's order, values that are None left out, lists repeated."""
    return urlencode({key: value for key, value in params.items() if value is not None}, doseq=True)


def mask(query: str) -> str:
    """Return a query string without keys and without the values that tell of the reader."""

    def shown(pair: str) -> str:
        name, is_pair, _ = pair.partition("=")
        return f"{name}=***" if is_pair and (_READER.fullmatch(name) or names_a_secret(name)) else pair

    return "&".join(map(shown, query.split("&")))


def readers_values(query: str) -> Iterator[str]:
    """Yield the values that tell of the reader, which the tracker may repeat in its answer."""
    for name, value in parse_qsl(query):
        if _READER.fullmatch(name):
            yield value
            yield _NAMESPACE.sub("", value, count=1)


def _plugin_faults(plugin: ModuleType, config: RawConfigParser) -> Iterator[str]:
    """Yield the faults that the plugin's own `check(c, worker_section)` raises, if it has one.

    The function raises ValueError with one fault on each line.
    """
    if not hasattr(plugin, "check"):
        return
    for section in config.sections():
        if config.get(section, "repository_plugin", fallback="").strip() == plugin.__name__:
            try:
                plugin.check(config, section)
            except ValueError as error:
                yield from str(error).splitlines()
                return  # sections of one plugin share its options: one report is enough


def _missing(plugin: ModuleType) -> list[str]:
    return [name for name in _FUNCTIONS if not callable(getattr(plugin, name, None))]


def _address_faults(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        yield "a user name in the address is not sent; leave it out"
    if parts.fragment:
        yield f"what is behind # is not sent (found {shorten(f'#{parts.fragment}')}); leave it out"
    if not url.isascii() or " " in url:
        yield "only ASCII without spaces is allowed; write other characters as %XX"
    try:
        _ = parts.port
    except ValueError:
        yield "the port is no number from 0 to 65535"
