"""`config`: check the configuration, build supervisord's files from it, or list every option."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from aggregator.commands import screen
from aggregator.commands.invocation import Invocation, add_json, common_options
from aggregator.config.configuration import Config
from aggregator.config.hints import counted
from aggregator.config.instance import shown
from aggregator.errors import EXIT_OK, EXIT_USAGE, ConfigError
from aggregator.monitor.collecting import idle_parts
from aggregator.monitor.overviews import overviews_of


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `config check|build|reference`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, words: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=words, description=f"{words}.", parents=[common_options()])

    check = action("check", "Report everything that is wrong with the configuration; change nothing")
    add_json(check)
    check.set_defaults(run=_check)
    build = action("build", "Write what supervisord reads; the same as create_supervisord_config.py")
    build.add_argument("--dry-run", action="store_true", help="only print what would change")
    build.add_argument("--check", action="store_true", help="the same, and exit with 1 when something would")
    build.add_argument("-y", "--yes", action="store_true", help="go on where it would ask")
    build.set_defaults(run=_build)
    reference = action("reference", "List every option of every section and stage, with its default and meaning")
    form = reference.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as a Markdown page")
    form.add_argument("--json", action="store_true", help="print JSON")
    reference.set_defaults(run=_reference)


def _check(invocation: Invocation, args: argparse.Namespace) -> int:
    try:
        config = invocation.config()
    except ConfigError as error:
        if not args.json:
            raise
        screen.print_json({"ok": False, "problems": list(error.problems), "warnings": []})
        return EXIT_USAGE
    warnings = [*config.warnings, *_idle(config)]
    if args.json:
        screen.print_json({"ok": True, "problems": [], "warnings": warnings})
        return EXIT_OK
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    queues = {*config.consumers, *config.producers}
    invocation.say(f"{config.file}: fine; {counted(len(config.programs), 'program')}, {counted(len(queues), 'queue')}")
    return EXIT_OK


def _idle(config: Config) -> Iterator[str]:
    """Yield a warning for each part that is valid and would still collect nothing.

    Other programs may push to any queue: this is not known here, so every queue counts as filled from outside.
    """
    instance = config.instance

    def enabled(section: str) -> bool:
        built = os.path.lexists(instance.available / f"{section}.conf")
        linked = os.path.lexists(instance.enabled / f"{section}.conf")
        return config.programs[section].program.enabled and (linked or not built)

    for finding in idle_parts(config, overviews_of(config), enabled, lambda queue: True):
        yield f"{shown(config.file)}: {finding.about}: {finding.text}. {finding.do}"


def _build(invocation: Invocation, args: argparse.Namespace) -> int:
    # imported here: no other action needs the modules that build
    from aggregator.commands.generator import generate

    return generate(
        invocation.root,
        invocation.file,
        dry_run=args.dry_run,
        check=args.check,
        yes=args.yes,
        quiet=invocation.quiet,
    )


def _reference(invocation: Invocation, args: argparse.Namespace) -> int:
    # imported here: the reference imports every stage
    from aggregator.commands.reference import as_json, as_markdown, as_text, chapters

    found = chapters()
    if args.json:
        screen.print_json(as_json(found))
    else:
        print("\n".join(as_markdown(found) if args.markdown else as_text(found)))
    return EXIT_OK
