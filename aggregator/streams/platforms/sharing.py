"""Streams that ask with one credential, where a platform or a pool allows each credential only so many connections."""

from __future__ import annotations

from collections.abc import Iterator
from configparser import RawConfigParser
from typing import Any

from aggregator.config.programs import is_disabled, stage_name
from aggregator.streams.platforms.table import PLATFORMS


def faults_of_sharing(settings: Any, config: RawConfigParser) -> Iterator[tuple[str, str]]:
    """Yield ("credential", fault) when more active streams use a stream's credential than it may have connections.

    `settings` are those of the stream (`StreamSettings`). A sample and a filter count alike: they are two connections.
    """
    name = settings.credential
    if name is None:
        return
    of_pool = config.get(f"credential_{name}", "pool", fallback="").strip() != ""
    most, who = (1, "a pool") if of_pool else (PLATFORMS[settings.type].connections, settings.type)
    if most is None:
        return
    sharing = [section for section in config.sections() if _asks_with(config, section, name, of_pool or settings.type)]
    if len(sharing) > most:
        names = " and ".join(f"[{section}]" for section in sharing)
        connections = "one connection" if most == 1 else f"{most} connections"
        advice = "give each its own, or let all but one say enabled = no"
        yield "credential", f"{names} use it, and {who} allows {connections} for a credential; {advice}"


def _asks_with(config: RawConfigParser, section: str, credential: str, type_: str | bool) -> bool:
    """True for an active stream with this credential, of this type, or of any type when that is True."""
    texts = dict(config.items(section))
    same = texts.get("credential", "").strip() == credential and type_ in (True, texts.get("type", "").strip())
    return same and stage_name(section, texts) == "capture" and not is_disabled(texts)
