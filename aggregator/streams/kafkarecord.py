"""A message of a stream as a record of Kafka: topic, key, value and headers; and a record as a message again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from aggregator.config.hints import shorten
from aggregator.errors import Reject
from aggregator.runtime.kinds import decode, encode
from aggregator.streams.halves import NO_JSON, read_json
from aggregator.streams.messages import NAME, YEAR_10000_MS, Connection, Event, Gap

STREAM_HEADER = "stream"
_TYPE_HEADER = "type"
_ID_HEADER = "id"
_RECEIVED_HEADER = "received_ms"
_TOPIC = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_ENVELOPES: Mapping[str, type[Event] | type[Gap] | type[Connection]] = {
    "event": Event, "gap": Gap, "connection": Connection
}  # fmt: skip


class _Head(msgspec.Struct):
    kind: Any = None


class Record(NamedTuple):
    """What is produced; `at_ms` are Unix milliseconds, 0 = now."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    at_ms: int


class Shaping(NamedTuple):
    """How messages become records."""

    topic: str
    """The topic, with {field} for fields of the message."""
    key: str
    """`stream`, `rule`, `id`, a path such as `user.id_str`, or empty for no key."""
    node: str

    def record(self, raw: bytes) -> Record:
        """Return the record of a message. Raises Reject for what is no JSON object, or has no such topic."""
        if _kind_of(raw) == "event":
            message = decode(raw, Event)
            value = message.content
            event = _decoded(value)
            fields = {name: getattr(message, name) for name in ("stream", "type", "id")} | {"kind": "event"}
            rules = list(_rule_ids(event))
            key = self._key(message.stream, message.id, rules, event)
            told = {
                _TYPE_HEADER: message.type,
                _ID_HEADER: message.id,
                _RECEIVED_HEADER: str(message.received_ms),
            }
            headers = self._headers(message.stream, rules, **told)
            return Record(self._topic(fields), key, value, headers, message.received_ms)
        body = _object(raw)
        rules, stream = list(_rule_ids(body)), body.get("stream")
        stream = stream if isinstance(stream, str) and NAME.fullmatch(stream) else ""
        return Record(self._topic(body), self._key(stream, "", rules, body), raw, self._headers(stream, rules), 0)

    def _topic(self, fields: Mapping[str, Any]) -> str:
        known = {name: value for name, value in fields.items() if isinstance(value, str | int)}
        try:
            topic = self.topic.format_map(known)
        except KeyError as error:
            raise Reject(f"the message has no field {error} for the topic {self.topic}") from error
        except ValueError as error:
            raise Reject(f"the topic {self.topic} cannot be made: {error}") from error
        if not _TOPIC.fullmatch(topic):
            raise Reject(f"no topic (found {shorten(topic)}); allowed: letters, digits, _ . - (at most 249)")
        return topic

    def _key(self, stream: str, given_id: str, rules: list[str], event: Any) -> bytes | None:
        if self.key == "stream":
            key: Any = stream
        elif self.key == "rule":
            key = rules[0] if rules else ""
        elif self.key == "id":
            key = given_id or _at(event, "id_str") or _at(event, "id")
        else:
            key = _at(event, self.key) if self.key else ""
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        return key.encode("utf-8", "backslashreplace") if isinstance(key, str) and key else None

    def _headers(self, stream: str, rules: list[str], **told: str) -> list[tuple[str, bytes]]:
        texts = {STREAM_HEADER: stream, "rules": ",".join(rules), "node": self.node, **told}
        return [(name, text.encode("utf-8", "backslashreplace")) for name, text in texts.items() if text]


class Wrapping(NamedTuple):
    """How records become messages."""

    stream: str
    """The stream of events; empty = as the record's header says, or else after its topic."""
    unchanged: bool
    """True when JSON objects go on as they are."""

    def message(
        self, topic: str, key: bytes | None, value: bytes, headers: Mapping[str, bytes], received_ms: int
    ) -> bytes:
        """Return the message of a record."""
        try:
            found = msgspec.json.decode(value)
        except NO_JSON:
            return encode(self._event(topic, key, headers, received_ms, text=value.decode("utf-8", "backslashreplace")))
        line = value.translate(_ONE_LINE)
        if isinstance(found, dict) and (self.unchanged or _is_envelope(line, found.get("kind"))):
            return line
        return encode(self._event(topic, key, headers, received_ms, event=msgspec.Raw(line)))

    def _event(
        self, topic: str, key: bytes | None, headers: Mapping[str, bytes], received_ms: int, **content: Any
    ) -> Event:
        told = headers.get(STREAM_HEADER, b"").decode("ascii", "replace")
        if not NAME.fullmatch(told):
            return Event(stream=self.stream or safe_stream(topic), received_ms=received_ms, id=_text(key), **content)
        # headers of these names mean this only beside a stream: then the record is ours
        return Event(
            stream=self.stream or told,
            received_ms=_moment(headers.get(_RECEIVED_HEADER), received_ms),
            type=_text(headers.get(_TYPE_HEADER)),
            id=_text(headers.get(_ID_HEADER) or key),
            **content,
        )


_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""JSON has line breaks between its tokens only."""


def safe_stream(topic: str) -> str:
    """Return the name of a stream for a topic."""
    name = _UNSAFE.sub("_", topic)[:60]
    return name if NAME.fullmatch(name) else f"_{name}"[:60]


def _text(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError:
        return ""


def _moment(text: bytes | None, otherwise: int) -> int:
    """Return a time in Unix milliseconds."""
    is_number = text is not None and text.isdigit() and len(text) < 20
    return int(text) if text is not None and is_number and int(text) < YEAR_10000_MS else otherwise


def _is_envelope(line: bytes, kind: object) -> bool:
    """True for a message of a stream; events of some platforms have a `kind` of their own."""
    envelope = _ENVELOPES.get(kind) if isinstance(kind, str) else None
    try:
        return envelope is not None and bool(decode(line, envelope))
    except Reject:
        return False


def _kind_of(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw, type=_Head).kind
    except NO_JSON:
        return None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body: dict[str, Any] = read_json(raw, dict[str, Any])
    except NO_JSON as error:
        raise Reject(f"no JSON object: {error} (found {raw[:60]!r})") from error
    return body


def _decoded(event: bytes) -> Any:
    try:
        return read_json(event)
    except NO_JSON:
        return None  # whoever takes the record learns of it; it goes on as it stands


def _at(event: Any, path: str) -> Any:
    """Return what stands under a path such as `user.id_str` or `matching_rules.0.id`; None when nothing does."""
    for step in path.split("."):
        if isinstance(event, dict):
            event = event.get(step)
        elif isinstance(event, list) and step.isdecimal() and int(step) < len(event):
            event = event[int(step)]
        else:
            return None
    return event


def _rule_ids(event: Any) -> Iterator[str]:
    """Yield the ids of the rules that an event matched: those that `match` added, else those of the platform."""
    for path, name in (("traptor.collection_rules", "rule_id"), ("matching_rules", "id")):
        rules = _at(event, path)
        for rule in rules if isinstance(rules, list) else ():
            told = _at(rule, name)
            if isinstance(told, str | int) and told != "":
                yield str(told)
