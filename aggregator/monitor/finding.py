"""One fault, as `aggregator health` shows it. The codes are tabled in docs/operations.md."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["error", "warning"]


class Finding(NamedTuple):
    """One fault; a warning alone does not make `health` fail, except with `--strict`."""

    code: str
    """A constant word that monitors may match."""
    level: Level
    about: str
    """The process, section, queue, feed or file; or `redis`, `supervisord`, `files`, `feeds`, `instance`."""
    text: str
    since: float | None
    """Unix seconds; None where it is not known."""
    do: str
    """What to do about it, as one sentence."""


def in_order(findings: list[Finding]) -> list[Finding]:
    """Return findings with the errors first, otherwise in their old order."""
    return sorted(findings, key=lambda finding: finding.level)


def level_after(since: float, now: float, after_s: float) -> Level:
    """Return the level of an outage: a warning at first, an error once it has lasted for `after_s`."""
    return "error" if now - since >= after_s else "warning"


_LEVELS: tuple[Level, ...] = ("error", "warning")


def counted(found: list[Finding]) -> str:
    """Return how many errors and warnings there are: `1 error, 2 warnings`."""
    counts = [(sum(finding.level == level for finding in found), level) for level in _LEVELS]
    return ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for count, level in counts if count)
