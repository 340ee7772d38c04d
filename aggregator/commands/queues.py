"""`queues`: how much waits where. `ledger`: the books, and whether they balance."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec

from aggregator.commands import screen
from aggregator.commands.invocation import Invocation, add_json, redis_of
from aggregator.commands.screen import Column, Painted
from aggregator.config.loading import Config
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK
from aggregator.runtime.keys import Keys, resolve
from aggregator.runtime.ledger import Account, accounts, read_account

QUEUE_COLUMNS = (
    Column("QUEUE"),
    Column("READ BY"),
    Column("READY", True),
    Column("IN FLIGHT", True),
    Column("DELAYED", True),
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


def every_account(config: Config, client: Any, keys: Keys) -> list[Account]:
    """Return the accounts that there are, and those of configured queues that nobody has used yet; queues first."""
    found = {account.name: account for account in accounts(client, keys)}
    configured = {resolve(queue, config.node) for queue in (*config.consumers, *config.producers)}
    found |= {name: read_account(client, keys, name) for name in configured - found.keys()}
    return sorted(found.values(), key=lambda account: (account.is_source, account.name))


def section_of(config: Config, account: Account) -> str:
    """Return the section whose books these are; nothing when no section here reads the queue."""
    if account.is_source:
        return account.name.partition(":")[2].rpartition("_")[0]
    readers = {resolve(queue, config.node): section for queue, section in config.consumers.items()}
    return readers.get(account.name, "")


def queue_facts(config: Config, keys: Keys, account: Account) -> dict[str, Any]:
    """Return what is known of one queue, for JSON."""
    return {
        "queue": account.name,
        "read_by": section_of(config, account) or None,
        "key": keys.queue(account.name),
        "ready": account.ready,
        "in_flight": account.in_flight,
        "delayed": account.delayed,
        "dead": account.dead,
        "oldest_age_s": round(account.oldest_age_s, 1),
        "rate_in": round(account.rate_in, 3),
        "rate_out": round(account.rate_out, 3),
    }


def queue_row(facts: dict[str, Any]) -> list[str | Painted]:
    """Return the cells of QUEUE_COLUMNS."""
    dead = screen.amount(facts["dead"])
    return [
        facts["queue"],
        facts["read_by"] or Painted("nobody", "yellow"),
        screen.amount(facts["ready"]),
        screen.amount(facts["in_flight"]),
        screen.amount(facts["delayed"]),
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


def account_facts(account: Account) -> dict[str, Any]:
    """Return one account for JSON."""
    return {
        **msgspec.to_builtins(account),
        "source": account.is_source,
        "external": None if account.is_source else account.external,
        "difference": account.difference,
        "balanced": account.balanced,
    }


def imbalances(account: Account) -> list[str]:
    """Return what does not add up, a sentence each."""
    found = []
    right = (
        f"{account.out:,} out + {sum(account.dropped.values()):,} dropped + {account.dead:,} dead"
        f" + {account.in_flight:,} in flight + {account.delayed:,} delayed"
    )
    if account.difference:
        gap = f"{account.difference:,} missing" if account.difference > 0 else f"{-account.difference:,} too many"
        found.append(f"books of {account.name}: {account.in_:,} in, but {right}: {gap}")
    if not account.is_source and account.external < 0:
        seen = f"{account.in_:,} taken and {account.ready:,} waiting"
        found.append(f"queue {account.name}: {account.pushed:,} pushed, but {seen}: {-account.external:,} vanished")
    return found


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
