"""`rules`: the rules that streams collect by, as they lie in Redis: list, add, remove, sync, history, files of them."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from aggregator.commands import rules_files, rules_sync, screen
from aggregator.commands.invocation import Failed, Invocation, add_json, common_options
from aggregator.commands.rules_options import add_author, add_sets, author_of, known_sets, read_set, rules_redis
from aggregator.commands.screen import Column
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.streams.rules.changes import Change, Changer, read_history, used_ids
from aggregator.streams.rules.filters import LeftOut, build_filter
from aggregator.streams.rules.importing import completed, next_id
from aggregator.streams.rules.names import ORIG_TYPES, SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.stored import read_rules
from aggregator.streams.rules.syncing import wanted_of
from aggregator.streams.rules.values import check_value, infer_type

_VALUE_WIDTH = 60


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Declare `rules list|add|remove|import|export|validate|sync|history`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, words: str, run: Callable[[Invocation, argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=words, description=f"{words}.", parents=[common_options()])
        add_json(sub)
        sub.set_defaults(run=run)
        return sub

    add_sets(action("list", "Show rules, and those that no platform can be asked for", _list))
    _declare_add(action("add", "Add a rule to a set", _add))
    remove = action("remove", "Remove rules from a set", _remove)
    remove.add_argument("set", metavar="SET", type=read_set, help="TYPE:ID, such as track:0")
    remove.add_argument("ids", metavar="RULE_ID", nargs="+", help="the rules' ids, as `rules list` shows them")
    add_author(remove)
    rules_files.declare_import(
        action("import", "Add the rules of a file that are not there yet", rules_files.run_import)
    )
    rules_files.declare_export(action("export", "Write rules to a file", rules_files.run_export))
    rules_files.declare_validate(
        action("validate", "Check a file of rules, and name the line of each fault", rules_files.run_validate)
    )
    rules_sync.declare_sync(
        action("sync", "Have X collect by the rules of a set, and leave all other rules alone", rules_sync.run_sync)
    )
    history = action("history", "Show who changed which rule when, and why", _history)
    add_sets(history)


def _declare_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", metavar="SET", type=read_set, help="TYPE:ID, such as track:0")
    parser.add_argument("value", metavar="VALUE", help="what to look for; put -- before a word that begins with -")
    types = sorted({each for types in ORIG_TYPES.values() for each in types})
    parser.add_argument(
        "--type", metavar="TYPE", choices=types, help=f"{', '.join(types)} (default: what it looks like)"
    )
    parser.add_argument("--tag", metavar="TEXT", default="", help="a tag, which goes with each match")
    parser.add_argument("--description", metavar="TEXT", default="", help="what it is for")
    parser.add_argument("--id", metavar="RULE_ID", help="its id (default: the next free number)")
    parser.add_argument(
        "--field", metavar="NAME=VALUE", action="append", default=[], type=_field, help="any other field; repeatable"
    )
    add_author(parser)
    # a box begins with a longitude, which may be negative; argparse would take it for an option
    parser._negative_number_matcher = re.compile(r"-\d")


def _field(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"needs NAME=VALUE (found {text!r})")
    return name, value


def _list(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    with rules_redis(config) as client:
        found = [(name, read_rules(client, name)) for name in known_sets(client, args.sets)]
    unsent = {name: _unsent(name, stored.rules, config.rules.x_rule_length) for name, stored in found}
    faults = [fault for _, stored in found for fault in stored.faults]
    if args.json:
        screen.print_json(
            {
                "rules": [{"set": str(name), **rule.fields} for name, stored in found for rule in stored.rules],
                "not_sent": [{"set": str(name), **out._asdict()} for name, left in unsent.items() for out in left],
                "faults": faults,
            }
        )
        return EXIT_OK
    columns = (Column("SET"), Column("ID", True), Column("TYPE"), Column("VALUE"), Column("TAG"), Column("ADDED"))
    rows = [
        [
            str(name),
            *(screen.one_line(text, _VALUE_WIDTH) or screen.NOTHING for text in (rule.id, rule.orig_type, rule.value)),
            *(screen.one_line(rule.fields.get(field, ""), 30) or screen.NOTHING for field in ("tag", "date_added")),
        ]
        for name, stored in found
        for rule in stored.rules
    ]
    if rows:
        print(screen.table(columns, rows, colours=screen.colours_wanted(sys.stdout)))
    else:
        invocation.say("No rules.")
    for fault in faults:
        print(f"faulty: {screen.printable(fault)}", file=sys.stderr)
    for name, left in unsent.items():
        for out in left:
            print(screen.printable(f"not sent: rule {out.rule_id} of {name}: {out.why}"), file=sys.stderr)
    return EXIT_OK


def _unsent(name: SetName, rules: Sequence[Rule], longest: int) -> Sequence[LeftOut]:
    return wanted_of(rules, longest)[1] if name.type == "x" else build_filter(name.type, rules).left_out


def _add(invocation: Invocation, args: argparse.Namespace) -> int:
    orig_type = args.type or infer_type(args.set.type, args.value)
    try:
        if orig_type not in ORIG_TYPES[args.set.type]:
            allowed = ", ".join(ORIG_TYPES[args.set.type])
            raise ValueError(f"a rule of {args.set} cannot be a {orig_type}; allowed: {allowed}")
        value = check_value(orig_type, args.value)
    except ValueError as error:
        raise ConfigError(f"rules add: {error}") from None
    fields = dict(args.field) | {"value": value, "orig_type": orig_type, "rule_type": args.set.type}
    fields |= {"tag": args.tag, "description": args.description}
    config = invocation.running()
    with rules_redis(config) as client:
        changer = Changer(client, args.set, config.rules.notify_channel, author_of(args), time.time)
        change = _put(client, changer, args, completed(fields, time.time()))
    if args.json:
        screen.print_json(_facts(args.set, change))
    else:
        invocation.say(f"{args.set}: added rule {change.rule_id}")
    return EXIT_OK


def _put(client: Any, changer: Changer, args: argparse.Namespace, fields: dict[str, str]) -> Change:
    """Add a rule under the id asked for, or under the next free number, whoever else adds rules meanwhile."""
    while True:
        there = (rule.id for rule in read_rules(client, args.set).rules)
        rule_id = args.id or str(next_id((*there, *(used for _, used in used_ids(client, [args.set])))))
        try:
            return changer.put([{**fields, "rule_id": rule_id}], only_new=True)[0]
        except ValueError as error:
            if args.id:
                raise Failed(f"{error}; take another --id, or remove it first") from None


def _remove(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    with rules_redis(config) as client:
        changer = Changer(client, args.set, config.rules.notify_channel, author_of(args), time.time)
        changes = changer.remove(args.ids)
    missing = sorted(set(args.ids) - {change.rule_id for change in changes})
    if args.json:
        screen.print_json({"removed": [_facts(args.set, change) for change in changes], "missing": missing})
    else:
        for change in changes:
            invocation.say(screen.printable(f"{args.set}: removed rule {change.rule_id}"))
    for rule_id in missing:
        print(screen.printable(f"no rule {rule_id} in {args.set}"), file=sys.stderr)
    return EXIT_CHECK_FAILED if missing else EXIT_OK


def _history(invocation: Invocation, args: argparse.Namespace) -> int:
    with rules_redis(invocation.running()) as client:
        found = [(name, change) for name in known_sets(client, args.sets) for change in read_history(client, name)]
    found.sort(key=lambda each: each[1].at)
    if args.json:
        screen.print_json([_facts(name, change) for name, change in found])
        return EXIT_OK
    if not found:
        invocation.say("No changes.")
        return EXIT_OK
    columns = [Column(head) for head in ("AT", "WHO", "SET", "WHAT", "ID", "VALUE", "WHY")]
    rows = []
    for name, change in found:
        value = (change.after or change.before or {}).get("value", "")
        texts = (change.at, change.who, str(name), change.what, change.rule_id, value, change.why)
        rows.append([screen.one_line(text, _VALUE_WIDTH) or screen.NOTHING for text in texts])
    print(screen.table(columns, rows, colours=screen.colours_wanted(sys.stdout)))
    return EXIT_OK


def _facts(name: Any, change: Change) -> dict[str, Any]:
    return {"set": str(name), **{field: getattr(change, field) for field in change.__struct_fields__}}
