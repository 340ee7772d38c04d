"""`init`: make a new instance. `run`: collect in the foreground. `enable`, `disable`: switch programs on and off."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from importlib.resources import files
from pathlib import Path

from aggregator import __version__
from aggregator.commands.generator import confirm
from aggregator.commands.graph import describe
from aggregator.commands.invocation import Failed, Invocation
from aggregator.config import safepath
from aggregator.config.configuration import Config
from aggregator.config.hints import counted
from aggregator.config.instance import Instance, shown
from aggregator.config.programs import Program
from aggregator.errors import EXIT_OK, ConfigError
from aggregator.monitor.overviews import overview_of
from aggregator.supervision import Control, build, disable, enable
from aggregator.supervision.consequences import consequences
from aggregator.supervision.launchers import launcher

_FOLDERS = ("workers_available", "workers_enabled", "plugins", "data", "logs", "run")


def add_init(parser: argparse.ArgumentParser) -> None:
    """Declare `init [DIR]`."""
    parser.add_argument("dir", metavar="DIR", nargs="?", help="the folder (default: that of -r)")
    parser.set_defaults(run=_init)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare `run [--yes]`."""
    parser.add_argument("-y", "--yes", action="store_true", help="go on where the build would ask")
    parser.set_defaults(run=_run)


def add_enable(parser: argparse.ArgumentParser) -> None:
    """Declare `enable NAME...`."""
    parser.add_argument("name", metavar="NAME", nargs="+", help="a section of loglines.cfg")
    parser.set_defaults(run=lambda invocation, args: _switch(invocation, args.name, enable))


def add_disable(parser: argparse.ArgumentParser) -> None:
    """Declare `disable NAME...`."""
    parser.add_argument("name", metavar="NAME", nargs="+", help="a section of loglines.cfg")
    parser.set_defaults(run=lambda invocation, args: _switch(invocation, args.name, disable))


def _init(invocation: Invocation, args: argparse.Namespace) -> int:
    root = Path(os.path.realpath(args.dir)) if args.dir else invocation.root
    instance, file = Instance(root), root / "loglines.cfg"
    if words := instance.unreadable():
        raise ConfigError(f"{words}; choose another")
    for path in (file, instance.password, instance.launcher):
        if os.path.lexists(path):
            raise Failed(f"{path} is there already; nothing was changed")
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "plugins" / "__init__.py").touch()
    # the first build writes the launcher again; it is made here so that the commands printed below work at once
    _create(instance.launcher, launcher(), 0o755)
    _create(instance.password, f"{secrets.token_urlsafe(12)}\n", 0o600)
    # order: loglines.cfg last, because its presence says that the instance is complete
    _create(file, files("aggregator.commands").joinpath("loglines.cfg").read_text(encoding="utf-8"), 0o644)
    invocation.say(f"made an instance in {root}")
    invocation.say(f"  1. say what to collect:  {file}")
    command = instance.command()
    invocation.say(f"  2. see that it is right: {command} config check")
    invocation.say(f"  3. start:                {command} run")
    return EXIT_OK


def _create(path: Path, text: str, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(handle, "w", encoding="utf-8") as stream:
        stream.write(text)


def _run(invocation: Invocation, args: argparse.Namespace) -> int:
    config = invocation.config()
    if Control(config.instance.supervisor_socket).running():
        raise Failed(f"{config.root} runs already; {_launcher(config)} status shows it")
    _check_port(config)
    to_come = consequences(config)
    confirm(to_come, yes=args.yes)
    made = build(config)
    for line in (*to_come.lines, *(f"confirmed by --yes: {question}" for question in to_come.questions if args.yes)):
        invocation.say(line)
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if made.changes:
        invocation.say(f"built the configuration: {counted(len(made.actions), 'change')} below {config.root}")
    for line in greeting(config):
        invocation.say(line)
    sys.stdout.flush()
    conf = str(config.instance.supervisord_conf)
    os.execv(sys.executable, safepath.python(safepath.SUPERVISORD, "-n", "-c", conf))


def _check_port(config: Config) -> None:
    """Raise Failed when the port is in use: supervisord itself would speak of a bad configuration."""
    host, port = config.supervisor.port
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot listen on {config.supervisor.port} for the web pages: {error.strerror}"
            raise Failed(
                f"{reason}; change port in [supervisor] of {config.file}, or end what listens there"
            ) from error


def greeting(config: Config) -> Iterator[str]:
    """Yield the lines for a user who has just started an instance: addresses, sources, results, further commands."""
    instance, supervisor = config.instance, config.supervisor
    secret = f"in {shown(instance.password)}" if supervisor.password is None else f"of [supervisor] in {config.file}"
    linked = [p for p in config.programs.values() if os.path.lexists(instance.enabled / f"{p.section}.conf")]
    sources = [_collects(config, p) for p in linked if p.is_source or p.traits.feeds_itself]
    results = [f"{p.section}: {describe(p)}" for p in linked if p.kind == "stage" and not p.is_source and _leads_out(p)]
    run = _launcher(config)
    host = supervisor.port.host or "127.0.0.1"
    yield ""
    yield f"aggregator {__version__} in {config.root}"
    yield ""
    yield from _item("web pages", [f"http://{f'[{host}]' if ':' in host else host}:{supervisor.port.port}/"])
    yield from _item("", [f"user {supervisor.username}, password {secret}"])
    yield from _item("collecting", sources or ["nothing yet: no section brings messages in"])
    yield from _item("results", results or ["nowhere yet"])
    yield from _item("look", [f"{run} status", f"{run} ledger", f"{run} health"])
    yield from _item("stop", ["Ctrl-C"])
    yield ""


def _collects(config: Config, program: Program) -> str:
    """Describe what a section collects; a section whose messages circulate names the amount from its overview."""
    overview = overview_of(config, program) if program.traits.feeds_itself else None
    what = f" {overview.amount(config)}" if overview is not None else ""
    return f"{program.section}: {describe(program)}{what}"


def _leads_out(program: Program) -> bool:
    """True for a stage whose results leave the pipeline."""
    return not program.feeds or any(hasattr(program.settings, option) for option in ("logfile", "endpoint_url"))


def _item(name: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"  {name if not number else '':12}{line}"


def _launcher(config: Config) -> str:
    """Return the command that calls this instance; it needs no -r and no activated environment."""
    path = shown(config.instance.launcher)
    return shlex.quote(path if "/" in path else f"./{path}")


def _switch(
    invocation: Invocation, names: list[str], switch: Callable[[Config, Collection[str]], Iterator[str]]
) -> int:
    changed = False
    for line in switch(invocation.config(reading=True), names):
        changed = True
        invocation.say(line)
    if not changed:
        invocation.say("nothing to change")
    return EXIT_OK
