"""`rules import|export|validate`: rules in files."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aggregator.commands import screen
from aggregator.commands.invocation import Failed, Invocation
from aggregator.commands.rules_options import add_author, add_sets, author_of, known_sets, read_set, rules_redis
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.files.durable import write_durably
from aggregator.streams.rules.changes import Changer, used_ids
from aggregator.streams.rules.files import FORMATS, Entry, format_of, read_entries, write_rules, write_table
from aggregator.streams.rules.importing import Passed, Plan, Target, check_entry, plan
from aggregator.streams.rules.names import LIMITS, ORIG_TYPES, SetName
from aggregator.streams.rules.rule import Rule
from aggregator.streams.rules.stored import read_rules, set_names


def declare_import(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rules import`."""
    _declare_file(parser)
    parser.add_argument("--skip-faulty", action="store_true", help="import the others when some rules are faulty")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    add_author(parser)


def declare_validate(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rules validate`."""
    _declare_file(parser)


def declare_export(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rules export`."""
    add_sets(parser)
    parser.add_argument("--format", choices=FORMATS, default="jsonl", help="the form of the file (default: jsonl)")
    parser.add_argument("--to", metavar="FILE", type=Path, help="the file (default: standard output)")


def _declare_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON lines, CSV, GNIP's JSON, or a SQLite database")
    declare_form(parser)


def declare_form(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say how a file of rules is read."""
    parser.add_argument("--format", choices=FORMATS, help="its form (default: by its name)")
    parser.add_argument("--into", metavar="SET", type=_target, help="TYPE:ID, or TYPE for as many sets as it takes")
    parser.add_argument("--query", metavar="SQL", help="what to ask a SQLite database; its columns are the fields")


def _target(text: str) -> Target:
    if text in ORIG_TYPES:
        return Target(text, None)
    return Target(*read_set(text))


def run_import(invocation: Invocation, args: argparse.Namespace) -> int:
    """Import a file. Nothing is changed when it has faults, unless they are to be skipped."""
    target = args.into or Target("", None)
    entries = list(entries_of(args, target))
    config = invocation.running()
    with rules_redis(config) as client:
        present = {name: read_rules(client, name).rules for name in set_names(client)}
        made = plan(entries, target, present, time.time(), used_ids(client, present))
        refused = bool(made.faults) and not args.skip_faulty
        imported = {} if refused else {name: len(rules) for name, rules in made.rules.items()}
        if not args.dry_run:
            for name in imported:
                changer = Changer(client, name, config.rules.notify_channel, author_of(args), time.time)
                imported[name] = len(changer.put(made.rules[name]))
    if args.json:
        screen.print_json(_facts(made, imported))
    else:
        for name, number in imported.items():
            invocation.say(f"{name}: {number:,} {'would be imported' if args.dry_run else 'imported'}")
    _tell(args.file, made)
    if refused:
        print("nothing was imported; --skip-faulty imports the others", file=sys.stderr)
    else:
        _tell_of_full(made, present)
    return EXIT_CHECK_FAILED if made.faults else EXIT_OK


def run_validate(invocation: Invocation, args: argparse.Namespace) -> int:
    """Check a file; exit with 1 when it has faults."""
    target = args.into or Target("", None)
    checked, faults = 0, []
    for entry in entries_of(args, target):
        checked += 1
        try:
            check_entry(entry, target)
        except ValueError as error:
            faults.append(Passed(entry.place, str(error)))
    if args.json:
        screen.print_json({"rules": checked, "faults": [fault._asdict() for fault in faults]})
    for fault in faults:
        print(_line(args.file, fault), file=sys.stderr)
    if not args.json and not faults:
        invocation.say(f"{checked:,} rules, all fine")
    return EXIT_CHECK_FAILED if faults else EXIT_OK


def run_export(invocation: Invocation, args: argparse.Namespace) -> int:
    """Write rules to a file, as a whole or not at all, or to standard output."""
    with rules_redis(invocation.running()) as client:
        found = [
            (name, rule.fields) for name in known_sets(client, args.sets) for rule in read_rules(client, name).rules
        ]
    if args.format == "gnip":
        found, others = _for_gnip(found)
        for name, fields in others:
            words = f"rule {fields['rule_id']} of {name}: GNIP's files have ids of users alone"
            print(screen.printable(f"left out: {words}"), file=sys.stderr)
    if args.format == "sqlite":
        if args.to is None:
            raise ConfigError("rules export: a SQLite database needs --to FILE")
        write_table(found, args.to)
    elif args.to is not None:
        write_durably(args.to, write_rules(found, args.format))
    else:
        for piece in write_rules(found, args.format):
            sys.stdout.write(piece.decode())
    if args.to is not None:
        invocation.say(f"{len(found):,} rules")
    return EXIT_OK


_Rules = list[tuple[SetName, Mapping[str, str]]]


def _for_gnip(found: _Rules) -> tuple[_Rules, _Rules]:
    ids = [each for each in found if each[1].get("orig_type") == "userid"]
    return ids, [each for each in found if each[1].get("orig_type") != "userid"]


def entries_of(args: argparse.Namespace, target: Target) -> Iterator[Entry]:
    """Yield the entries of the file that a command names. Raises Failed when it cannot be read."""
    try:
        yield from read_entries(args.file, args.format or format_of(args.file), target.type, args.query)
    except ValueError as error:
        raise Failed(screen.printable(str(error))) from error


def _facts(made: Plan, imported: Mapping[SetName, int]) -> dict[str, Any]:
    return {
        "imported": {str(name): number for name, number in imported.items()},
        "skipped": [each._asdict() for each in made.skipped],
        "faults": [each._asdict() for each in made.faults],
    }


def _tell(file: Path, made: Plan) -> None:
    for fault in made.faults:
        print(_line(file, fault), file=sys.stderr)
    for passed in made.skipped:
        print(f"{_line(file, passed)}: skipped", file=sys.stderr)


def _tell_of_full(made: Plan, present: Mapping[SetName, Iterable[Rule]]) -> None:
    """Name the sets that have more rules than one connection may ask for."""
    for name, rules in made.rules.items():
        number = len({*(rule.id for rule in present.get(name, ())), *(fields["rule_id"] for fields in rules)})
        if name.type in LIMITS and number > LIMITS[name.type]:
            words = f"{number:,} rules; one connection may ask for {LIMITS[name.type]:,}"
            print(f"{name}: {words}; `rules import --into {name.type}` makes as many sets as it takes", file=sys.stderr)


def _line(file: Path, about: Passed) -> str:
    """Return what is said of a place in a file, in the form that editors know: `rules.csv:3: …`."""
    place = about.place.removeprefix("line ")
    return screen.printable(f"{file}:{place}: {about.why}")
