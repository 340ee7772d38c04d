"""`streams add`, `edit`, `activate`, `deactivate`, `remove`: change one stream while everything else runs on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from aggregator.commands.generator import confirm
from aggregator.commands.invocation import Invocation
from aggregator.config.settings import Option
from aggregator.errors import EXIT_OK, ConfigError
from aggregator.streams.managing.changes import Change, Editing, editing
from aggregator.streams.managing.options import program_options, stream_options

_DEST = "option:"


def add_add(parser: argparse.ArgumentParser) -> None:
    """Declare `streams add NAME --OPTION VALUE...`."""
    _add_name(parser, "the name of the new stream; its section becomes [stream_NAME]")
    parser.add_argument(
        "--inactive", action="store_true", help="as a draft, which may be incomplete, and is not started"
    )
    _add_options(parser)
    parser.set_defaults(run=_command(lambda edit, args: edit.add(args.name, _texts(args), draft=args.inactive)))


def add_edit(parser: argparse.ArgumentParser) -> None:
    """Declare `streams edit NAME --OPTION VALUE... --unset OPTION...`."""
    _add_name(parser, "the stream")
    parser.add_argument(
        "--unset", metavar="OPTION", action="append", default=[], help="take an option out; may be given again"
    )
    _add_options(parser)
    parser.set_defaults(run=_command(_edit))


def add_activate(parser: argparse.ArgumentParser) -> None:
    """Declare `streams activate NAME`."""
    _add_name(parser, "the stream")
    parser.set_defaults(run=_command(lambda edit, args: edit.activate(args.name)))


def add_deactivate(parser: argparse.ArgumentParser) -> None:
    """Declare `streams deactivate NAME`."""
    _add_name(parser, "the stream")
    parser.set_defaults(run=_command(lambda edit, args: edit.deactivate(args.name)))


def add_remove(parser: argparse.ArgumentParser) -> None:
    """Declare `streams remove NAME`."""
    _add_name(parser, "the stream")
    parser.set_defaults(run=_command(lambda edit, args: edit.remove(args.name)))


def _add_name(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("name", metavar="NAME", help=words)
    parser.add_argument("-y", "--yes", action="store_true", help="go on where a build would ask")


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command an option for each option of the section, from its declaration."""
    for title, options in (("the stream", stream_options()), ("its program", program_options())):
        group = parser.add_argument_group(title)
        for option in options:
            group.add_argument(f"--{option.name}", metavar="VALUE", dest=f"{_DEST}{option.name}", help=_help(option))


def _help(option: Option) -> str:
    return f"{option.doc}; {option.kind.allowed}".replace("%", "%%")


def _texts(args: argparse.Namespace) -> dict[str, str]:
    """Return the options that were given, in the order of their declaration."""
    given = {name.removeprefix(_DEST): text for name, text in vars(args).items() if name.startswith(_DEST)}
    declared = (option.name for option in (*stream_options(), *program_options()))
    return {name: given[name] for name in declared if given[name] is not None}


def _edit(edit: Editing, args: argparse.Namespace) -> Change:
    texts = _texts(args)
    if not texts and not args.unset:
        raise ConfigError("nothing to change: give --OPTION VALUE or --unset OPTION")
    return edit.edit(args.name, texts, args.unset)


def _command(
    change_of: Callable[[Editing, argparse.Namespace], Change],
) -> Callable[[Invocation, argparse.Namespace], int]:
    """Return the command that makes a change."""

    def run(invocation: Invocation, args: argparse.Namespace) -> int:
        with editing(invocation.file, invocation.root) as edit:
            try:
                change = change_of(edit, args)
                confirm(change.to_come, yes=args.yes)
            except ConfigError as error:
                raise ConfigError(*error.problems, "nothing was changed") from error
            for fault in change.missing:
                print(f"warning: {fault}", file=sys.stderr)
            said = False
            for line in (*change.to_come.lines, *change.carry_out()):
                said = True
                invocation.say(line)
            if not said:
                invocation.say("nothing to change")
        return EXIT_OK

    return run
