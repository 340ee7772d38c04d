"""Streams that ask with one credential, at a platform that allows each credential only so many connections."""

from __future__ import annotations

from collections.abc import Iterator
from configparser import RawConfigParser
from typing import Any

from aggregator.config.programs import is_disabled, stage_name
from aggregator.streams.platforms.table import PLATFORMS


def faults_of_sharing(settings: Any, config: RawConfigParser) -> Iterator[tuple[str, str]]:
    """Yield ("credential", fault) when more active streams use a stream's credential than the platform allows.

    `settings` are those of the stream (`StreamSettings`). A sample and a filter count alike: they are two connections.
    """
    most = PLATFORMS[settings.type].connections
    if most is None or settings.credential is None:
        return
    sharing = [section for section in config.sections() if _asks_with(config, section, settings)]
    if len(sharing) > most:
        names = " and ".join(f"[{section}]" for section in sharing)
        connections = "one connection" if most == 1 else f"{most} connections"
        advice = "give each its own, or let all but one say enabled = no"
        yield "credential", f"{names} use it, and {settings.type} allows {connections} for a credential; {advice}"


def _asks_with(config: RawConfigParser, section: str, settings: Any) -> bool:
    texts = dict(config.items(section))
    same = (texts.get("type", "").strip(), texts.get("credential", "").strip()) == (settings.type, settings.credential)
    return same and stage_name(section, texts) == "capture" and not is_disabled(texts)
