"""`work`: run one worker process. `demo` and `redis`: run the programs that supervisord runs beside the workers."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING

from aggregator.commands.invocation import Invocation
from aggregator.errors import EXIT_AWAY, EXIT_CONFIG, ConfigError

if TYPE_CHECKING:
    from aggregator.config.builds import Build, Builds
    from aggregator.config.configuration import Config


def add_work(parser: argparse.ArgumentParser) -> None:
    """Declare `work SECTION NUMBER`."""
    parser.add_argument("section", metavar="SECTION", help="the section of loglines.cfg")
    parser.add_argument("number", metavar="NUMBER", type=int, help="the number of the process, from 0")
    parser.set_defaults(run=_work)


def _work(invocation: Invocation, args: argparse.Namespace) -> int:
    # imported here: each process imports only what it needs, and `demo` and `redis` do not need the runtime
    from aggregator.runtime.loop import RedisAway
    from aggregator.runtime.process import log_to_stdout

    log_to_stdout()
    try:
        return _run(invocation, args.section, args.number)
    except ConfigError as error:
        # printed to standard output, which supervisord keeps as the log of this process
        for problem in error.problems:
            print(problem, flush=True)
        return EXIT_CONFIG
    except RedisAway:
        return EXIT_AWAY


def _run(invocation: Invocation, section: str, number: int) -> int:
    from aggregator.config import placeholders
    from aggregator.config.builds import Builds
    from aggregator.config.identity import check, machine_id
    from aggregator.config.instance import Instance
    from aggregator.config.loading import load
    from aggregator.runtime.context import Context
    from aggregator.runtime.process import make_worker

    instance = Instance(invocation.root)
    facts = check(instance)
    builds = Builds(instance)
    build = _build_for(invocation, builds, section)
    config = load(build.file, invocation.root, only=section, build=build)
    program = config.programs[section]
    if program.stage_class is None:
        raise ConfigError(f"{invocation.file} [{section}]: it has no stage; supervisord runs its command by itself")
    if not 0 <= number < program.numprocs:
        allowed = f"0 to {program.numprocs - 1}" if program.numprocs > 1 else "0"
        raise ConfigError(f"{invocation.file} [{section}] numprocs: no process {number}; allowed: {allowed}")
    context = Context(
        section=section,
        number=number,
        node=config.node,
        root=config.root,
        config_parser=config.parser,
        table=lambda kind: _tables(config, builds, section, kind).table(kind),
        shares_redis=config.shares_redis,
        rules=config.rules,
        instance_id=facts.id if facts else "",
        machine=machine_id(),
        built=build.facts.number,
        digest=build.facts.programs.get(section, ""),
        sections=build.facts.programs.keys(),
        queues=build.facts.queues.keys(),
        belongings=build.facts.belongings,
        read_before=builds.read_by(section),
        written=config.raw[section],
        from_environment=placeholders.taken(config.raw[section].values(), os.environ),
    )
    worker = make_worker(
        program.stage_class,
        program.settings,
        context,
        url=config.redis.url,
        namespace=config.redis.namespace,
        limits=config.depth_limits(program),
        patience_s=config.redis.patience,
    )
    return worker.run()


def _build_for(invocation: Invocation, builds: Builds, section: str) -> Build:
    """Return the build that this process was started for: the one its program file names, else the current build."""
    digest = os.environ.get("AGGREGATOR_DIGEST", "")
    build = (builds.find(section, digest) if digest else None) or builds.current()
    if build is None:
        command = f"aggregator -r {shlex.quote(str(invocation.root))} config build"
        raise ConfigError(f"{invocation.root}: nothing was built yet, and workers run only what was built; {command}")
    if not build.is_whole():
        advice = "`run/aggregator config build` makes another"
        raise ConfigError(f"{build.folder}: somebody changed the copy that workers read; {advice}")
    return build


def _tables(config: Config, builds: Builds, section: str, kind: str) -> Config:
    """Return the configuration whose table a worker reads: its own, or the current build's for a live table.

    The entries of a live table come and go while the worker runs.
    """
    from aggregator.config.loading import load
    from aggregator.config.tables import reader_of

    current = builds.current() if reader_of(kind).live else None
    if current is None or current == config.build or section not in current.facts.programs:
        return config
    return load(current.file, config.root, only=section, build=current)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Declare `demo replay|tracker|feeds|stream ...`; the rest of the line goes to that program."""
    parser.add_argument(
        "program", choices=("replay", "tracker", "feeds", "stream"), help="which of the demo's programs"
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its own options; --help shows them")
    parser.set_defaults(run=_demo)


def _demo(invocation: Invocation, args: argparse.Namespace) -> int:
    if args.program == "replay":
        from aggregator.demo.replay import main
    elif args.program == "feeds":
        from aggregator.demo.feedserver import main
    elif args.program == "stream":
        from aggregator.demo.streamserver import main
    else:
        from aggregator.demo.tracker import main
    return main(args.rest)


def add_redis(parser: argparse.ArgumentParser) -> None:
    """Declare `redis`: the instance's own server."""
    parser.set_defaults(run=_redis)


def _redis(invocation: Invocation, args: argparse.Namespace) -> int:
    from aggregator.supervision.redisserver import serve

    serve(invocation.root)
