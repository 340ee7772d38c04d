"""Make the rules that X has for a project those of a set, and leave everybody else's rules alone.

    report = XRules(RulesAtX(client, base_url, credential), owner, SetName("x", 0), longest=1024).sync(rules)

A running stream goes on: X uses the new rules on the connection that there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from aggregator.streams.platforms.xrules import MOST_AT_ONCE, AtX, Failed, New, Problem, RulesAtX
from aggregator.streams.rules.filters import LeftOut
from aggregator.streams.rules.names import SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.tags import Mark, make_tag, read_tag
from aggregator.streams.rules.values import check_x_rule

_Each = TypeVar("_Each")
_MOST_UNEXPLAINED = 3
"""So many rules that X refuses one by one without naming them mean that something else is wrong."""
_FULL = "the project has as many rules as its contract with X allows (RulesCapExceeded)"


class Wanted(NamedTuple):
    """A rule of the set that X is to have."""

    rule_id: str
    value: str
    tag: str
    """The rule's own tag; at X the mark of its owner stands before it."""


class Done(NamedTuple):
    """A rule that was added or removed."""

    rule_id: str
    value: str


class Report(msgspec.Struct):
    """What was done, or with a preview would be done."""

    kept: int = 0
    """How many rules of the set X had already."""
    added: list[Done] = []
    removed: list[Done] = []
    left_out: list[LeftOut] = []
    """The rules of the set that X does not have, each with the reason."""
    others: int = 0
    """How many rules the project has that are not of this set; they count for its limit too."""
    in_force: dict[str, AtX] | None = None
    """The rules of the set that X has now, by X's ids; None when X could not be asked."""
    failure: Failed | None = None
    """What ended it before all was done; the next call goes on from there."""

    @property
    def is_whole(self) -> bool:
        """True when X has exactly the rules of the set."""
        return not self.left_out and self.failure is None


class _Plan(NamedTuple):
    add: list[Wanted]
    replace: list[tuple[AtX, Wanted]]
    """Rules whose value X has under a tag of this set that is no longer right: X takes no value twice."""
    remove: list[AtX]


def wanted_of(rules: Sequence[Rule], longest: int) -> tuple[list[Wanted], list[LeftOut]]:
    """Return the rules that X can be asked for, and the others, each with the reason."""
    found: dict[str, Wanted] = {}
    left_out = []
    for rule in rules:
        try:
            value = check_x_rule(rule.value, longest)
        except ValueError as error:
            left_out.append(LeftOut(rule.id, rule.value, str(error)))
            continue
        if value in found:
            left_out.append(LeftOut(rule.id, rule.value, f"means the same as rule {found[value].rule_id}"))
        else:
            found[value] = Wanted(rule.id, value, rule.fields.get("tag", ""))
    return list(found.values()), left_out


class XRules:
    """The rules of one set at X; `owner` marks them as ours, `longest` is the most characters of a rule."""

    def __init__(self, at_x: RulesAtX, owner: str, name: SetName, longest: int) -> None:
        self._at_x, self._owner, self._name, self._longest = at_x, owner, name, longest

    def sync(self, rules: Sequence[Rule]) -> Report:
        """Add what X lacks, remove what the set no longer has, and return what was done.

        It may be called again at any time, also after a failure in the middle: what X has is asked for anew. Raises
        what the client raises when it is told to stop.
        """
        report = Report()
        try:
            plan, there = self._look(rules, report)
            # order: add, then remove, so that nothing is missed meanwhile; only a full project makes room first
            waiting, is_full = self._add(plan.add, there, report)
            for rules_at_x in _parts(plan.remove):
                self._remove(rules_at_x, report)
            for pairs in _parts(plan.replace):
                self._remove([old for old, _ in pairs], report)
                again, full = self._add([new for _, new in pairs], there, report)
                waiting, is_full = [*waiting, *again], is_full or full
            if is_full and report.removed:
                waiting, _ = self._add(waiting, there, report)
            report.left_out += [LeftOut(each.rule_id, each.value, _FULL) for each in waiting]
        except Failed as error:
            report.failure = error
        return report

    def preview(self, rules: Sequence[Rule]) -> Report:
        """Return what `sync` would do. X looks at the new rules, and changes nothing.

        X counts each request for itself, so that rules beyond its limit may be told of only when they are added.
        """
        report = Report()
        try:
            plan, there = self._look(rules, report)
            waiting, _ = self._add(plan.add, there, report, dry_run=True)
            report.left_out += [LeftOut(each.rule_id, each.value, _FULL) for each in waiting]
            gone = [*plan.remove, *(old for old, _ in plan.replace)]
            report.removed += [self._done(rule) for rule in gone]
            report.added += [Done(new.rule_id, new.value) for _, new in plan.replace]
        except Failed as error:
            report.failure = error
        return report

    def _look(self, rules: Sequence[Rule], report: Report) -> tuple[_Plan, dict[str, AtX]]:
        """Compare the set with what X has; return what is to be done, and X's rules by their ids."""
        wanted, report.left_out = wanted_of(rules, self._longest)
        there = self._at_x.all()
        ours = [rule for rule in there if self._is_ours(rule)]
        report.others = len(there) - len(ours)
        report.in_force = {rule.id: rule for rule in ours}
        missing = {(each.value, self._tag(each)): each for each in wanted}
        old: dict[str, AtX] = {}
        remove = []
        for rule in ours:
            if missing.pop((rule.value, rule.tag), None):
                report.kept += 1
            elif rule.value in old:
                remove.append(rule)
            else:
                old[rule.value] = rule
        plan = _Plan([], [], remove)
        for each in missing.values():
            if each.value in old:
                plan.replace.append((old.pop(each.value), each))
            else:
                plan.add.append(each)
        plan.remove.extend(old.values())
        return plan, {rule.id: rule for rule in there}

    def _add(
        self, wanted: Sequence[Wanted], there: dict[str, AtX], report: Report, *, dry_run: bool = False
    ) -> tuple[list[Wanted], bool]:
        """Add rules in batches; return those for which there is no room, and whether there is none.

        X may refuse a whole batch because of one rule, without saying which; its halves are tried then.
        """
        batches, unexplained = deque(_parts(wanted)), 0
        while batches:
            batch = batches.popleft()
            answer = self._at_x.add([New(each.value, self._tag(each)) for each in batch], dry_run=dry_run)
            problems = {problem.value: problem for problem in answer.problems}
            added = {rule.tag: rule for rule in answer.rules}
            if not dry_run:
                self._note(report, answer.rules)
            if any(problem.id and problem.id not in there for problem in problems.values()):
                there |= {rule.id: rule for rule in self._at_x.all()}  # somebody added it meanwhile
            rest = []
            for each in batch:
                if self._tag(each) in added:
                    report.added.append(Done(each.rule_id, each.value))
                elif each.value not in problems:
                    rest.append(each)
                elif (same := there.get(problems[each.value].id)) and self._is_that(each, same):
                    self._note(report, [same])
                    report.kept += 1
                else:
                    why = _why(problems[each.value], there)
                    report.left_out.append(LeftOut(each.rule_id, each.value, why))
            if not rest:
                continue
            if len(rest) < len(batch) and not answer.is_full:
                batches.appendleft(rest)  # the rules that stood in their way are gone
            elif len(rest) > 1:
                middle = len(rest) // 2
                batches.extendleft([rest[middle:], rest[:middle]])
            elif answer.is_full:
                return [*rest, *(each for later in batches for each in later)], True
            else:
                why = answer.words or "X did not add it, and gave no reason"
                report.left_out.append(LeftOut(rest[0].rule_id, rest[0].value, why))
                unexplained += 1
                if unexplained == _MOST_UNEXPLAINED:
                    raise Failed("http", why)
        return [], False

    def _remove(self, rules: Sequence[AtX], report: Report) -> None:
        self._at_x.delete(rule.id for rule in rules)
        report.removed += [self._done(rule) for rule in rules]
        report.in_force = {id_: rule for id_, rule in (report.in_force or {}).items() if rule not in rules}

    def _note(self, report: Report, rules: Iterable[AtX]) -> None:
        report.in_force = {**(report.in_force or {}), **{rule.id: rule for rule in rules}}

    def _done(self, rule: AtX) -> Done:
        mark = read_tag(rule.tag)
        return Done(mark.rule_id if mark else "", rule.value)

    def _is_ours(self, rule: AtX) -> bool:
        mark = read_tag(rule.tag)
        return mark is not None and (mark.owner, mark.name) == (self._owner, self._name)

    def _is_that(self, wanted: Wanted, rule: AtX) -> bool:
        return (rule.value, rule.tag) == (wanted.value, self._tag(wanted))

    def _tag(self, wanted: Wanted) -> str:
        return make_tag(Mark(self._owner, self._name, wanted.rule_id), wanted.tag)


def _why(problem: Problem, there: dict[str, AtX]) -> str:
    if problem.title == "DuplicateRule":
        same = there.get(problem.id)
        words = f" with the tag {same.tag!r}" if same and same.tag else ""
        return f"X has a rule with this value already: {problem.id or 'its id is not told'}{words} (DuplicateRule)"
    return f"X refuses it: {problem.detail or 'no reason given'}{f' ({problem.title})' if problem.title else ''}"


def _parts(rules: Iterable[_Each]) -> Iterator[list[_Each]]:
    every = list(rules)
    for start in range(0, len(every), MOST_AT_ONCE):
        yield every[start : start + MOST_AT_ONCE]
