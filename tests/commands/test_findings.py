"""What `health` makes of outages, of stages' reports, and of pipelines that collect nothing."""

from __future__ import annotations

import ast
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aggregator.runtime.outages import Kind, Outage
from aggregator.runtime.reports import Told
from tests.commands.conftest import PROJECT, Site
from tests.commands.test_feeds import FEEDS
from tests.commands.test_health import by_hand, told
from tests.runtime.desk import bodies

PACKAGE = PROJECT / "aggregator"


def codes(site: Site, *left_out: str) -> dict[str, str]:
    """Return the level of each finding by its code; that the instance is not built and does not run is left out."""
    ignored = {"files_not_built", "supervisord_away", *left_out}
    return {finding["code"]: finding["level"] for finding in told(site) if finding["code"] not in ignored}


def one(site: Site, code: str) -> dict[str, Any]:
    """Return the one finding of a code."""
    (found,) = [finding for finding in told(site) if finding["code"] == code]
    return found


def outage(kind: Kind, age_s: float, reason: str = "the tracker is away", queue: str = "") -> dict[str, str | int]:
    """Return how a worker says that it cannot go on."""
    known = Outage(kind=kind, since=time.time() - age_s, reason=reason, queue=queue)
    return {f"outage:{kind}": msgspec.json.encode(known).decode()}


def report(code: str, about: str = "", **more: Any) -> dict[str, str | int]:
    """Return how a worker reports something."""
    facts = {"text": "so it is", "do": "mend it", "level": "warning", "since": time.time() - 20, **more}
    made = Told(code=code, about=about, owner="node:logger_feed", **facts)
    return {f"report:{code}:{about}": msgspec.json.encode(made).decode()}


# --- outages ---


@pytest.mark.usefixtures("long_lease")
@pytest.mark.parametrize(
    ("kind", "age_s", "code", "level"),
    [
        ("away", 1, "outage", "warning"),
        ("away", 290, "outage", "warning"),
        ("away", 301, "outage", "error"),
        ("redis", 301, "outage", "error"),
        ("full", 30, "held_back", "warning"),
        ("full", 301, "held_back", "error"),
        ("redis_full", 30, "redis_full", "warning"),
        ("redis_full", 61, "redis_full", "error"),
    ],
)
def test_an_outage_is_a_warning_at_once_and_an_error_once_it_has_lasted(
    site: Site, kind: Kind, age_s: float, code: str, level: str
) -> None:
    by_hand(site, "logger_feed", state="idle", **outage(kind, age_s))

    found = one(site, code)

    assert (found["level"], found["about"]) == (level, "logger_feed_0")
    assert found["since"] == pytest.approx(time.time() - age_s, abs=30)


@pytest.mark.usefixtures("long_lease")
def test_how_long_an_outage_may_last_is_configured(site: Site) -> None:
    site.head += "outage_after = 10s\n"
    site.configure("[logger_feed]\nstage = tests.samplestages:Feeder\npushto = lines\n")
    by_hand(site, "logger_feed", **outage("away", 11))

    assert one(site, "outage")["level"] == "error"


@pytest.mark.usefixtures("long_lease")
def test_a_queue_is_full_for_moments_all_the_time(site: Site) -> None:
    by_hand(site, "logger_feed", state="held back", **outage("full", 2))

    assert "held_back" not in codes(site)


@pytest.mark.usefixtures("long_lease")
def test_of_a_line_that_stands_the_cause_is_an_error_and_so_is_the_source_but_not_what_lies_between(site: Site) -> None:
    by_hand(site, "logger_feed", state="held back", **outage("full", 400, queue="lines"))
    by_hand(site, "worker_copy", "lines", state="held back", **outage("full", 400, queue="kept"))
    by_hand(site, "worker_keep", "kept", state="paused", **outage("away", 400))

    found = {finding["about"]: (finding["code"], finding["level"]) for finding in told(site)}

    assert found["logger_feed_0"] == ("held_back", "error")
    assert found["worker_copy_0"] == ("held_back", "warning")
    assert found["worker_keep_0"] == ("outage", "error")


@pytest.mark.usefixtures("long_lease")
def test_a_worker_whose_messages_a_sibling_has_delivered_has_no_outage(site: Site) -> None:
    by_hand(site, "worker_keep", "kept", state="idle", **outage("away", 400))
    nothing_waits = codes(site)
    site.desk.push("kept", *bodies(1))

    assert "outage" not in nothing_waits
    assert codes(site)["outage"] == "error"


@pytest.mark.usefixtures("long_lease")
def test_a_worker_of_an_older_version_tells_its_state_only(site: Site) -> None:
    by_hand(site, "logger_feed", state="waiting", reason="the disk is full", since=f"{time.time() - 400:.3f}")

    found = one(site, "outage")

    assert (found["level"], found["text"]) == ("error", "cannot go on: the disk is full")


@pytest.mark.usefixtures("long_lease")
def test_status_shows_for_how_long_an_outage_has_lasted_whatever_the_worker_tries_now(site: Site) -> None:
    by_hand(site, "logger_feed", state="busy", since=f"{time.time():.3f}", **outage("away", 75))

    (line,) = [line for line in site.run("status").lines if line.startswith("logger_feed")]

    assert "for 1 min 1" in line
    assert line.endswith(": the tracker is away")


# --- what stages report ---


@pytest.mark.usefixtures("long_lease")
def test_what_a_living_worker_reports_is_shown_and_cannot_move_the_cursor(site: Site) -> None:
    by_hand(site, "logger_feed", **report("follows_nothing", "a\x1b[2J*.log", text="no file\x1b[2J matches"))

    found = one(site, "follows_nothing")
    ran = site.run("health")

    assert (found["about"], found["do"]) == ("a\x1b[2J*.log", "Mend it.")
    assert "\x1b" not in ran.out
    assert "warning: a\\x1b[2J*.log: no file\\x1b[2J matches" in ran.lines
    assert any(re.match(r"  follows_nothing since \d{4}-.* UTC, for .*\. Mend it\.$", line) for line in ran.lines)


@pytest.mark.usefixtures("long_lease")
def test_json_cannot_move_the_cursor_either(site: Site) -> None:
    by_hand(site, "logger_feed", state="paused", reason="csi \x9b2J del \x7f esc \x1b[2J", since="1")

    ran = site.run("health", "--json")

    assert all(c.isprintable() or c == "\n" for c in ran.out)
    assert "csi \x9b2J del \x7f esc \x1b[2J" in one(site, "outage")["text"]


@pytest.mark.usefixtures("long_lease")
def test_a_report_that_tells_of_an_outage_becomes_an_error_and_stands_for_the_pause_it_causes(site: Site) -> None:
    tells = report("tracker_away", since=time.time() - 301)
    by_hand(site, "logger_feed", state="paused", **outage("away", 100), **tells)

    found = codes(site)

    assert found == {"tracker_away": "error"}


@pytest.mark.usefixtures("long_lease")
@pytest.mark.parametrize(("age_s", "level"), [(10, "warning"), (301, "error")])
def test_a_log_that_cannot_be_read_for_long_is_an_error(site: Site, age_s: int, level: str) -> None:
    by_hand(site, "logger_feed", **report("unreadable", "access.log", since=time.time() - age_s))

    assert one(site, "unreadable")["level"] == level


def test_what_a_worker_reported_goes_with_it(site: Site) -> None:
    worker = by_hand(site, "logger_feed", **report("follows_nothing", "log"))

    worker.leave()

    assert "follows_nothing" not in codes(site)


def test_a_loss_stays_until_it_is_acknowledged(site: Site) -> None:
    for name in ("a.log", "b: c.log"):
        ((_, text),) = report("vanished", name).items()
        site.desk.client.hset(site.desk.keys.findings, f"vanished:node:logger_feed:{name}", text)

    shown = [finding["do"] for finding in told(site) if finding["code"] == "vanished"]
    wrong = site.run("health", "--acknowledge", "vanished:c.log")
    right = site.run("health", "--acknowledge", "vanished:b: c.log")
    left = [finding["about"] for finding in told(site) if finding["code"] == "vanished"]
    rest = site.run("health", "--acknowledge", "vanished")

    assert shown[1] == "Mend it. Then: `run/aggregator health --acknowledge 'vanished:b: c.log'`."
    assert (wrong.code, wrong.err[:54]) == (1, "aggregator: nothing to acknowledge under 'vanished:c.l")
    assert (right.code, right.out, left) == (0, "acknowledged: 1\n", ["a.log"])
    assert rest.out == "acknowledged: 1\n"
    assert "vanished" not in codes(site)


# --- what collects nothing ---

READER = "[worker_copy]\nstage = tests.samplestages:Keeper\nlistento = lines\nlogfile = data/kept.log\n"


def test_an_instance_without_a_source_says_what_to_do(site: Site) -> None:
    site.configure("[process_x]\ncommand = sleep 1\n")

    ran = site.run("config", "check")

    found = one(site, "collects_nothing")
    assert (found["level"], found["text"]) == ("error", "nothing is collected: no section brings messages in")
    assert "stage = tail" in found["do"]
    assert "instance: nothing is collected" in ran.err


def test_an_instance_whose_source_is_disabled_says_how_to_enable_it(site: Site) -> None:
    site.configure("[logger_feed]\nenabled = no\nstage = tests.samplestages:Feeder\npushto = lines\n" + READER)
    site.run("config", "build")

    found = one(site, "collects_nothing")

    assert "logger_feed is not enabled" in found["text"]
    assert "`run/aggregator enable logger_feed`" in found["do"]
    assert "logger_feed is not enabled" in site.run("config", "check").err


def test_an_instance_that_others_push_to_collects_once_something_came(site: Site) -> None:
    site.configure(READER)
    site.run("config", "build")
    before = codes(site)

    site.desk.push("lines", *bodies(1))

    assert before == {"collects_nothing": "error"}
    assert "collects_nothing" not in codes(site)
    assert "nothing is collected" not in site.run("config", "check").err


def test_feeds_that_no_section_downloads(site: Site) -> None:
    text = FEEDS.partition("[worker_download]")[0] + "[worker_filter]" + FEEDS.partition("[worker_filter]")[2]
    site.configure(text)
    site.run("config", "build")

    found = one(site, "feeds_not_downloaded")

    assert found["level"] == "error"
    assert found["text"] == "2 feeds are configured, and no section downloads them"
    assert found["text"] in site.run("config", "check").err
    assert any("2 feeds are configured" in line for line in site.run("config", "check", "--json").json()["warnings"])


def test_feeds_whose_download_is_disabled(site: Site) -> None:
    site.configure(FEEDS)
    site.run("config", "build")
    fine = codes(site), site.run("config", "check").err

    site.run("disable", "worker_download")

    assert fine == ({}, "")
    assert one(site, "feeds_not_downloaded")["text"] == "2 feeds are configured, and worker_download is not enabled"
    assert "worker_download is not enabled" in site.run("config", "check").err


def test_a_download_without_feeds(site: Site) -> None:
    site.configure("[worker_download]\nstage = download\npushto = fetched@node\n")
    site.run("config", "build")

    assert one(site, "download_without_feeds")["level"] == "error"
    assert "worker_download: downloads nothing" in site.run("config", "check").err


def test_bundles_that_nobody_archives(site: Site) -> None:
    site.configure(FEEDS.partition("[worker_archive]")[0])
    site.run("config", "build")

    found = one(site, "queue_unread")
    site.desk.push("bundled@node", *bodies(1))
    site.desk.client.sadd(site.desk.keys.queues, "bundled@node")

    assert (found["level"], found["about"]) == ("warning", "bundled@node")
    assert codes(site) == {"messages_wait": "error"}


@pytest.mark.usefixtures("long_lease")
def test_a_living_worker_of_our_name_in_another_folder_is_shown_as_another(site: Site, tmp_path: Path) -> None:
    by_hand(site, "logger_feed", root="/another/folder")

    lines = site.run("status").lines

    assert any(line.startswith("node:logger_feed_0") and "elsewhere" in line for line in lines)


# --- the codes ---


def used_codes() -> set[str]:
    """Return the code of every finding and report that the package makes; each is written out where it is made."""
    found = set()
    for module in PACKAGE.rglob("*.py"):
        tree = ast.parse(module.read_text())
        words = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (code := _code_in(node)) is not None:
                word = code.value if isinstance(code, ast.Constant) else words.get(ast.unparse(code))
                # what stages reported is read back in these two
                assert word or module.parent.name in ("runtime", "monitor"), f"{module}:{node.lineno}: write it out"
                found.add(word)
    return {str(word) for word in found if word}


def _code_in(call: ast.Call) -> ast.expr | None:
    """Return what a call that makes a finding or a report gives as its code; None of any other call."""
    made = ast.unparse(call.func).rpartition(".")[2]
    if made == "Finding" or re.search(r"(context|writer)\.report$", ast.unparse(call.func)):
        return call.args[0]
    return next((given.value for given in call.keywords if made in ("Told", "Report") and given.arg == "code"), None)


def test_every_code_is_in_the_documentation_and_no_other() -> None:
    page = (PROJECT / "docs" / "operations.md").read_text()
    table = page.partition("## What `health` finds")[2].partition("\n## ")[0]

    documented = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))

    assert documented == used_codes()
