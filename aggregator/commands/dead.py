"""`dead`: show dead letters (messages that were set aside), requeue them, or drop them."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from datetime import datetime, timezone
from itertools import islice
from typing import Any

import simplejson

from aggregator.commands import screen
from aggregator.commands.invocation import Failed, Invocation, add_json, common_options, read_count
from aggregator.commands.screen import Column
from aggregator.config.configuration import Config
from aggregator.config.hints import meant
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.monitor.opening import redis_of
from aggregator.runtime import deadletters
from aggregator.runtime.deadletters import PAGE, Change, DeadLetter
from aggregator.runtime.keys import Keys, resolve

_REASON_WIDTH = 100


def add_dead(parser: argparse.ArgumentParser) -> None:
    """Declare `dead list|show|requeue|drop`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, words: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=words, description=f"{words}.", parents=[common_options()])
        add_json(sub)
        return sub

    listing = action("list", "Show dead letters, newest first")
    listing.add_argument("--queue", metavar="QUEUE", help="of this queue only")
    listing.add_argument("--limit", metavar="N", type=read_count, default=50, help="so many at most (default 50)")
    listing.set_defaults(run=_list)
    show = action("show", "Show a dead letter: its body, why it died, what happened before")
    show.add_argument("id", metavar="ID", type=read_count, help="as `dead list` shows it")
    show.set_defaults(run=_show)
    requeue = action("requeue", "Put dead letters back into their queue, as if they had never been tried")
    requeue.set_defaults(run=_requeue)
    drop = action("drop", "Let dead letters go for good; the books count them as dropped:operator")
    drop.set_defaults(run=_drop)
    for sub in (requeue, drop):
        sub.add_argument("id", metavar="ID", type=read_count, nargs="*", help="these")
        sub.add_argument("--queue", metavar="QUEUE", help="those of this queue")
        sub.add_argument("--reason", metavar="PATTERN", help="those whose reason contains this; * and ? match anything")
        sub.add_argument("--all", action="store_true", help="all there are")


def _list(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    with redis_of(config) as (client, keys):
        queues = _queues(config, client, keys, args.queue)
        total = sum(deadletters.count(client, keys, queue) for queue in queues)
        letters = deadletters.newest(client, keys, queues, args.limit)
    now = time.time()
    if args.json:
        screen.print_json({"total": total, "letters": [_facts(letter, whole=False) for letter in letters]})
        return EXIT_OK
    if not letters:
        invocation.say("No dead letters.")
        return EXIT_OK
    columns = (Column("ID", True), Column("QUEUE"), Column("DIED", True), Column("TRIES", True), Column("REASON"))
    rows = [[str(x.id), x.queue, _ago(x, now), _tries(x), _reason(x)] for x in letters]
    print(screen.table(columns, rows, colours=screen.colours_wanted(sys.stdout)))
    if total > len(letters):
        invocation.say(f"{len(letters):,} of {total:,}; --limit shows more.")
    return EXIT_OK


def _show(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    with redis_of(config) as (client, keys):
        letter = deadletters.find(client, keys, _queues(config, client, keys, None), args.id)
    if letter is None:
        raise Failed(f"no dead letter {args.id}; `run/aggregator dead list` shows those there are")
    if args.json:
        screen.print_json(_facts(letter, whole=True))
        return EXIT_OK
    history = letter.history
    rows = [
        ("id", str(letter.id)),
        ("queue", letter.queue),
        ("reason", screen.printable(history.error) or screen.NOTHING),
        ("first failed", _when(history.first)),
        ("set aside", f"{_when(history.died)} by {history.worker or screen.NOTHING}"),
        ("tries", str(history.attempts)),
        ("workers lost", str(history.deliveries)),
        ("size", f"{len(letter.raw):,} bytes"),
    ]
    for name, text in rows:
        print(f"{name:>12}  {text}")
    if history.trace:
        print("\n" + "\n".join(screen.printable(line) for line in history.trace.rstrip().splitlines()))
    print("\n" + _pretty(letter.raw))
    return EXIT_OK


def _requeue(invocation: Invocation, args: argparse.Namespace) -> int:
    return _change(invocation, args, "requeued", deadletters.requeue)


def _drop(invocation: Invocation, args: argparse.Namespace) -> int:
    return _change(invocation, args, "dropped", deadletters.drop)


def _change(invocation: Invocation, args: argparse.Namespace, word: str, change: Change) -> int:
    if not (args.id or args.queue or args.reason or args.all):
        raise ConfigError("which ones? Give ids, --queue QUEUE, --reason PATTERN or --all")
    if args.id and (args.reason or args.all):
        raise ConfigError("give ids, or say which ones with --reason or --all; not both")
    config = invocation.running()
    changed: dict[str, int] = {}
    missing: list[int] = []
    with redis_of(config) as (client, keys):
        queues = _queues(config, client, keys, args.queue)
        if args.id:
            for number in args.id:
                letter = deadletters.find(client, keys, queues, number)
                done = change(client, keys, letter.queue, [number]) if letter else 0
                if letter and done:
                    changed[letter.queue] = changed.get(letter.queue, 0) + done
                else:
                    missing.append(number)
        else:
            for queue in queues:
                changed[queue] = _change_matching(client, keys, queue, args.reason, word, change)
    changed = {queue: number for queue, number in changed.items() if number}
    if args.json:
        screen.print_json({word: changed, "missing": missing})
    else:
        for queue, number in changed.items():
            invocation.say(f"{word} {number:,} of {queue}")
        if not changed and not missing:
            invocation.say("No dead letter is like that.")
    for number in missing:
        print(f"no dead letter {number}", file=sys.stderr)
    return EXIT_CHECK_FAILED if missing else EXIT_OK


def _change_matching(client: Any, keys: Keys, queue: str, reason: str | None, word: str, change: Change) -> int:
    pattern = f"*{reason.lower()}*" if reason else "*"
    numbers = deadletters.matching(
        client, keys, queue, lambda letter: fnmatch.fnmatchcase(letter.history.error.lower(), pattern), now=time.time()
    )
    progress = screen.Progress(word, deadletters.count(client, keys, queue))
    done = 0
    while page := list(islice(numbers, PAGE)):
        done += change(client, keys, queue, page)
        progress.advance(len(page))
    progress.close()
    return done


def _queues(config: Config, client: Any, keys: Keys, only: str | None) -> list[str]:
    """Return all queues, or only the one asked for. Raises Failed when this queue is unknown."""
    names = deadletters.queue_names(client, keys)
    if only is None:
        return names
    name = resolve(only, config.node)
    if name not in names and only not in config.consumers:
        raise Failed(f"no queue {only}{meant(only, names)}")
    return [name]


def _facts(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    history = letter.history
    facts: dict[str, Any] = {
        "id": letter.id,
        "queue": letter.queue,
        "reason": history.error,
        "attempts": history.attempts,
        "deliveries": history.deliveries,
        "first_failed_at": history.first or None,
        "died_at": history.died or None,
        "worker": history.worker or None,
        "size_bytes": len(letter.raw),
    }
    if whole:
        facts["trace"] = history.trace or None
        facts["body"] = letter.raw.decode("utf-8", "backslashreplace")
    return facts


def _ago(letter: DeadLetter, now: float) -> str:
    return f"{screen.age(max(0.0, now - letter.history.died))} ago" if letter.history.died else screen.NOTHING


def _tries(letter: DeadLetter) -> str:
    return str(letter.history.attempts + letter.history.deliveries)


def _reason(letter: DeadLetter) -> str:
    return screen.one_line(letter.history.error, _REASON_WIDTH) or screen.NOTHING


def _when(seconds: float) -> str:
    if not seconds:
        return screen.NOTHING
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone().isoformat(" ", "seconds")


def _pretty(raw: bytes) -> str:
    """Return a body for people to read: indented JSON, or else the text with unprintable characters escaped."""
    try:
        return json.dumps(simplejson.loads(raw), indent=2, ensure_ascii=True)
    except (ValueError, RecursionError):
        return screen.printable(raw.decode("utf-8", "backslashreplace"))
