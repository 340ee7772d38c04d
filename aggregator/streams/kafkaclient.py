"""The way to a Kafka cluster: the options that say how it is reached, and what librdkafka is told."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aggregator.config.hints import shorten
from aggregator.config.settings import Doc, FilePath, Flag, OptionType, Text, choice, parse_words
from aggregator.errors import ConfigError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from aggregator.runtime.context import Context

MISSING = "stage = kafka and stage = kafka_in need confluent-kafka: pip install 'loglines-aggregator[kafka]'"
# What the stage `kafka` promises depends on these.
PRODUCER: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # a message is given up by us, never by librdkafka: what it gave up could be overtaken
    "message.timeout.ms": 0,
}
PRODUCER_FIXED = (
    *PRODUCER, "request.required.acks", "delivery.timeout.ms", "enable.gapless.guarantee", "transactional.id",
    "retries", "message.send.max.retries",
)  # fmt: skip
PRODUCER_USUAL: Mapping[str, Any] = {
    "max.in.flight.requests.per.connection": 1,
    # Java's clients choose the same partition for the same key
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": 64 * 1024,
}
# What the source `kafka_in` promises depends on these.
CONSUMER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # where to begin is decided by our own positions
    "auto.offset.reset": "error",
    "group.protocol": "classic",
    # each change of the group takes all partitions away from a process, which then begins at its committed positions
    "partition.assignment.strategy": "range,roundrobin",
}
CONSUMER_FIXED = (*CONSUMER, "group.id", "auto.commit.enable", "enable.partition.eof")
CONSUMER_USUAL: Mapping[str, Any] = {
    "queued.max.messages.kbytes": 16 * 1024,
    # so long the partitions of a killed process wait; 45 s is librdkafka's own
    "session.timeout.ms": 10_000,
    # a broker that hangs must not keep the worker from its end
    "socket.timeout.ms": 10_000,
    "allow.auto.create.topics": False,
}
NEXT = "next"
"""The cursor of a partition's lease: the offset of the next record to bring in."""
_SECRET = re.compile(r"password|secret|key\.pem|token")
_BROKER = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
_OPTION = re.compile(r"[a-z][a-z0-9._]{1,80}")
_OURS = {
    "bootstrap.servers": "brokers",
    "metadata.broker.list": "brokers",
    "security.protocol": "tls and username",
    "sasl.username": "username",
    "sasl.mechanism": "mechanism",
    "sasl.mechanisms": "mechanism",
    "ssl.ca.location": "ca_file",
    "ssl.certificate.location": "client_cert",
    "ssl.key.location": "client_key",
}


def _parse_brokers(text: str) -> tuple[str, ...]:
    brokers = parse_words(text)
    for broker in brokers:
        match = _BROKER.fullmatch(broker)
        if not match or not 0 < int(match[1] or 9092) < 65536:
            raise ValueError(f"no broker: {shorten(broker)}")
    if not brokers:
        raise ValueError
    return brokers


def _parse_options(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for word in parse_words(text):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not value or not _OPTION.fullmatch(name):
            raise ValueError(f"no NAME=VALUE: {shorten(word)}")
        pairs.append((name, value))
    return tuple(pairs)


Brokers = Annotated[
    tuple[str, ...],
    OptionType("brokers", _parse_brokers, "HOST:PORT, several with commas between"),
    Doc("the brokers that are asked first, HOST:PORT with commas between; the others become known by them"),
]
Tls = Annotated[Flag, Doc("whether the connections are encrypted")]
CaFile = Annotated[FilePath, Doc("PEM file of the authorities to trust; none = the system's")]
ClientCert = Annotated[FilePath, Doc("PEM file of the certificate that the brokers are shown, with its chain")]
ClientKey = Annotated[FilePath, Doc("PEM file of its key, not encrypted")]
Username = Annotated[Text, Doc("the name to log in with (SASL); none = no login")]
Password = Annotated[Text, Doc("the password to log in with; best as %(ENV_NAME)s")]
Mechanism = Annotated[str, choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), Doc("how to log in")]
Options = Annotated[
    tuple[tuple[str, str], ...],
    OptionType("options", _parse_options, "NAME=VALUE, several with commas or line breaks between"),
    Doc("further options of librdkafka, such as compression.type=zstd, with commas or line breaks between"),
]


def faults_of(settings: Any, fixed: Collection[str]) -> Iterator[tuple[str | None, str]]:
    """Yield (option, fault) for what is wrong with the options together; no fault shows a secret.

    `fixed` are the options of librdkafka on which the promises of the stage depend.
    """
    if importlib.util.find_spec("confluent_kafka") is None:
        yield "stage", MISSING
    if (settings.username is None) != (settings.password is None):
        missing, given = ("password", "username") if settings.password is None else ("username", "password")
        yield missing, f"missing; {given} needs it"
    if (settings.client_cert is None) != (settings.client_key is None):
        missing, given = ("client_key", "client_cert") if settings.client_key is None else ("client_cert", "client_key")
        yield missing, f"missing; {given} needs it"
    if not settings.tls:
        for name in ("ca_file", "client_cert", "client_key"):
            if getattr(settings, name) is not None:
                yield name, "not used; it is for tls = yes"
    for name, _ in settings.options:
        if name in _OURS:
            yield "options", f"{name} is not given here; use {_OURS[name]}"
        elif _SECRET.search(name):
            yield "options", f"{name} would be a secret; only username and password are known"
        elif name in fixed:
            yield "options", f"{name} cannot be changed: what this stage promises depends on it"


def configuration(
    settings: Any, context: Context, fixed: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what librdkafka is told; `usual` may be changed by the section's `options`, `fixed` may not."""
    protocol = ("SASL_" if settings.username else "") + ("SSL" if settings.tls else "PLAINTEXT")
    told: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.brokers),
        "client.id": f"aggregator-{context.node}-{context.section}-{context.number}",
        "security.protocol": protocol,
    }
    if settings.username:
        told |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": settings.password,
        }
    files = {
        "ssl.ca.location": settings.ca_file,
        "ssl.certificate.location": settings.client_cert,
        "ssl.key.location": settings.client_key,
    }
    told |= {name: str(Path(context.root / file)) for name, file in files.items() if file is not None}
    return {**told, **usual, **dict(settings.options), **fixed, "logger": _Quiet(context)}


def require_library(section: str) -> None:
    """Raise ConfigError when confluent-kafka is not installed."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise ConfigError(f"[{section}] stage: {MISSING}")


def refused(section: str, error: Exception) -> ConfigError:
    """Return the error for a configuration that librdkafka refuses."""
    told = error.args[0] if error.args else error
    return ConfigError(f"[{section}] options: librdkafka refuses them: {text_of(told)}")


def text_of(error: KafkaError | object) -> str:
    """Return what an error of librdkafka says, on one line."""
    name, text = getattr(error, "name", None), getattr(error, "str", None)
    told = f"{name()}: {text()}" if name is not None and text is not None else str(error)
    return " ".join(told.split())[:300]


class _Quiet:
    """Takes librdkafka's own log. Its errors reach us by callbacks as well, which report them once and not hourly."""

    def __init__(self, context: Context) -> None:
        self._log = context.log

    def log(self, level: int, text: str, *arguments: object) -> None:
        self._log.debug(f"librdkafka {text}", *arguments)
