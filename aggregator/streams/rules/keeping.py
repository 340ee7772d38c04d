"""Keep the rules that X has in step with a rule set while a stream runs. Its connection stays."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from aggregator import __version__
from aggregator.config.hints import shorten
from aggregator.http.client import Client
from aggregator.http.connections import Connections
from aggregator.http.deadlines import Stopping
from aggregator.http.route import Route
from aggregator.runtime.connection import AWAY, REFUSED
from aggregator.runtime.context import Context
from aggregator.streams.credentials import CredentialSettings
from aggregator.streams.platforms.schedule import Waits
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.platforms.told import REFUSED_S
from aggregator.streams.platforms.xrules import AtX, Failed, RulesAtX
from aggregator.streams.rules.asking import Asked, RuleFilter
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.stored import Stored, open_rules, owner_of, read_rules
from aggregator.streams.rules.syncing import Report, XRules
from aggregator.streams.rules.tags import read_tag
from aggregator.streams.rules.turns import Busy, Turn, turn

LOOK_S = 300.0
"""How often X is asked for its rules although the set has not changed: somebody else may have changed them."""
LEAST_S = 10.0
"""The least time between two looks: X allows 100 changes in 15 minutes."""
_BUSY_S = 1.0
_AWAY_S = 2.0
_INTERNAL_S = 60.0
_SHOWN = 20
_NONE_KNOWN = Asked("", "", (), 0)


class RulesKeptAtX(RuleFilter):
    """Watch a rule set, and have X collect by it, in a thread of its own.

    A set without rules removes none at X, because an emptied Redis looks like it; the stream waits until it has some.
    """

    def __init__(self, context: Context, name: SetName, url: str, route: Route, credential: CredentialSettings) -> None:
        """Raises ConfigError for a credential that is no bearer token."""
        super().__init__(context, name)
        self._stopping = threading.Event()
        self._client = Client(f"Aggregator/{__version__}", Connections(stopping=self._is_to_end))
        self._at_x = RulesAtX(self._client, url, credential, route=route, proceed=self._proceed, clock=context.clock)
        self._waits = Waits(PLATFORMS["x_v2"].schedule)
        self._turn: Turn | None = None
        self._lock = threading.Lock()
        self._number = 0
        """How many rules the set has."""
        self._readings = self._synced = 0
        """How often the set was read, and what this number was when X was last made to have it."""
        self._look_at = self._not_before = 0.0
        self._left_out: frozenset[str] = frozenset()
        self._thread = threading.Thread(target=self._run, name="rules", daemon=True)

    def start(self) -> None:
        """Begin to look after the rules at X."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the connections."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._client.close()
        super().close()

    def _is_to_end(self) -> bool:
        return self._stopping.is_set() or self._context.stopping

    def _read(self, stored: Stored) -> None:
        """Take over a set that was read. Called by the thread that watches it."""
        if stored.faults:
            words = f"{len(stored.faults)} rules of {self._name} cannot be used: {_some(stored.faults)}"
            self._context.report("rules_faulty", words, "correct or remove them; the other rules are used")
        else:
            self._context.withdraw("rules_faulty")
        with self._lock:
            self._number = len(stored.rules)
            self._readings += 1
            if not stored.rules:
                self.asked = None

    # In the thread of its own

    def _run(self) -> None:
        while not self._stopping.wait(0.2):
            now = self._context.clock()
            is_due = self._readings != self._synced or now >= self._look_at
            if not self._number or not is_due or now < self._not_before:
                continue
            try:
                wait_s = self._look()
                self._not_before = self._context.clock() + wait_s
            except Stopping:
                return
            except Exception as error:  # whatever it is, the rules must go on, and somebody must know
                self._context.log.exception("rules failed")
                self._tell_failure(f"{type(error).__name__}: {error}"[:300])
                self._not_before = now + _INTERNAL_S
                self._ask_blindly()

    def _look(self) -> float:
        """Make X have the rules of the set; return how long to wait before it may be done again."""
        context, readings = self._context, self._readings
        try:
            with open_rules(context.rules) as redis, turn(redis, self._name) as self._turn:
                # order: the turn, then the rules: those that were read before may be older than what X has
                stored = read_rules(redis, self._name)
                self._read_setters(redis)
                if not stored.rules:
                    return _AWAY_S
                owner = owner_of(redis, context.rules)
                report = XRules(self._at_x, owner, self._name, context.rules.x_rule_length).sync(stored.rules)
        except Busy:
            self._ask_blindly()
            return _BUSY_S
        except (*AWAY, *REFUSED):  # the thread that watches the set tells it
            self._ask_blindly()
            return _AWAY_S
        self._tell(report, stored.rules)
        if report.failure is not None:
            self._tell_failure(str(report.failure), is_refused=report.failure.kind == "refused")
            return self._wait_s(report.failure)
        self._waits.lasted()
        context.withdraw("rules_not_synced")
        self._synced = readings
        self._look_at = context.clock() + LOOK_S
        return LEAST_S

    def _proceed(self) -> None:
        if self._turn is not None:
            self._turn.keep()

    def _wait_s(self, failure: Failed) -> float:
        if failure.kind == "refused":
            return REFUSED_S
        return max(self._waits.after(failure.kind, failure.told_s), _AWAY_S)

    def _tell_failure(self, words: str, *, is_refused: bool = False) -> None:
        again = "it is asked again every hour" if is_refused else "it goes on by itself"
        self._context.report(
            "rules_not_synced",
            f"X does not have the rules of {self._name}: {words}",
            f"see whether the credential, its contract and X are all right; {again}",
            level="error" if is_refused else "warning",
        )

    def _tell(self, report: Report, rules: Sequence[Rule]) -> None:
        """Count what was done, show what was left out, and have the stream record which rules are in force."""
        context = self._context
        for name, done in (("rules_added", report.added), ("rules_removed", report.removed)):
            if done:
                context.count(name, len(done))
        left_out = frozenset(out.rule_id for out in report.left_out)
        if new := left_out - self._left_out:
            context.count("rules_left_out", len(new))
        self._left_out = left_out if report.failure is None else left_out | self._left_out
        if report.left_out:
            each = [f"rule {out.rule_id} ({shorten(out.value)}): {out.why}" for out in report.left_out]
            context.report(
                "rules_left_out",
                f"X does not collect by {len(each)} rules of {self._name}: {_some(each)}",
                "correct or remove them, or make room for them in the project; `rules sync --dry-run` names all",
            )
        elif report.failure is None:
            context.withdraw("rules_left_out")
        if report.in_force is None:
            self._ask_blindly()
            return
        others = f", beside {report.others} others" if report.others else ""
        context.note("rules", f"{len(report.in_force)} of {self._name} at X{others}")
        known = {rule.id: rule for rule in rules}
        in_force = tuple(self._in_force(rule, known) for rule in report.in_force.values())
        asked = Asked("", "", in_force, int(context.clock() * 1000))
        with self._lock:
            # rules of others bring what they have in common with ours, such as all of it once the owner's mark is lost
            self.asked = asked if (in_force or report.others) and self._number else None

    def _ask_blindly(self) -> None:
        """Have the stream begin although it is not known which rules X has: those of an earlier time may do."""
        with self._lock:
            if self.asked is None and self._number:
                self.asked = _NONE_KNOWN

    def _in_force(self, rule: AtX, known: dict[str, Rule]) -> dict[str, str]:
        """Return what is kept of a rule beside the data; `x_id` and `x_tag` stand in each event's `matching_rules`."""
        mark = read_tag(rule.tag)
        rule_id = mark.rule_id if mark else ""
        fields = self._told(known[rule_id]) if rule_id in known else {"rule_id": rule_id}
        return {**fields, "value": rule.value, "x_id": rule.id, "x_tag": rule.tag}


def _some(texts: Iterable[str]) -> str:
    every = list(texts)
    more = f"; and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return "; ".join(every[:_SHOWN]) + more
