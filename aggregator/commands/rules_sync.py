"""`rules sync`: have X collect by the rules of a set."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import Any

from aggregator import __version__
from aggregator.commands import screen
from aggregator.commands.invocation import Failed, Invocation
from aggregator.commands.rules_options import read_set, rules_redis
from aggregator.config.hints import counted
from aggregator.config.settings import parse_web_url
from aggregator.errors import EXIT_CHECK_FAILED, EXIT_OK, ConfigError
from aggregator.http.client import Client
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.platforms.xrules import RulesAtX
from aggregator.streams.rules.stored import owner_of, read_rules
from aggregator.streams.rules.syncing import Done, Report, XRules
from aggregator.streams.rules.turns import HELD_S, Busy, Turn, turn


def declare_sync(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rules sync`."""
    parser.add_argument("set", metavar="SET", type=read_set, help="a set of type x, such as x:0")
    parser.add_argument(
        "--credential", metavar="NAME", required=True, help="the section [credential_NAME] whose project it is"
    )
    parser.add_argument("--url", metavar="URL", type=_url, help="where X's endpoints are (default: its own address)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done; X checks the new rules")


def _url(text: str) -> str:
    try:
        return str(parse_web_url(text))
    except ValueError:
        raise argparse.ArgumentTypeError("needs an address that starts with http:// or https://") from None


def run_sync(invocation: Invocation, args: argparse.Namespace) -> int:
    """Sync a set; exit with 1 when X does not have exactly its rules afterwards."""
    if args.set.type != "x":
        raise ConfigError(f"rules sync: only sets of type x have rules that X keeps (found {args.set})")
    config = invocation.config(imports=False)
    credential = config.table("credential").entry(args.credential)
    client = Client(f"Aggregator/{__version__}")
    try:
        with rules_redis(config) as redis, turn(redis, args.set) as ours:
            stored = read_rules(redis, args.set)
            url = args.url or PLATFORMS["x_v2"].url
            at_x = RulesAtX(client, url, credential, proceed=ours.keep, wait=partial(_wait, ours))
            rules = XRules(at_x, owner_of(redis, config.rules), args.set, config.rules.x_rule_length)
            report = rules.preview(stored.rules) if args.dry_run else rules.sync(stored.rules)
    except Busy as error:
        raise Failed(f"{error}; run it again in a moment") from error
    finally:
        client.close()
    if args.json:
        screen.print_json(_facts(args, report, stored.faults))
    else:
        _tell(invocation, args, report)
    for fault in stored.faults:
        print(screen.printable(f"left out: {fault}"), file=sys.stderr)
    for out in report.left_out:
        print(screen.printable(f"left out: rule {out.rule_id} ({_short(out.value)}): {out.why}"), file=sys.stderr)
    if report.failure is not None:
        raise Failed(screen.printable(f"X did not do all of it: {report.failure}; run it again, it goes on from there"))
    return EXIT_OK if report.is_whole and not stored.faults else EXIT_CHECK_FAILED


def _wait(ours: Turn, seconds: float) -> None:
    """Wait until X takes requests again, and say so: it may take a quarter of an hour."""
    ours.keep(HELD_S + seconds)
    print(f"X takes no more requests for now; goes on in {seconds:.0f} s", file=sys.stderr)
    time.sleep(seconds)


def _tell(invocation: Invocation, args: argparse.Namespace, report: Report) -> None:
    would = "would be " if args.dry_run else ""
    for sign, rules in (("+", report.added), ("-", report.removed)):
        for rule in rules:
            invocation.say(screen.printable(f"{sign} {rule.rule_id}  {_short(rule.value)}"))
    added, removed = (counted(len(rules), "rule") for rules in (report.added, report.removed))
    invocation.say(f"{args.set}: {added} {would}added, {removed} {would}removed, {report.kept:,} there already")
    if report.others:
        invocation.say(f"{counted(report.others, 'other rule')} of the project left alone")


def _short(value: str) -> str:
    return screen.one_line(value, 100)


def _facts(args: argparse.Namespace, report: Report, faults: tuple[str, ...]) -> dict[str, Any]:
    failure = report.failure
    return {
        "set": str(args.set),
        "dry_run": args.dry_run,
        "kept": report.kept,
        "added": _listed(report.added),
        "removed": _listed(report.removed),
        "left_out": [out._asdict() for out in report.left_out],
        "faults": list(faults),
        "others": report.others,
        "failure": failure and {"kind": failure.kind, "words": str(failure), "again_in_s": failure.told_s},
    }


def _listed(rules: list[Done]) -> list[dict[str, str]]:
    return [rule._asdict() for rule in rules]
