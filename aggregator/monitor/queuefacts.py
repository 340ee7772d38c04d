"""What is known of queues and sources: which there are, whose they are, and what is shown of each."""

from __future__ import annotations

from typing import Any

import msgspec

from aggregator.config.configuration import Config
from aggregator.runtime.keys import Keys, resolve
from aggregator.runtime.ledger import Account, accounts, read_account


def every_account(config: Config, client: Any, keys: Keys) -> list[Account]:
    """Return all accounts in Redis, and empty ones for configured queues that nobody has used yet; queues first."""
    found = {account.name: account for account in accounts(client, keys)}
    configured = {resolve(queue, config.node) for queue in (*config.consumers, *config.producers)}
    found |= {name: read_account(client, keys, name) for name in configured - found.keys()}
    return sorted(found.values(), key=lambda account: (account.is_source, account.name))


def section_of(config: Config, account: Account) -> str:
    """Return the section that an account belongs to; empty when no section here reads the queue."""
    if account.is_source:
        return account.name.partition(":")[2].rpartition("_")[0]
    readers = {resolve(queue, config.node): section for queue, section in config.consumers.items()}
    return readers.get(account.name, "")


def queue_facts(config: Config, keys: Keys, account: Account) -> dict[str, Any]:
    """Return the facts of one queue for JSON."""
    return {
        "queue": account.name,
        "read_by": section_of(config, account) or None,
        "key": keys.queue(account.name),
        "ready": account.ready,
        "in_flight": account.in_flight,
        "delayed": account.delayed,
        "timers": account.timers,
        "dead": account.dead,
        "oldest_age_s": round(account.oldest_age_s, 1),
        "rate_in": round(account.rate_in, 3),
        "rate_out": round(account.rate_out, 3),
    }


def account_facts(account: Account) -> dict[str, Any]:
    """Return one account for JSON."""
    return {
        **msgspec.to_builtins(account),
        "source": account.is_source,
        "external": None if account.is_source else account.external,
        "difference": account.difference,
        "balanced": account.balanced,
    }
