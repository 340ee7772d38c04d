"""What a rule set asks a platform for, kept up to date while a stream runs."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from aggregator.errors import Unavailable
from aggregator.runtime.connection import AWAY, REFUSED
from aggregator.runtime.context import Context
from aggregator.streams.messages import rules_without
from aggregator.streams.rules.filters import build_filter
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.stored import Stored
from aggregator.streams.rules.watcher import RuleSet
from aggregator.streams.rules.windows import beat, note_limit

CHECK_S = 60.0
"""How often the rules are read although no notice came, as Traptor did."""
BEAT_S = 5.0
LIMIT_WINDOW_S = 900.0
"""How long limit notices are kept, as Traptor kept them."""
_SHOWN = 3


class Asked(NamedTuple):
    """What is asked for: one parameter of the request, and the rules behind it."""

    parameter: str
    """`track`, `follow` or `locations`; empty when the platform keeps the rules, and the request has none of them."""
    text: str
    rules: tuple[dict[str, str], ...]
    at_ms: int
    """Since when, in Unix milliseconds."""


class RuleFilter:
    """Watch a rule set for a stream. Between `start` and `close` all calls but `asked` belong to one thread."""

    def __init__(self, context: Context, name: SetName) -> None:
        self._context = context
        self._name = name
        self._set = RuleSet(context.rules, name, self._read, CHECK_S)
        self._beat_at = 0.0
        self.asked: Asked | None = None
        """What to ask for; None while there are no rules, or none that the platform can be asked for."""
        self.withheld: int | None = None
        """A limit notice that is still to be noted: how many events were withheld since the connection was made."""

    def start(self) -> None:
        """Begin with what needs a thread of its own."""

    def refresh(self, *, collects: bool) -> None:
        """Read the rules when a notice or the clock says so, note limits, and show that somebody collects.

        While the rules' Redis is away, a stream goes on with the rules that it knows. Without `collects`, as when the
        credential is refused, nothing is shown, so that the rule manager gives the rules to another collector.
        """
        context = self._context
        try:
            self._set.rules()
        except Unavailable as error:
            advice = f"add rules to {self._name}, or see whether the url in [rules] is right"
            context.report("rules_away", str(error), advice)
        else:
            context.withdraw("rules_away")
        now = context.clock()
        with suppress(*AWAY, *REFUSED):
            if self.withheld is not None:
                note_limit(self._set.client(), self._name, self.withheld, now, LIMIT_WINDOW_S)
                self.withheld = None
            if collects and now >= self._beat_at:
                beat(self._set.client(), self._name, BEAT_S, now)
                self._beat_at = now + BEAT_S

    def close(self) -> None:
        """Close the connections."""
        self._set.close()

    def _read(self, stored: Stored) -> None:
        found = build_filter(self._name.type, stored.rules)
        faults = [*stored.faults, *(f"rule {left.rule_id} ({left.value}): {left.why}" for left in found.left_out)]
        if faults:
            words = f"{len(faults)} rules of {self._name} are not asked for: {'; '.join(faults[:_SHOWN])}"
            self._context.report("rules_faulty", words, "correct or remove them; the other rules are used")
        else:
            self._context.withdraw("rules_faulty")
        self._context.note("rules", f"{len(stored.rules)} of {self._name}")
        left_out = {left.rule_id for left in found.left_out}
        rules = tuple(told(rule) for rule in stored.rules if rule.id not in left_out)
        now_ms = int(self._context.clock() * 1000)
        self.asked = Asked(self._name.type, found.text, rules, now_ms) if found.text else None


def difference(before: Asked, now: Asked) -> tuple[tuple[dict[str, str], ...], tuple[dict[str, str], ...]]:
    """Return the rules that came, and those that went."""
    return rules_without(now.rules, before.rules), rules_without(before.rules, now.rules)


def told(rule: Rule) -> dict[str, str]:
    """Return what is kept of a rule beside the data."""
    names = ("rule_id", "orig_type", "value", "tag", "description", "date_added")
    return {name: text for name in names if (text := rule.fields.get(name))}
