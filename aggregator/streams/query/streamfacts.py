"""How each stream is doing: from its section, its worker, supervisord and the disk."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from aggregator.config.configuration import Config
from aggregator.config.programs import is_disabled, stage_name
from aggregator.monitor.snapshot import Process, SectionState, Snapshot, take
from aggregator.streams.managing.options import PREFIX, known_options
from aggregator.streams.platforms.asking import shown_option
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.query.gaps import Missing, look
from aggregator.streams.times import Span
from aggregator.streams.volume import FALLEN

DAY_MS = 86_400_000
_RUNS = ("RUNNING", "STARTING")
_FILTERS = (*dict.fromkeys(name for platform in PLATFORMS.values() for name in platform.filters), "parameters")


class StreamFacts(NamedTuple):
    """One stream, as it is configured and as it runs."""

    name: str
    texts: dict[str, str]
    """The options of its section as they stand in the file; an address has no login."""
    state: str
    """`running`, `stopped`, `draft`; `active` = it runs once supervisord does; `disabled` = its link was taken away;
    `not built` = it is in the file only."""
    connection: str
    """What its worker says of its connection: since when, or when it tries again and why; empty without a worker."""
    last_event_ms: int | None
    per_second: float | None
    """Over the last minute; None when it does not run."""
    fallen: str
    """By how much it brings less than usual, in words; empty when it does not."""
    missing: Missing
    """What was missing in the last 24 hours."""
    faults: tuple[str, ...]
    """What is missing or wrong in a draft."""

    @property
    def type(self) -> str:
        """Its `type`; empty when a draft does not say it."""
        return self.texts.get("type", "").strip()

    @property
    def endpoint(self) -> str:
        """The endpoint that it asks: its own, or else the platform's."""
        platform = PLATFORMS.get(self.type)
        return self.texts.get("endpoint", "").strip() or (platform.default if platform is not None else "")

    @property
    def filters(self) -> dict[str, str]:
        """The options that say which events are wanted."""
        return {name: self.texts[name] for name in _FILTERS if name in self.texts}

    @property
    def settings(self) -> dict[str, str]:
        """All other options, and no option that is not a stream's: what one does not know may be a secret."""
        known = known_options()
        return {name: text for name, text in self.texts.items() if name in known and name not in _FILTERS}


def streams_of(config: Config) -> list[str]:
    """Return the names of the configured streams, in the order of the file."""
    return [
        section.removeprefix(PREFIX)
        for section, texts in config.texts.items()
        if section.startswith(PREFIX) and stage_name(section, texts) == "capture"
    ]


def facts_of(config: Config, names: list[str]) -> list[StreamFacts]:
    """Return the facts of streams. Raises OSError when a file of gaps cannot be read."""
    snapshot = take(config)
    now_ms = int(snapshot.now * 1000)
    missing = look(config, names, Span(now_ms - DAY_MS, now_ms), now_ms)
    return [_facts(config, name, snapshot, each) for name, each in zip(names, missing, strict=True)]


def _facts(config: Config, name: str, snapshot: Snapshot, missing: Missing) -> StreamFacts:
    section = f"{PREFIX}{name}"
    state = next((each for each in snapshot.sections if each.program.section == section), None)
    process = state.processes[0] if state is not None and state.processes else None
    worker = process.worker if process is not None else None
    alive = worker is not None and worker.alive
    notes = worker.notes if worker is not None else {}
    connection = notes.get("connection", "not connected yet") if alive else ""
    if worker is not None and alive and worker.reason:
        connection = f"{connection}; {worker.state}: {worker.reason}"
    return StreamFacts(
        name=name,
        texts=_shown(config.raw[section]),
        state=_state(config, section, snapshot, process),
        connection=connection or _trouble(process),
        last_event_ms=_moment_ms(notes.get("last event", "")) or _committed_ms(state),
        per_second=_number(notes.get("events/s", "")) if alive else None,
        fallen=notes.get(FALLEN, "") if alive else "",
        missing=missing,
        faults=config.drafts.get(section, ()),
    )


def _shown(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: _without_secrets(name, text) for name, text in texts.items()}


def _without_secrets(name: str, text: str) -> str:
    """Return the value of an option without logins and tokens; variables of the environment are not filled in."""
    if name == "environment":
        return re.sub(r"=(\"[^\"]*\"|'[^']*'|[^,]*)", "=***", text)
    return shown_option(name, text)


def _state(config: Config, section: str, snapshot: Snapshot, process: Process | None) -> str:
    linked = os.path.lexists(config.instance.enabled / f"{section}.conf")
    supervised = process.supervised if process is not None else None
    if supervised is not None and supervised.state in _RUNS:
        return "running"
    if not linked and is_disabled(config.texts[section]):
        return "draft"
    if not linked:
        return "disabled" if os.path.lexists(config.instance.available / f"{section}.conf") else "not built"
    return "active" if snapshot.supervisor_error else "stopped"


def _trouble(process: Process | None) -> str:
    """Return why a process does not come up; empty when it was stopped, or is not there."""
    supervised = process.supervised if process is not None else None
    if process is None or supervised is None or supervised.state not in ("BACKOFF", "FATAL", "EXITED"):
        return ""
    return "; ".join(part for part in (supervised.state.lower(), process.last_words) if part)


def _committed_ms(state: SectionState | None) -> int | None:
    """Return when the stream last brought something in, for one whose worker does not say when its last event came."""
    moments = [each.last_commit for each in state.accounts if each.last_commit is not None] if state is not None else []
    return int(max(moments) * 1000) if moments else None


def _moment_ms(text: str) -> int | None:
    try:
        found = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return int(found.timestamp() * 1000)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
