"""The examples of docs/extending.md are run as they stand there, so that they stay true."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import pytest
import simplejson

import plugins
from aggregator.config import settings, traits
from tests.commands.conftest import PROJECT, Site, site, tmp_path
from tests.servers import wait_until

__all__ = ["site", "tmp_path"]

PAGE = (PROJECT / "docs/extending.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: code
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for name in ("visits", "inbox")
    if f"class {name.capitalize()}(" in code
}
VISITS = "[worker_visits]\nstage = plugins.visits:Visits\nlistento = lines\nreport = visits.txt\npushto = visits\n"
INBOX = (
    "[logger_inbox]\nstage = plugins.inbox:Inbox\nfolder = inbox\nfiles = 3\neach = 2\npushto = taken\nnumprocs = 2\n"
)


@pytest.fixture(autouse=True)
def with_plugins(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the instance the examples as its plugins."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__])
    folder = site.root / "plugins"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, code in EXAMPLES.items():
        monkeypatch.delitem(sys.modules, f"plugins.{name}", raising=False)
        (folder / f"{name}.py").write_text(code)


@contextmanager
def at_work(site: Site, section: str, number: int = 0) -> Iterator[None]:
    """Run a worker; kill it at the end."""
    process = site.start("work", section, str(number))
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def line(service: str) -> bytes:
    return simplejson.dumps({"service": service, "logline": "x"}).encode()


def test_both_examples_are_found() -> None:
    assert sorted(EXAMPLES) == ["inbox", "visits"]


def test_visits_are_counted_written_and_sent_once_over_kills(site: Site) -> None:
    site.configure(VISITS + "quiet = 200ms\n")
    report = site.root / "visits.txt"
    site.desk.push("lines", line("a"), line("b"), line("a"), line(""))

    for expected in (["a 2", "b 1"], ["a 2", "a 2", "b 1", "b 1"]):
        with at_work(site, "worker_visits"):
            wait_until(lambda: report.exists() and sorted(report.read_text().split("\n"))[1:] == expected)  # noqa: B023
            wait_until(lambda: len(site.desk.waiting("visits")) == len(expected))  # noqa: B023
        site.desk.push("lines", line("a"), line("b"), line("a"))

    assert simplejson.loads(site.desk.waiting("visits")[0])["kind"] == "visit"
    assert len(site.dead("lines")) == 1 and site.desk.books("lines").balanced


def test_the_section_of_the_page_is_fine(site: Site) -> None:
    (section,) = (
        text for text in re.findall(r"^```ini\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "visits" in text
    )
    site.configure(section)

    assert site.run("config", "check").code == 0


def test_processes_divide_the_files_of_an_inbox(site: Site) -> None:
    site.configure(INBOX)
    (site.root / "inbox").mkdir()
    sent = [f'{{"file":{file},"n":{n}}}'.encode() for file in range(3) for n in range(20)]
    for file in range(3):
        (site.root / "inbox" / str(file)).write_bytes(
            b"".join(each + b"\n" for each in sent[20 * file : 20 * file + 20])
        )

    with ExitStack() as stack:
        stack.enter_context(at_work(site, "logger_inbox", 0))
        stack.enter_context(at_work(site, "logger_inbox", 1))
        wait_until(lambda: len(site.desk.waiting("taken")) == 60)

    assert sorted(site.desk.waiting("taken")) == sorted(sent)


def names_in(heading: str) -> set[str]:
    """Return the names in the first column of the table of a section."""
    rows = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0].splitlines()
    return set(re.findall(r"`(\w+)", " ".join(row.split("|")[1] for row in rows if row.startswith("|"))))


def test_every_field_of_traits_is_tabled() -> None:
    assert names_in("Traits") - {"field"} == {*traits.Traits._fields}


def test_every_type_of_options_is_listed() -> None:
    declared = {
        name
        for name, found in vars(settings).items()
        if any(isinstance(note, settings.OptionType) for note in getattr(found, "__metadata__", ()))
    }

    assert names_in("Types of options") - {"Annotated"} == declared
    assert msgspec.structs.fields(settings.Settings) == ()
