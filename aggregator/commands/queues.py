"""`queues`: show how many messages wait in each queue. `ledger`: show the books, and whether they balance."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from aggregator.commands import screen
from aggregator.commands.invocation import Invocation, add_json
from aggregator.commands.screen import Column, Painted
from aggregator.config.configuration import Config
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.monitor.opening import redis_of
from aggregator.monitor.queuefacts import account_facts, every_account, queue_facts, section_of
from aggregator.runtime.ledger import Account, imbalances

QUEUE_COLUMNS = (
    Column("QUEUE"),
    Column("READ BY"),
    Column("READY", True),
    Column("IN FLIGHT", True),
    Column("DELAYED", True),
    Column("TIMERS", True),
    Column("DEAD", True),
    Column("OLDEST", True),
    Column("IN/s", True),
    Column("OUT/s", True),
)


def add_queues(parser: argparse.ArgumentParser) -> None:
    """Declare `queues`."""
    add_json(parser)
    parser.set_defaults(run=_queues)


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Declare `ledger`."""
    add_json(parser)
    parser.set_defaults(run=_ledger)


def queue_row(facts: dict[str, Any]) -> list[str | Painted]:
    """Return the cells of one queue, in the order of QUEUE_COLUMNS."""
    dead = screen.amount(facts["dead"])
    return [
        facts["queue"],
        facts["read_by"] or Painted("nobody", "yellow"),
        screen.amount(facts["ready"]),
        screen.amount(facts["in_flight"]),
        screen.amount(facts["delayed"]),
        screen.amount(facts["timers"]),
        Painted(dead, "red") if facts["dead"] else dead,
        screen.age(facts["oldest_age_s"]) if facts["ready"] else screen.NOTHING,
        screen.rate(facts["rate_in"]),
        screen.rate(facts["rate_out"]),
    ]


def _queues(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    with redis_of(config) as (client, keys):
        found = [queue_facts(config, keys, a) for a in every_account(config, client, keys) if not a.is_source]
    if args.json:
        screen.print_json({"queues": found})
        return EXIT_OK
    columns = (*QUEUE_COLUMNS, Column("KEY TO RPUSH TO"))
    rows = [[*queue_row(facts), facts["key"]] for facts in found]
    print(screen.table(columns, rows, colours=screen.colours_wanted(sys.stdout)))
    return EXIT_OK


def _ledger(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.running()
    with redis_of(config) as (client, keys):
        books = every_account(config, client, keys)
    balanced = all(account.balanced for account in books)
    if args.json:
        facts = [{"section": section_of(config, account) or None, **account_facts(account)} for account in books]
        screen.print_json({"balanced": balanced, "accounts": facts})
    else:
        _print_books(config, books)
        for line in (*_dropped(books), *(line for account in books for line in imbalances(account))):
            print(line)
        invocation.say("The books balance." if balanced else "The books do NOT balance.")
    return EXIT_OK if balanced else EXIT_CHECK_FAILED


def _print_books(config: Config, books: list[Account]) -> None:
    equation = ("IN", "=", "OUT", "+", "DROPPED", "+", "DEAD", "+", "IN FLIGHT", "+", "DELAYED")
    heads = ("QUEUE OR SOURCE", "SECTION", *equation, "WAITING", "FROM OUTSIDE", "")
    columns = [Column(head, right=2 <= place < len(heads) - 1) for place, head in enumerate(heads)]
    print(screen.table(columns, [_row(config, a) for a in books], colours=screen.colours_wanted(sys.stdout)))


def _row(config: Config, account: Account) -> list[str | Painted]:
    sums = (account.out, sum(account.dropped.values()), account.dead, account.in_flight, account.delayed)
    row: list[str | Painted] = [account.name, section_of(config, account) or screen.NOTHING]
    row.append(screen.amount(account.in_))
    for number, sign in zip(sums, ("=" if not account.difference else "≠", "+", "+", "+", "+"), strict=True):
        row += [sign, screen.amount(number)]
    outside = [screen.NOTHING] * 2 if account.is_source else map(screen.amount, (account.ready, account.external))
    row += [*outside, Painted("balanced", "green") if account.balanced else Painted("NOT BALANCED", "red")]
    return row


def _dropped(books: list[Account]) -> list[str]:
    return [
        f"dropped of {account.name}: " + ", ".join(f"{number:,} {reason}" for reason, number in account.dropped.items())
        for account in books
        if account.dropped
    ]
