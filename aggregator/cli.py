"""The command line: find the command, import it alone, run it, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from aggregator import __version__
from aggregator.commands.invocation import Invocation, common_options
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_USAGE, AggregatorError, ConfigError

EXIT_INTERRUPTED = 130


class Command(NamedTuple):
    """The place of a command, as ``module:function`` that adds its options, and its help; an empty help hides it."""

    place: str
    words: str


COMMANDS = {
    "init": Command("instance:add_init", "make a new instance in a folder"),
    "run": Command("instance:add_run", "build the configuration and collect in the foreground"),
    "config": Command("config:add_config", "check it, build supervisord's files from it, list all options"),
    "status": Command("status:add_status", "processes, queues and rates on one screen"),
    "health": Command("health:add_health", "one line for each thing that is wrong; exit code for monitors"),
    "enable": Command("instance:add_enable", "link programs and start them"),
    "disable": Command("instance:add_disable", "stop programs and take their links away"),
    "graph": Command("graph:add_graph", "sections and the queues between them"),
    "queues": Command("queues:add_queues", "how much waits where, and since when"),
    "dead": Command("dead:add_dead", "messages that were set aside: list, show, requeue, drop"),
    "state": Command(
        "state:add_state", "what lies where and what nobody reads: list, adopt, drop, export, import, fork"
    ),
    "ledger": Command("queues:add_ledger", "the books, and whether they balance"),
    "feeds": Command("feeds:add_feeds", "what is archived of feeds, and how to have it"),
    "streams": Command("streams:add_streams", "streams: add, change, remove, see what is missing, export"),
    "rules": Command("rules:add_rules", "the rules that streams collect by: list, change, import, export, history"),
    "download": Command("oneshot:add_download", "download feeds for a while, in the foreground"),
    "filter": Command("oneshot:add_filter", "filter what was downloaded, once, in the foreground"),
    "compress": Command("oneshot_bundles:add_compress", "bundle what is due, once, in the foreground"),
    "archive": Command("oneshot_bundles:add_archive", "store what is bundled, once, in the foreground"),
    "testrun": Command("testrun:add_testrun", "download each feed once, now, and take it all the way"),
    "work": Command("work:add_work", "one worker process, as supervisord runs it"),
    "demo": Command("work:add_demo", ""),
    "redis": Command("work:add_redis", ""),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 fine, 1 a check failed, 2 bad usage or configuration."""
    return for_a_shell(lambda: _main(sys.argv[1:] if argv is None else argv))


def for_a_shell(command: Callable[[], int]) -> int:
    """Run a command that was started from a shell, whatever its streams are, and return the exit code.

    For an error of ours or of the system, each problem is one line on standard error.
    """
    _prepare_streams()
    try:
        code = command()
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_USAGE
    except AggregatorError as error:
        print(f"aggregator: {error}", file=sys.stderr)
    except BrokenPipeError:
        # the reader of our output has gone (`| head`): Python's flush at exit must not meet the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"aggregator: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_CHECK_FAILED


def _prepare_streams() -> None:
    """Reopen streams that the shell closed (`>&-`), and escape characters that the terminal has no bytes for."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # this is the lowest free number: otherwise a file or a connection would get it
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
        elif number and isinstance(stream, io.TextIOWrapper) and not _takes_all(stream):
            stream.reconfigure(errors="backslashreplace")


def _takes_all(stream: io.TextIOWrapper) -> bool:
    """True for a stream in UTF-8 that passes on the odd bytes of file names as they are."""
    return stream.encoding.lower() == "utf-8" and stream.errors != "strict"


def _main(argv: list[str]) -> int:
    top = top_parser()
    found = top.parse_args(argv)
    if found.command is None:
        top.print_help()
        return EXIT_USAGE
    if found.command not in COMMANDS:
        # imported here: only a mistyped command pays these 10 ms
        from aggregator.config.hints import meant

        top.error(f"unknown command {found.command!r}{meant(found.command, list(COMMANDS))}")
    parser = command_parser(found.command)
    args = parser.parse_args(found.rest, argparse.Namespace(**_chosen(found)))
    invocation = Invocation(getattr(args, "root", "."), getattr(args, "settings", None), getattr(args, "quiet", False))
    code: int = args.run(invocation, args)
    return code


def _chosen(found: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(found).items() if name not in ("command", "rest")}


def top_parser() -> argparse.ArgumentParser:
    """Return the parser for the global options and the command's name; all other arguments belong to the command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.words}" for name, command in COMMANDS.items() if command.words]
    parser = argparse.ArgumentParser(
        prog="aggregator",
        description="Collect access logs and realtime feeds; lose nothing, count everything.",
        epilog="\n".join(["commands:", *lines, "", "`aggregator COMMAND --help` tells more about one."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_options()],
        usage="aggregator [-r DIR] [-s FILE] [-q] COMMAND ...",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"aggregator {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command, and import that command alone."""
    module, _, function = COMMANDS[name].place.partition(":")
    parser = argparse.ArgumentParser(
        prog=f"aggregator {name}",
        description=f"{COMMANDS[name].words[:1].upper()}{COMMANDS[name].words[1:]}.",
        parents=[common_options()],
        allow_abbrev=False,
    )
    getattr(importlib.import_module(f"aggregator.commands.{module}"), function)(parser)
    return parser
