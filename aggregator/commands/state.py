"""`state`: show what an instance keeps in Redis and on disk; adopt or drop what nobody reads any more; move it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from aggregator.commands import screen
from aggregator.commands.invocation import Failed, Invocation, add_json, common_options
from aggregator.config import identity
from aggregator.config.builds import Builds
from aggregator.config.configuration import Config
from aggregator.config.hints import counted, meant
from aggregator.config.loading import redis_of_build
from aggregator.errors import EXIT_OK, ConfigError
from aggregator.feeds.bundle.storedfiles import MARK
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.files.durable import write_durably
from aggregator.monitor.opening import open_redis, redis_of
from aggregator.runtime import residue, transfer
from aggregator.runtime.byhand import forget_cursors, put_back_all
from aggregator.runtime.keys import Keys, resolve
from aggregator.runtime.reading import cursor_names, is_known, state_of
from aggregator.runtime.roster import roster
from aggregator.runtime.succession import move, take_cursors

_WHAT = "QUEUE|NODE:SECTION"


class Site(NamedTuple):
    """An open connection to an instance's state, and which parts of the state its current build reads."""

    config: Config
    client: Any
    keys: Keys
    build: int | None
    read: frozenset[str]
    """The queues that some section reads, by their names in Redis."""
    sections: frozenset[str]


def add_state(parser: argparse.ArgumentParser) -> None:
    """Declare `state list|adopt|drop|export|import|fork`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, words: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=words, description=f"{words}.", parents=[common_options()])

    listing = action("list", "Show which state there is, and what of it nobody reads any more")
    add_json(listing)
    listing.set_defaults(run=_list)
    adopt = action("adopt", "Give what nobody reads any more to another queue, or a section's positions to another one")
    adopt.add_argument("what", metavar=_WHAT, help="as `state list` shows it")
    adopt.add_argument("to", metavar="QUEUE|SECTION", help="who gets it")
    adopt.set_defaults(run=_adopt)
    drop = action("drop", "Let go of what nobody reads any more; the books count messages as dropped:operator")
    drop.add_argument("what", metavar=_WHAT, help="as `state list` shows it")
    drop.set_defaults(run=_drop)
    export = action("export", "Write the state in Redis to a file, while nothing works on it")
    export.add_argument("file", metavar="FILE", type=Path, help="a file that is not there yet")
    export.set_defaults(run=_export)
    take = action("import", "Fill an empty namespace with what `state export` wrote")
    take.add_argument("file", metavar="FILE", type=Path, help="what `state export` wrote")
    take.set_defaults(run=_import)
    fork = action("fork", "Make a copy of an instance's folder an instance of its own")
    fork.set_defaults(run=_fork)


@contextmanager
def _built(invocation: Invocation) -> Iterator[Site]:
    """Open the Redis of the current build, because the file may name another Redis by now."""
    config = invocation.config(reading=True)
    build = Builds(config.instance).current()
    if build is None:
        read = frozenset(resolve(queue, config.node) for queue in config.consumers)
        with redis_of(config) as (client, keys):
            yield Site(config, client, keys, None, read, frozenset(config.programs))
    else:
        with open_redis(config, redis_of_build(build, config.root)) as (client, keys):
            facts = build.facts
            yield Site(config, client, keys, facts.number, frozenset(facts.queues), frozenset(facts.programs))


def _list(invocation: Invocation, args: argparse.Namespace) -> int:
    with _built(invocation) as site:
        found = _found(site)
    if args.json:
        screen.print_json(found)
        return EXIT_OK
    began = datetime.fromtimestamp(found["began_at"], timezone.utc) if found["began_at"] else None
    print(f"instance {found['instance'] or 'never built'} in {found['root']}, node {found['node']}")
    since = f", began {began:%F %T} UTC" if began else ""
    print(f"state {found['state'] or 'none yet'} in namespace {found['namespace']}{since}")
    for row in found["unread"]:
        what = f"{counted(row['waiting'], 'message')}, {counted(row['dead'], 'dead letter')}"
        print(f"nobody reads {row['queue']}: {what}; `run/aggregator state adopt {row['queue']} QUEUE`, or `drop`")
    for row in found["positions"]:
        advice = f"`run/aggregator state adopt {row['owner']} SECTION`, or `drop`"
        print(f"nobody goes on with the {counted(row['number'], 'position')} of {row['owner']}; {advice}")
    for row in found["namespaces"]:
        what = f"{counted(row['waiting'], 'message')}, {counted(row['dead'], 'dead letter')}"
        what += f", positions of {counted(row['owners'], 'section')}"
        print(f"left in namespace {row['name']}: {what}")
    for place, number in found["disk"].items():
        if number:
            print(f"on the disk: {place}: {number:,}")
    return EXIT_OK


def _found(site: Site) -> dict[str, Any]:
    config, client, keys = site.config, site.client, site.keys
    facts = identity.read_facts(config.instance)
    namespace = keys.prefix[1:].removesuffix("}:")
    state = state_of(client, keys)
    return {
        "instance": facts.id if facts else None,
        "root": str(config.root),
        "node": config.node,
        "namespace": namespace,
        "state": state.id or None,
        "began_at": state.began_at,
        "build": site.build,
        "unread": [found._asdict() for found in residue.unread(client, keys, site.read)],
        "positions": [found._asdict() for found in residue.left_positions(client, keys, config.node, site.sections)],
        "namespaces": [n._asdict() for n in residue.namespaces(client, facts.id, namespace)] if facts else [],
        "disk": _disk(config),
    }


def _disk(config: Config) -> dict[str, int]:
    folders = FeedFolders(config.root / "data/feeds")
    return {
        "downloads to be decided on": sum(1 for path in folders.downloads.glob("*/[!.]*") if path.suffix != ".part"),
        "open periods": sum(1 for path in folders.publications.glob("*/*") if path.is_dir()),
        "bundles to be stored": sum(1 for path in folders.bundles.rglob("*.tar.*") if path.suffix != MARK),
    }


def _adopt(invocation: Invocation, args: argparse.Namespace) -> int:
    with _built(invocation) as site:
        if ":" in args.what:
            invocation.say(_adopt_positions(site, args.what, args.to))
            return EXIT_OK
        queue, target = _unread(site, args.what), resolve(args.to, site.config.node)
        if target not in site.read:
            raise Failed(f"no section reads the queue {args.to}{meant(args.to, sorted(site.read))}")
        number = move(site.client, site.keys, queue, target)
        invocation.say(f"{counted(number, 'message')} went from {queue} to {target}")
    return EXIT_OK


def _adopt_positions(site: Site, owner: str, section: str) -> str:
    target = f"{site.config.node}:{section}"
    _check_owner(site, owner)
    if section not in site.sections:
        raise Failed(f"no section [{section}]{meant(section, sorted(site.sections))}")
    _check_at_rest(site, target)
    theirs = [facts for facts in roster(site.client, site.keys).workers if facts.owner == owner]
    names = cursor_names(site.client, site.keys, owner)
    taken = take_cursors(site.client, site.keys, owner, target, names, theirs)
    return f"{section} takes over {taken} of {counted(len(names), 'position')} of {owner}"


def _drop(invocation: Invocation, args: argparse.Namespace) -> int:
    with _built(invocation) as site:
        if ":" in args.what:
            _check_owner(site, args.what)
            number = forget_cursors(site.client, site.keys, args.what)
            invocation.say(f"{counted(number, 'position')} of {args.what} {'is' if number == 1 else 'are'} gone")
        else:
            queue = _unread(site, args.what)
            number = residue.empty(site.client, site.keys, queue)
            invocation.say(f"{counted(number, 'message')} of {queue} {'is' if number == 1 else 'are'} gone")
    return EXIT_OK


def _unread(site: Site, name: str) -> str:
    """Return the queue of this name that nobody reads, after putting back what vanished workers held.

    Raises Failed when a section or a living worker reads the queue, and when there is no such queue.
    """
    client, keys, queue = site.client, site.keys, resolve(name, site.config.node)
    if queue in site.read:
        raise Failed(f"the queue {queue} is read by a section; `run/aggregator dead` is for its dead letters")
    if any(facts.queue == queue and facts.alive for facts in roster(client, keys).workers):
        raise Failed(f"the queue {queue} is read by a worker that lives")
    if not is_known(client, keys, queue):
        raise Failed(f"no queue {name}; `run/aggregator state list` shows those that nobody reads")
    put_back_all(client, keys, queue)
    return queue


def _check_owner(site: Site, owner: str) -> None:
    if not cursor_names(site.client, site.keys, owner):
        raise Failed(f"no positions of {owner}; `run/aggregator state list` shows those that nobody goes on with")
    node, _, section = owner.partition(":")
    if node == site.config.node and section in site.sections:
        raise Failed(f"[{section}] is configured, and goes on with its positions")
    _check_at_rest(site, owner)


def _check_at_rest(site: Site, owner: str) -> None:
    workers = roster(site.client, site.keys).workers
    if any(facts.owner == owner and facts.alive for facts in workers):
        raise Failed(f"{owner} is at work; first: run/aggregator disable {owner.partition(':')[2]}")


def _export(invocation: Invocation, args: argparse.Namespace) -> int:
    with _built(invocation) as site:
        _refuse_at_work(site.client, site.keys)
        if os.path.lexists(args.file):
            raise Failed(f"{args.file} is there already")
        # for the owner alone: messages may hold private data
        write_durably(args.file, transfer.dump(site.client, site.keys), 0o600)
    invocation.say(f"the state is in {args.file}")
    return EXIT_OK


def _import(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config(reading=True)
    with redis_of(config) as (client, keys):
        _refuse_at_work(client, keys)
        with args.file.open("rb") as file:
            head = transfer.check(file)
            file.seek(0)
            transfer.restore(client, keys, file)
    invocation.say(f"state {head.state} of namespace {head.namespace} is in namespace {config.redis.namespace}")
    return EXIT_OK


def _refuse_at_work(client: Any, keys: Keys) -> None:
    alive = [facts for facts in roster(client, keys).workers if facts.alive]
    if alive:
        # not "stop all": that would stop our own Redis as well
        groups = " ".join(sorted({f"{facts.section}:" for facts in alive}))
        what = f"{len(alive)} workers are" if len(alive) > 1 else "1 worker is"
        raise Failed(f"{what} at work, {alive[0].name} among them; first: run/supervisorctl stop {groups}")


def _fork(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config(reading=True)
    facts = identity.read_facts(config.instance)
    if facts is None:
        raise ConfigError(f"{config.root} was never built: it is an instance of its own already")
    if identity.is_original(config.instance):
        raise Failed(f"{config.root} is no copy: it is where instance {facts.id} was built last")
    facts = identity.fork(config.instance)
    invocation.say(f"{config.root} is instance {facts.id} now; build it: {config.instance.command()} config build")
    advice = "Give it another `node` in [aggregator] where both share a store or a Redis: positions bear its name."
    print(advice, file=sys.stderr)
    return EXIT_OK
