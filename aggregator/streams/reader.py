"""The reader of a stream: a thread that connects, reads, and connects again, and writes down what may be missing."""

from __future__ import annotations

import math
import re
import threading
import traceback
import zlib
from collections.abc import Iterable
from contextlib import closing, suppress
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from aggregator import __version__
from aggregator.errors import ConfigError
from aggregator.http.client import FAILURES, Client, Exchange
from aggregator.http.connections import Connections
from aggregator.http.deadlines import Stopping
from aggregator.http.options import route_of
from aggregator.http.packings import GZIP
from aggregator.http.secrets import Secrets
from aggregator.http.urls import printable
from aggregator.runtime.context import Context
from aggregator.runtime.kinds import MOST_BYTES, encode
from aggregator.streams.halves import is_json, without_halves
from aggregator.streams.journal import Journal, Record, folder_of
from aggregator.streams.losses import Books, NoRoom
from aggregator.streams.messages import Connection, Event
from aggregator.streams.overlap import Overlap
from aggregator.streams.permit import Lack, Permit
from aggregator.streams.platforms.asking import OPENING_S, dictionary_request, filters_of, masked, request_of
from aggregator.streams.platforms.control import is_canary, meaning_of
from aggregator.streams.platforms.jetstream import (
    LARGEST_DICTIONARY,
    Dictionary,
    make_dictionary,
    read_dictionary,
)
from aggregator.streams.platforms.schedule import Waits
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.platforms.told import REFUSED_S, told_s
from aggregator.streams.replay import Replay
from aggregator.streams.room import Room
from aggregator.streams.rules.asking import Asked, RuleFilter, difference
from aggregator.streams.rules.keeping import RulesKeptAtX
from aggregator.streams.rules.telling import in_parts
from aggregator.streams.settings import StreamSettings
from aggregator.streams.times import iso
from aggregator.streams.transports.lines import Lines
from aggregator.streams.transports.parts import Part, TooLarge
from aggregator.streams.transports.sse import ServerSentEvents
from aggregator.streams.transports.websocket import Oversize, WebSocket

_DOWN_S = 60.0
"""A stream that is not connected for this long is told in `health`."""
_LOOK_S = 1.0
"""How often to look whether a credential, or a stream that another node captures, is free."""
_UNLEASED_S = 15.0
"""A stream without a credential for this long is told in `health`: that of a dead process is free by then."""
KEPT_S = 10.0
"""How long a connection is kept at least when its rules change."""
_EXCERPT_BYTES = 2000
_LONGEST_ID_BYTES = 4096
"""A longer id is not asked with: servers take a few thousand bytes of headers."""
_FULL_S = 5.0
"""How long a stream that can go on later waits for room in its spool."""


Parts = Lines | ServerSentEvents | WebSocket


class _Failure(NamedTuple):
    """Why there is no connection any more, or none came about."""

    kind: str
    """Which of the platform's waits counts: `network`, `http`, `rate_limit`; `refused`; `rules`, `lease` for none."""
    cause: str
    """The word for the gap's record."""
    detail: str
    told_s: float | None = None
    """How long the server asked to be left alone."""


_NO_LEASE = _Failure("lease", "no_lease", "another process may have the credential, or the stream, by now")


class Reader:
    """Read one stream into a journal, in a thread of its own, until it is stopped."""

    def __init__(
        self,
        stream: str,
        settings: StreamSettings,
        permit: Permit,
        journal: Journal,
        context: Context,
        last_id: str,
        overlap: Overlap,
    ) -> None:
        """`last_id` is the id behind which the stream goes on; empty when there is none.

        `overlap` knows what came already of a stream whose platform sends the last seconds again.
        """
        self.changed = threading.Condition()
        """Notified when something was added to the journal."""
        self.connected = False
        self._stream = stream
        self._settings = settings
        self._platform = PLATFORMS[settings.type]
        self._permit = permit
        self._journal = journal
        self._context = context
        self._last_id = last_id if re.fullmatch(self._platform.marks, last_id) else ""
        self._replay = Replay(overlap) if self._platform.overlaps else None
        self._books = Books(stream, journal, context, self._replay)
        self._room = Room(folder_of(context.root, stream).parent, settings.min_free, context)
        self._dictionary: Dictionary | None = None
        self._stopping = threading.Event()
        self._rules = self._rule_filter()
        self._asked: Asked | None = None
        """What the rules asked for when the connection was made."""
        self._began_ms = 0
        self._connected_at, self._url = 0.0, ""
        self._filters: dict[str, str] = {}
        self._waits = Waits(self._platform.schedule)
        self._client = Client(f"Aggregator/{__version__}", Connections(stopping=self._is_to_end))
        self._exchange: Exchange | None = None
        """The newest question to the platform."""
        self._down_since = context.clock()
        self._threads = [
            threading.Thread(target=self._run, name="reader", daemon=True),
            threading.Thread(target=self._keep, name="keeper", daemon=True),
        ]
        if self._rules is not None:
            # one of its own: a silent Redis of the rules must not keep the journal waiting
            self._threads.append(threading.Thread(target=self._follow_rules, name="follower", daemon=True))

    def start(self) -> None:
        """Begin to read, with what the process before noted. Raises ConfigError when something is missing for it."""
        settings, root = self._settings, self._context.root
        if settings.zstd_dictionary is not None:
            try:
                self._dictionary = read_dictionary(root / settings.zstd_dictionary, settings.max_size)
            except (OSError, ValueError) as error:
                raise ConfigError(f"zstd_dictionary: {getattr(error, 'strerror', None) or error}") from error
        # once in this thread, so that a package that is missing is told when the process starts
        self._parts(None)
        request_of(settings, self._permit.credential, "", root)
        self._books.open()
        self._began_ms = self._now_ms()
        for thread in self._threads:
            thread.start()
        if self._rules is not None:
            self._rules.start()

    def stop(self) -> None:
        """End both threads, and note until when the stream is complete; once only, however often it is called."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._rules is not None:
            self._rules.close()
        self._client.close()
        self._books.close()

    @property
    def complete_ms(self) -> int:
        """The moment in Unix milliseconds up to which everything that came is in the journal."""
        return self._books.complete_ms

    # In the reader's thread

    def _run(self) -> None:
        while not self._is_over():
            if self._rules is not None and self._rules.asked is None:
                self._context.note("connection", "waits for rules")
                self._permit.release()
                self._stopping.wait(0.2)
                continue
            try:
                if not self._permitted():
                    return
                # order: a connection that is kept is closed before the permit may be another's
                with self._permit.using(), closing(self._client):
                    failure = self._read()
            except Stopping:
                failure = (
                    _NO_LEASE if not self._permit.holds() else _Failure("rules", "rules", "the rules have changed")
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream must go on; it is logged without secrets
                words = self._without_secrets("".join(traceback.format_exception(error)))
                self._context.log.error("capture failed: %s", words)
                words = self._without_secrets(f"{type(error).__name__}: {error}")
                failure = _Failure("http", "internal", printable(words)[:300])
            self.connected = False
            self._books.disconnected()
            if self._is_over():
                return
            self._wait(failure)

    def _permitted(self) -> bool:
        """Wait for what the stream must have to itself. Returns False when told to stop before that."""
        context, waits_since = self._context, 0.0
        before = self._permit.tenure
        while not self._is_over():
            lack = self._permit.obtain()
            self._books.captured_elsewhere(self._permit.handed_ms)
            if lack is None:
                context.withdraw("no_credential_free")
                if self._permit.tenure is not before:
                    self._take_over()
                return True
            waits_since = waits_since or context.clock()
            self._lacks(lack, waits_since)
            self._stopping.wait(_LOOK_S)
        return False

    def _lacks(self, lack: Lack, since: float) -> None:
        """Say why the stream waits."""
        context = self._context
        if self._books.cause not in ("no_lease", "refused"):
            self._books.interrupted("no_lease", lack.words)
            context.log.warning("waiting reason=%s", lack.words)
        self._books.began(self._now_ms())
        context.note("connection", f"waits: {lack.words}"[:200])
        if lack.no_credential and context.clock() - since >= _UNLEASED_S:
            context.report(
                "no_credential_free",
                f"{self._stream}: {lack.words}",
                "add a credential to the pool, or stop a stream that uses one; `aggregator streams plan` counts them",
                since=since,
            )
        elif not lack.no_credential:
            context.withdraw("no_credential_free")

    def _take_over(self) -> None:
        """Go on where another node left the stream."""
        tenure = self._permit.tenure
        if tenure is None or not tenure.since_ms:
            return
        mark = tenure.handed.mark
        self._last_id = mark if re.fullmatch(self._platform.marks, mark) else ""
        self._books.interrupted("no_lease", f"captured by {tenure.handed.node} before")
        self._context.log.info("takes_over from=%s", tenure.handed.node)

    def _read(self) -> _Failure:
        """Connect, and read until the connection ends. Raises Stopping."""
        settings = self._wanted()
        silent_s = settings.stall_after or self._platform.stall_s
        connected_ms, farewell = 0, ""
        parts: Parts = self._parts(None)
        try:
            dictionary = self._known_dictionary()
            parts = self._parts(dictionary)
            request = request_of(settings, self._permit.credential, self._last_id, self._context.root, dictionary)
            self._exchange = self._client.open(request)
            with self._exchange as exchange:
                if exchange.status != (101 if isinstance(parts, WebSocket) else 200):
                    return self._refusal(exchange)
                pieces: Iterable[bytes]
                if isinstance(parts, WebSocket):
                    pieces = parts.pieces(exchange, request.everywhere, silent_s)
                else:
                    pieces = exchange.body(None)
                connected_ms = self._now_ms()
                self._connected(connected_ms, exchange.url, settings)
                self.connected = True
                for piece in pieces:
                    # the process may have been stopped while the piece came
                    if not self._permit.holds():
                        return _NO_LEASE
                    now_ms = self._now_ms()
                    self._tell_rules()
                    farewell = self._take(parts.feed(piece), now_ms) or farewell
                    self._books.reached(now_ms)
                    if now_ms - connected_ms > self._platform.stall_s * 1000:
                        self._waits.lasted()
                return self._ended(farewell or parts.farewell or "the platform ended the answer", parts)
        except NoRoom:
            return _Failure("network", "spool_full", "no room in the spool; it goes on where it stopped", _FULL_S)
        except TimeoutError:
            self._count_partial(parts)
            if not connected_ms:
                return _Failure("network", "disconnect", f"no answer within {OPENING_S:g} s")
            return _Failure("network", "stall", f"nothing came for {silent_s:g} s")
        except Oversize as error:
            # behind the last event it would come again, and again
            self._last_id = ""
            self._context.count("too_large")
            return _Failure("network", "too_large", str(error))
        except FAILURES as error:
            return self._ended(farewell or self._described(error), parts)

    def _rule_filter(self) -> RuleFilter | None:
        settings, context = self._settings, self._context
        if settings.rules is None:
            return None
        credential = self._permit.credential
        if settings.type != "x_v2" or credential is None:
            return RuleFilter(context, settings.rules)
        url, route = settings.url or self._platform.url, route_of(settings, context.root)
        return RulesKeptAtX(context, settings.rules, url, route, credential)

    def _wanted(self) -> StreamSettings:
        """Return the section with what its rules ask for."""
        self._asked = self._rules.asked if self._rules is not None else None
        if self._asked is None or not self._asked.parameter:
            return self._settings
        return msgspec.structs.replace(self._settings, **{self._asked.parameter: self._asked.text})

    def _is_over(self) -> bool:
        """True when the process ends: what it still has to send on is sent before `stop` is called."""
        return self._stopping.is_set() or self._context.stopping

    def _is_to_end(self) -> bool:
        """True when the connection is to end: with the process, with its lease, or because its rules have changed.

        A connection is kept for a while after its rules have changed: many changes must not cost a connection each.
        """
        if self._is_over() or not self._permit.holds():
            return True
        if self._rules is None or self._asked is None or self._context.clock() - self._connected_at < KEPT_S:
            return False
        asked = self._rules.asked
        return asked is None or asked.text != self._asked.text

    def _parts(self, dictionary: Dictionary | None) -> Parts:
        most = self._settings.max_size
        if self._platform.transport == "sse":
            return ServerSentEvents(most)
        if self._platform.transport == "websocket":
            return WebSocket(most, dictionary.unpack if dictionary is not None else None)
        return Lines(most, delimited=self._settings.type == "twitter_v1")

    def _known_dictionary(self) -> Dictionary | None:
        """Return what messages are to be packed with; None when they are to come as they are. Raises FAILURES."""
        settings = self._settings
        if not settings.compress or self._dictionary is not None:
            return self._dictionary
        # asked for anew with each connection, because the server may have trained another one
        self._exchange = self._client.open(dictionary_request(settings, self._context.root))
        with self._exchange as exchange:
            try:
                if exchange.status == HTTPStatus.OK:
                    return make_dictionary(b"".join(exchange.body(LARGEST_DICTIONARY)), settings.max_size)
                words = f"HTTP {exchange.status}"
            except ValueError as error:
                words = str(error)
        self._context.log.warning("no dictionary from the server, so messages come unpacked: %s", words)
        return None

    def _ended(self, detail: str, parts: Parts) -> _Failure:
        self._count_partial(parts)
        return _Failure("network", "disconnect", self._without_secrets(detail), parts.retry_s)

    def _described(self, error: Exception) -> str:
        """Return the words for one of FAILURES, without what was sent in secret."""
        return self._exchange.describe(error) if self._exchange is not None else type(error).__name__

    def _without_secrets(self, words: str) -> str:
        """Return a platform's words without what was sent to it in secret."""
        return self._exchange.secrets.hide(words) if self._exchange is not None else words

    def _count_partial(self, parts: Parts) -> None:
        if parts.partial:
            self._context.count("partial")

    def _refusal(self, exchange: Exchange) -> _Failure:
        """Return what an answer other than 200 means."""
        status = exchange.status or 0
        phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
        words = _shown(exchange.excerpt(_EXCERPT_BYTES, 2.0), exchange.secrets)
        detail = f"HTTP {status} {phrase}: {words}" if words else f"HTTP {status} {phrase}".strip()
        wait_s = told_s(exchange.headers, self._context.clock())
        if "CursorTooOld" in words:
            # the next connection begins with what comes then, and the hole is recorded
            self._last_id = ""
            return _Failure("http", "cursor_too_old", detail, wait_s)
        if status in (401, 403):
            return _Failure("refused", "refused", detail, wait_s)
        if status in (420, 429):
            return _Failure("rate_limit", "rate_limit", detail, wait_s)
        return _Failure("http", "http", detail, wait_s)

    def _connected(self, now_ms: int, url: str, settings: StreamSettings) -> None:
        """Record the gap that ends here, and the connection."""
        context = self._context
        context.count("connects")
        self._connected_at = context.clock()
        context.note("connection", f"since {iso(now_ms)}")
        context.withdraw("credential_refused", self._permit.name)
        context.withdraw("not_connected")
        if self._replay is not None:
            self._replay.begin(self._last_id)
        asked_from = self._last_id if self._platform.resumes else ""
        # what a platform that overlaps has thrown away is found in what it sends
        promise_s = math.inf if self._platform.overlaps else self._platform.promise_s
        records = self._books.ends_at(now_ms, asked_from=asked_from, promise_s=promise_s)
        self._filters = filters_of(settings)
        self._url = masked(f"ws{url[4:]}" if self._platform.transport == "websocket" else url)
        connection = Connection(
            stream=self._stream,
            at_ms=now_ms,
            type=self._settings.type,
            url=self._url,
            filters=self._filters,
            rules=self._asked.rules if self._asked is not None else (),
            resumed_from=asked_from,
        )
        records += [Record(encode(part), now_ms) for part in in_parts(connection)]
        self._append(records)
        self._books.connected(now_ms)

    def _tell_rules(self) -> None:
        """Record that other rules are in force on the connection that there is."""
        before, now = self._asked, self._rules.asked if self._rules is not None else None
        if now is before or now is None or before is None or now.text != before.text:
            return
        came, went = difference(before, now)
        change = Connection(
            stream=self._stream,
            at_ms=max(now.at_ms, int(self._connected_at * 1000)),
            type=self._settings.type,
            url=self._url,
            filters=self._filters,
            rules=came,
            continues=True,
            removed=went,
        )
        if came or went:
            self._append([Record(encode(part), change.at_ms) for part in in_parts(change)])
        self._asked = now

    def _take(self, parts: Iterable[Part | TooLarge], now_ms: int) -> str:
        """Add messages to the journal; return the platform's farewell, when it is among them."""
        records, farewell = [], ""
        for part in parts:
            if isinstance(part, TooLarge):
                self._context.count("too_large")
                words = f"a message of {part.size_bytes} bytes; max_size = {self._settings.max_size}"
                records.append(self._books.gap(now_ms, now_ms, "too_large", words, 1))
                continue
            if self._settings.type == "wikimedia" and is_canary(part.data):
                self._context.count("canary")
                continue
            mark, key = part.id, b""
            if self._replay is not None:
                mark, key, hole = self._replay.look(part.data, now_ms)
                if hole is not None:
                    self._context.count("gaps")
                    records.append(self._books.gap(hole.from_ms, hole.to_ms, "cursor_too_old", hole.detail))
                if self._replay.is_repeated(key):
                    self._context.count("repeated")
                    continue
            records.append(self._record(part, now_ms, mark, key))
            meaning = meaning_of(self._settings.type, part.data)
            if meaning is not None and meaning.withheld is not None:
                self._books.withheld(meaning.withheld, now_ms)
                if self._rules is not None:
                    self._rules.withheld = self._books.withheld_total
            elif meaning is not None and meaning.late and self._replay is not None:
                self._replay.late = meaning.late
            elif meaning is not None:
                farewell = meaning.farewell
        self._books.came(now_ms, len(records))
        self._append(records)
        return farewell

    def _record(self, part: Part, now_ms: int, mark: str, key: bytes) -> Record:
        data, text, id_ = part.data, "", part.id
        if len(id_.encode()) > _LONGEST_ID_BYTES:
            # no server would be asked with it; the stream goes on behind the last event with a usable one
            self._context.count("id_too_long")
            id_ = mark = ""
        if b"\n" in data or b"\r" in data:
            data = data.replace(b"\r", b" ").replace(b"\n", b" ")
        if not is_json(data):
            if is_json(without_halves(data)):
                text = data.decode()
            else:
                self._context.count("no_json")
                text = part.data.decode(errors="backslashreplace")
            data = b"null"
        event = Event(
            stream=self._stream,
            received_ms=now_ms,
            event=msgspec.Raw(data),
            text=text,
            type=part.type,
            id=id_,
        )
        body, mark = encode(event), mark if self._platform.resumes else ""
        if len(body) > MOST_BYTES:
            self._context.count("too_large")
            words = f"a message of {len(part.data)} bytes, which takes {len(body)} in the queue; at most {MOST_BYTES}"
            return self._books.gap(now_ms, now_ms, "too_large", words, 1)._replace(mark=mark)
        return Record(body, now_ms, mark, key)

    def _append(self, records: list[Record]) -> None:
        """Add records to the journal. Raises NoRoom when they find none there, and will come again."""
        if not records or not self._books.append(records, comes_again=bool(self._platform.resumes and self._last_id)):
            return
        self._last_id = next((record.mark for record in reversed(records) if record.mark), self._last_id)
        with self.changed:
            self.changed.notify_all()

    def _wait(self, failure: _Failure) -> None:
        """Wait as long as the platform wants before the next attempt."""
        context = self._context
        self._books.began(self._began_ms)
        if not self._books.cause:
            self._down_since = context.clock()
        if not self._books.cause or failure.cause == "cursor_too_old":
            self._books.interrupted(failure.cause, failure.detail)
        if failure.kind == "lease":
            # order: the connection is closed by now, and another may have the lease
            self._permit.release()
            wait_s = 0.0
        elif failure.kind == "refused":
            context.report(
                "credential_refused",
                f"{self._stream}: {failure.detail}",
                "correct the credential and run config build (start supervisord anew when it is in the environment); "
                "the platform is asked again every hour",
                about=self._permit.name,
                level="error",
            )
            wait_s = 0.0 if self._permit.refuse(context.clock() + REFUSED_S) else REFUSED_S
        else:
            wait_s = 0.0 if failure.kind == "rules" else self._waits.after(failure.kind, failure.told_s)
        context.count("failed_connects" if failure.cause in ("http", "rate_limit", "refused") else "disconnects")
        context.log.warning("not connected: %s (%s); again in %g s", failure.detail, failure.cause, wait_s)
        context.note("connection", f"again in {wait_s:g} s: {failure.detail}"[:200])
        end = context.clock() + wait_s
        while not self._is_over() and (left_s := end - context.clock()) > 0:
            if context.clock() - self._down_since > _DOWN_S and failure.kind != "refused":
                context.report(
                    "not_connected",
                    f"{self._stream} is not connected: {failure.detail}",
                    "see whether the platform is up and the address right",
                    since=self._down_since,
                )
            self._stopping.wait(min(left_s, 5.0))

    # In threads of their own

    def _keep(self) -> None:
        """Keep the journal and the note of the progress, every second, and look at the room on the disk."""
        while not self._stopping.wait(1.0):
            self._books.keep()
            # here, because the worker's thread waits while the queue is full, and then the journal grows
            self._room.look(self._context.clock())

    def _follow_rules(self) -> None:
        """Keep what the rules ask for up to date; it may wait for their Redis."""
        while self._rules is not None and not self._stopping.wait(1.0):
            try:
                self._rules.refresh(collects=self.connected)
            except Exception:  # whatever it is, the stream must get its rules, and somebody must know
                self._context.log.exception("rules failed")

    def _now_ms(self) -> int:
        return int(self._context.clock() * 1000)


def _shown(body: bytes, secrets: Secrets) -> str:
    """Return the beginning of a refusal's body in a form that is safe in a log, without secrets; it may come packed."""
    if body.startswith(GZIP):
        with suppress(zlib.error):
            body = zlib.decompressobj(31).decompress(body, _EXCERPT_BYTES)
    # order: secrets are hidden before the text is cut
    return printable(secrets.hide(" ".join(body.decode(errors="replace").split())))
