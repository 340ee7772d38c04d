"""Run a stage in the foreground until it has nothing left to do, for users who start it from cron."""

from __future__ import annotations

import logging
import os
from typing import Any

from aggregator.commands.archives import archives
from aggregator.commands.invocation import Failed, Invocation
from aggregator.config import placeholders
from aggregator.config.configuration import Config
from aggregator.config.identity import claim, machine_id
from aggregator.config.programs import Program
from aggregator.monitor.opening import redis_of
from aggregator.runtime.byhand import push
from aggregator.runtime.context import Context
from aggregator.runtime.ending import UntilEmpty
from aggregator.runtime.keys import Keys, resolve
from aggregator.runtime.ledger import Account, read_account
from aggregator.runtime.neighbours import refuse_another
from aggregator.runtime.process import log_to_stdout, make_worker
from aggregator.runtime.roster import roster
from aggregator.supervision.builtnotes import belongings

PATIENCE_S = 30.0
"""How long Redis may be away before a run gives up; cron starts the next run."""


class Foreground:
    """The section of one stage, run by hand instead of by supervisord."""

    def __init__(self, invocation: Invocation, stage_name: str) -> None:
        self.invocation = invocation
        self.config: Config = invocation.config()
        self.program = _only(self.config, stage_name)
        self.queue = resolve(self.program.listens or "", self.config.node)
        log_to_stdout(logging.WARNING)
        self.instance_id = claim(self.config.instance, self.config.node).id

    def drain(self, settings: Any = None, stage_class: Any = None) -> int:
        """Handle all messages that wait, and return how many there were.

        `settings` and `stage_class`, if given, replace the section's own.

        Raises Failed when the section's own worker is at work, when a message was set aside, and when the stage cannot
        go on.
        """
        config, program = self.config, self.program
        chosen: Any = stage_class or program.stage_class
        with redis_of(config) as (client, keys):
            self.refuse_beside_another(client, keys)
            dead = read_account(client, keys, self.queue).dead
            ending = UntilEmpty()
            worker = make_worker(
                chosen,
                settings or program.settings,
                self.context(),
                url=config.redis.url,
                namespace=config.redis.namespace,
                limits=config.depth_limits(program),
                patience_s=PATIENCE_S,
                ending=ending,
            )
            code = worker.run()
            if ending.gave_up or code:
                raise Failed(f"[{program.section}] {ending.gave_up or 'another has taken over, or Redis went away'}")
            set_aside = read_account(client, keys, self.queue).dead - dead
            if set_aside > 0:
                raise Failed(f"{set_aside} set aside; see: aggregator dead list --queue {self.queue}")
            return worker.handled

    def context(self) -> Context:
        """Return the context in which the stage runs."""
        return Context(
            section=self.program.section,
            number=0,
            node=self.config.node,
            root=self.config.root,
            config_parser=self.config.parser,
            table=self.config.table,
            shares_redis=self.config.shares_redis,
            instance_id=self.instance_id,
            machine=machine_id(),
            sections=self.config.programs.keys(),
            queues={resolve(queue, self.config.node) for queue in self.config.consumers},
            belongings=belongings(self.config),
            written=self.config.raw[self.program.section],
            from_environment=placeholders.taken(self.config.raw[self.program.section].values(), os.environ),
        )

    def account(self) -> Account:
        """Return the books of the section's queue."""
        with redis_of(self.config) as (client, keys):
            return read_account(client, keys, self.queue)

    def push(self, *bodies: bytes) -> None:
        """Push messages to the section's queue."""
        if bodies:
            with redis_of(self.config) as (client, keys):
                push(client, keys, self.queue, *bodies)

    def refuse_beside_another(self, client: Any, keys: Keys) -> None:
        """Raise Failed while the section's own worker is at work, ConfigError if another instance has our node name."""
        if self.config.shares_redis:
            refuse_another(client, keys, self.config.node, self.config.root, self.instance_id)
        for worker in roster(client, keys).workers:
            if (worker.node, worker.section) == (self.config.node, self.program.section) and worker.alive:
                raise Failed(
                    f"{worker.section}_{worker.number} is at work (process {worker.pid}) and does this by itself; "
                    f"to do it by hand, first: run/aggregator disable {worker.section}"
                )


def _only(config: Config, stage_name: str) -> Program:
    if stage_name == "archive":
        found = archives(config, of_streams=False)
    else:
        found = [program for program in config.programs.values() if program.stage_name == stage_name]
    if len(found) != 1:
        names = ", ".join(program.section for program in found) or "none"
        raise Failed(f"{config.file} must have one section with stage = {stage_name} for this (found {names})")
    return found[0]
