"""`streams plan`: how many connections rules need, and the sections for them."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aggregator.commands import screen
from aggregator.commands.generator import confirm
from aggregator.commands.invocation import Failed, Invocation, add_json
from aggregator.commands.rules_files import declare_form, entries_of
from aggregator.commands.rules_options import add_author, author_of, rules_redis
from aggregator.commands.screen import Column
from aggregator.config.configuration import Config
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.streams.managing.changes import editing
from aggregator.streams.managing.options import PREFIX
from aggregator.streams.managing.planning import TYPE, Stream, StreamPlan, plan_streams, queue_for_events
from aggregator.streams.rules.changes import Changer, used_ids
from aggregator.streams.rules.importing import Plan, Target, plan
from aggregator.streams.rules.names import LIMITS, SetName
from aggregator.streams.rules.rule import Rule, rule_of
from aggregator.streams.rules.shards import Shard, Sharding, shard
from aggregator.streams.rules.stored import read_rules, set_names

_COLUMNS = (Column("SET"), Column("RULES", True), Column("ASKS FOR", True), Column("AT MOST", True), Column("STREAM"),
            Column("STATE"), Column("CREDENTIAL"))  # fmt: skip


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Declare `streams plan`."""
    add_json(parser)
    parser.add_argument(
        "--rules", metavar="FILE", dest="file", type=Path, help="rules to plan for besides those in Redis"
    )
    declare_form(parser)
    parser.add_argument("--pool", metavar="NAME", help="the pool of new streams (default: the only one there is)")
    parser.add_argument("--pushto", metavar="QUEUE", help="where new streams send to (default: where others do)")
    parser.add_argument("--apply", action="store_true", help="import the rules of the file, and add the streams")
    parser.add_argument("-y", "--yes", action="store_true", help="go on where a build would ask")
    add_author(parser)
    parser.set_defaults(run=_plan)


def _plan(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config(reading=True)
    target = args.into or Target("", None)
    present, used = _present(config, args)
    made = plan(entries_of(args, target) if args.file else (), target, present, time.time(), used)
    if made.faults:
        raise Failed(f"{args.file}: {len(made.faults)} faulty rules; `aggregator rules validate` names them")
    for name in made.rules:
        if name.type not in LIMITS:
            words = f"rules of {name} are not of {TYPE}, for which this plans; `rules import` takes them"
            raise ConfigError(f"{args.file}: {words}")
    sharding = shard(_together(present, made))
    found = plan_streams([each.name for each in sharding.shards], config.raw, args.pool)
    _tell(invocation, args, sharding, found)
    if not args.apply:
        return EXIT_OK
    queue = args.pushto or queue_for_events(config.raw)
    if queue is None and any(stream.is_new for stream in found.streams):
        raise ConfigError("where are the new streams to send to? Say --pushto QUEUE", "nothing was changed")
    _import(config, args, made)
    _add(invocation, args, found, queue or "")
    return EXIT_CHECK_FAILED if found.missing else EXIT_OK


def _present(
    config: Config, args: argparse.Namespace
) -> tuple[dict[SetName, tuple[Rule, ...]], set[tuple[SetName, str]]]:
    """Return the rules in Redis, and the ids that were ever used. While it is away, a file alone can be planned for."""
    try:
        with rules_redis(config) as client:
            present = {name: read_rules(client, name).rules for name in set_names(client)}
            return present, used_ids(client, present)
    except Failed as error:
        if not args.file or args.apply:
            raise
        print(f"warning: {error}; this is the plan for {args.file} alone", file=sys.stderr)
        return {}, set()


def _together(present: Mapping[SetName, Iterable[Rule]], made: Plan) -> dict[SetName, list[Rule]]:
    """Return the rules of each set as they are after an import."""
    together = {name: {rule.id: rule for rule in rules} for name, rules in present.items() if name.type in LIMITS}
    for name, new in made.rules.items():
        together.setdefault(name, {}).update({fields["rule_id"]: rule_of(fields) for fields in new})
    return {name: list(rules.values()) for name, rules in together.items()}


def _tell(invocation: Invocation, args: argparse.Namespace, sharding: Sharding, found: StreamPlan) -> None:
    connections = Counter(each.name.type for each in sharding.shards)
    if args.json:
        screen.print_json(
            {
                "connections": {type_: connections[type_] for type_ in LIMITS},
                "streams": [
                    _facts(each, stream) for each, stream in zip(sharding.shards, found.streams, strict=True)
                ],
                "credentials": {
                    "needed": found.available + found.missing, "available": found.available, "missing": found.missing,
                },
                "not_sent": [{"set": str(name), **left._asdict()} for name, left in sharding.unusable],
            }
        )  # fmt: skip
    elif sharding.shards:
        rows = [_row(each, stream) for each, stream in zip(sharding.shards, found.streams, strict=True)]
        print(screen.table(_COLUMNS, rows, colours=screen.colours_wanted(sys.stdout)))
        words = " + ".join(f"{number} {type_}" for type_, number in connections.items())
        print(f"connections: {len(rows)} ({words}); credentials: {found.available}, missing: {found.missing}")
    else:
        invocation.say("No rules.")
    for name, left in sharding.unusable:
        print(screen.printable(f"not sent: rule {left.rule_id} of {name}: {left.why}"), file=sys.stderr)
    for each in sharding.shards:
        if each.overflow:
            words = f"{each.overflow:,} rules of other sets of {each.name.type}, which are full, have room here only"
            print(f"{each.name}: {words}; remove them there, and import them --into {each.name.type}", file=sys.stderr)
    if found.missing:
        print(f"credentials missing for {TYPE}: {found.missing}; add [credential_NAME] sections", file=sys.stderr)


def _facts(each: Shard, stream: Stream) -> dict[str, Any]:
    return {
        "set": str(each.name), "rules": each.rules, "asks_for": each.phrases, "at_most": LIMITS[each.name.type],
        "overflow": each.overflow, "stream": stream.section.removeprefix(PREFIX), "state": _state(stream),
        "credential": stream.credential, "pool": stream.pool,
    }  # fmt: skip


def _row(each: Shard, stream: Stream) -> list[str]:
    credential = stream.credential or (f"pool {stream.pool}" if stream.pool else screen.NOTHING)
    numbers = (f"{number:,}" for number in (each.rules + each.overflow, each.phrases, LIMITS[each.name.type]))
    return [str(each.name), *numbers, stream.section.removeprefix(PREFIX), _state(stream), credential]


def _state(stream: Stream) -> str:
    return f"{'new' if stream.is_new else 'there'}{', draft' if stream.is_draft else ''}"


def _import(config: Config, args: argparse.Namespace, made: Plan) -> None:
    if made.rules:
        with rules_redis(config) as client:
            for name, rules in made.rules.items():
                Changer(client, name, config.rules.notify_channel, author_of(args), time.time).put(rules)


def _add(invocation: Invocation, args: argparse.Namespace, found: StreamPlan, queue: str) -> None:
    """Add the new streams as `streams add` does, one after the other."""
    for stream in found.streams:
        if not stream.is_new:
            continue
        texts = {"type": TYPE, "endpoint": "filter", "rules": str(stream.name), "pushto": queue}
        texts |= {"pool": stream.pool} if stream.pool else {}
        texts |= {"credential": stream.credential} if stream.credential else {}
        with editing(invocation.file, invocation.root) as edit:
            change = edit.add(stream.section, texts, draft=stream.is_draft)
            confirm(change.to_come, yes=args.yes)
            for fault in change.missing:
                print(f"warning: {fault}", file=sys.stderr)
            for line in (*change.to_come.lines, *change.carry_out()):
                if not args.json:
                    invocation.say(line)
