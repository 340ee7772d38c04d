"""Plan the streams that rule sets need: which of them have a section, and which credential each can have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aggregator.config.programs import is_disabled, stage_name
from aggregator.errors import ConfigError
from aggregator.streams.managing.options import PREFIX
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.rules.names import SetName, parse_set_name

TYPE = "twitter_v1"
"""The platform whose connections rules are for."""
_CREDENTIAL = "credential_"
_CONSUMERS = ("match", "record")
"""Stages that take events, the first choice first."""

Sections = Mapping[str, Mapping[str, str]]
"""The options of each section, as they stand in the file."""


class Stream(NamedTuple):
    """A stream that captures by a rule set, or is to do so."""

    name: SetName
    section: str
    is_new: bool
    is_draft: bool
    """True for a section that says `enabled = no`, and for one that there is no credential for."""
    credential: str | None
    pool: str | None


class StreamPlan(NamedTuple):
    """One stream for each rule set, and how many credentials are missing for all that are not drafts by intent."""

    streams: tuple[Stream, ...]
    available: int
    """How many credentials there are for them."""
    missing: int


def plan_streams(names: Iterable[SetName], sections: Sections, pool: str | None) -> StreamPlan:
    """Return the streams for these rule sets. Raises ConfigError when the pool has to be named, or is none.

    A set whose stream has a section keeps it. Of a new stream the credential comes from the pool; without a pool it is
    the next one that no section names.
    """
    known = _Credentials(sections, pool)
    captured = dict(_captured(sections))
    streams = []
    for name in names:
        section = captured.get(name)
        if section is not None:
            texts = sections[section]
            words = (texts.get("credential"), texts.get("pool"))
            streams.append(Stream(name, section, False, is_disabled(texts), *words))
            continue
        section = f"{PREFIX}{name.type}_{name.id}"
        if section in sections:
            raise ConfigError(f"[{section}] is there already, and does not say rules = {name}; rename it first")
        credential = known.take()
        is_draft = credential is None and known.pool is None
        streams.append(Stream(name, section, True, is_draft, credential, known.pool))
    active = [stream for stream in streams if stream.is_new or not stream.is_draft]
    missing = known.missing()
    return StreamPlan(tuple(streams), max(len(active) - missing, 0), missing)


def queue_for_events(sections: Sections) -> str | None:
    """Return the queue that streams send to: that of all other streams, or that of the one section that takes events.

    None when there is no such queue, or more than one.
    """
    streams = [texts for section, texts in sections.items() if stage_name(section, texts) == "capture"]
    found = {texts["pushto"].strip() for texts in streams if texts.get("type") == TYPE and "pushto" in texts}
    for stage in _CONSUMERS if not found else ():
        found = {t["listento"].strip() for s, t in sections.items() if stage_name(s, t) == stage and "listento" in t}
        if found:
            break
    return found.pop() if len(found) == 1 else None


def _captured(sections: Sections) -> Iterable[tuple[SetName, str]]:
    """Yield each set that a stream has already; a draft counts only where no other has the set."""
    for wants_drafts in (True, False):
        for section, texts in sections.items():
            if stage_name(section, texts) == "capture" and is_disabled(texts) is wants_drafts and "rules" in texts:
                try:
                    yield parse_set_name(texts["rules"]), section
                except ValueError:
                    continue  # a draft may have faults; `config check` names them


class _Credentials:
    """The credentials that the platform takes, and those that are not in use."""

    def __init__(self, sections: Sections, pool: str | None) -> None:
        pools = {
            section.removeprefix(_CREDENTIAL): texts.get("pool", "").strip()
            for section, texts in sections.items()
            if section.startswith(_CREDENTIAL) and _kind(texts) in PLATFORMS[TYPE].credentials
        }
        there = sorted({each for each in pools.values() if each})
        if pool is None and len(there) > 1:
            raise ConfigError(f"there are several pools of credentials, {', '.join(there)}; say --pool NAME")
        if pool is not None and pool not in there:
            raise ConfigError(
                f"no credential that {TYPE} takes has pool = {pool}; there are: {', '.join(there) or '-'}"
            )
        self.pool = pool or (there[0] if there else None)
        streams = [(section, t) for section, t in sections.items() if stage_name(section, t) == "capture"]
        named = {texts["credential"].strip() for _, texts in streams if "credential" in texts}
        asking = [t for _, t in streams if self.pool is not None and t.get("pool", "").strip() == self.pool]
        self._free = [name for name, of in pools.items() if of == (self.pool or "") and name not in named]
        self._short = 0
        for _ in [texts for texts in asking if not is_disabled(texts)]:
            self.take()

    def take(self) -> str | None:
        """Use one more credential. Returns its name; None with a pool, whose streams are given one when they run."""
        if not self._free:
            self._short += 1
            return None
        name = self._free.pop(0)
        return None if self.pool is not None else name

    def missing(self) -> int:
        """Return how many credentials were not there."""
        return self._short


def _kind(texts: Mapping[str, str]) -> str:
    return "oauth1" if "consumer_key" in texts else "basic" if "username" in texts else "bearer"
