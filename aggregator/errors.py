"""The errors of the project, named by what happens next.

A stage raises one of these to tell the runner what to do with the message in hand. Any other exception of a stage
counts as a fault that may pass, and the message is retried with backoff.
"""

from __future__ import annotations


class AggregatorError(Exception):
    """The base of all our errors, so that the command line can show each of them without a traceback."""


class ConfigError(AggregatorError):
    """Refuse to go on: the configuration is wrong. `problems` has one printable line each; exit code 78 (2 on the
    command line)."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Reject(AggregatorError):
    """Set the message aside at once: trying again cannot help."""


class Retry(AggregatorError):
    """Try this message again later; after `maxtries` attempts it is set aside.

    `delay_s` is the wait that the other side asks for (a Retry-After); None means exponential backoff. With `counts`
    false this attempt does not count towards `maxtries`. The next try finds `kept` as the message's `kept`.
    """

    def __init__(self, reason: str, delay_s: float | None = None, *, counts: bool = True, kept: str = "") -> None:
        super().__init__(reason)
        self.delay_s = delay_s
        self.counts = counts
        self.kept = kept


class Unavailable(AggregatorError):
    """Put the message back untried and take no other for `pause_s` seconds: what the stage needs is away.

    Raised for faults that belong to no single message (a full disk, a dead neighbour). The attempt does not count.
    `kept` has the same meaning as for Retry.
    """

    def __init__(self, reason: str, pause_s: float = 5.0, *, kept: str = "") -> None:
        super().__init__(reason)
        self.pause_s = min(max(pause_s, 0.01), 3600.0) if pause_s == pause_s else 5.0  # NaN is no time
        self.kept = kept


class Superseded(AggregatorError):
    """Exit: a newer incarnation of this worker owns its messages, or Redis came back older than it was."""


class CursorMoved(Superseded):
    """Somebody else stored a position since it was read; nothing of the commit took effect."""


class MemoryChanged(AggregatorError):
    """Another worker changed a text that the commit changes too: the commit had no effect, and its messages go back."""


class LeaseLost(AggregatorError):
    """A lease that the commit depends on is another worker's; nothing of the commit took effect."""

    def __init__(self, pool: str, name: str) -> None:
        super().__init__(f"the lease {name} of {pool} is another worker's by now")
        self.pool = pool
        self.name = name


EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_AWAY = 75
"""Redis was away too long, or this incarnation was superseded: start me again (sysexits.h EX_TEMPFAIL)."""
EXIT_CONFIG = 78
"""The configuration is wrong: starting again does not help (sysexits.h EX_CONFIG)."""
