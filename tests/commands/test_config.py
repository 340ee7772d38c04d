"""`aggregator config check|build|reference`."""

from __future__ import annotations

from pathlib import Path

from aggregator import registry
from aggregator.commands.reference import as_markdown, chapters
from aggregator.config.parsing import options_of
from aggregator.config.sections import AggregatorSettings, ProgramSettings, RedisSettings, SupervisorSettings
from tests.commands.conftest import PROJECT, Site


def test_check_says_that_all_is_fine_and_changes_nothing(site: Site) -> None:
    ran = site.run("config", "check")

    assert (ran.code, ran.out) == (0, f"{site.root}/loglines.cfg: fine; 5 programs, 4 queues\n")
    assert [path.name for path in site.root.iterdir()] == ["loglines.cfg"]


def test_check_shows_warnings(site: Site) -> None:
    site.configure("[worker_keep]\nstage = tests.samplestages:Keeper\nlistento = kept\nlogfile = x\n")

    ran = site.run("config", "check")

    assert ran.code == 0
    assert ran.err.startswith("warning: ")
    assert "no section feeds the queue kept" in ran.err
    assert len(site.run("config", "check", "--json").json()["warnings"]) == 1


def test_check_lists_every_problem_on_a_line_and_exits_2(site: Site) -> None:
    site.configure("[worker_a]\nstage = brokr\n[wrker_b]\nx = 1\n")

    ran = site.run("config", "check")

    assert ran.code == 2
    assert len(ran.err.splitlines()) == 2
    found = site.run("config", "check", "--json")
    assert found.code == 2
    assert found.json()["problems"] == ran.err.splitlines()


def test_build_writes_the_files_and_a_second_one_nothing(site: Site) -> None:
    stale = site.run("config", "build", "--check")
    first = site.run("config", "build")
    second = site.run("config", "build", "--check")

    assert (stale.code, first.code, second.code) == (1, 0, 0)
    assert (site.root / "workers_enabled" / "worker_keep.conf").is_symlink()
    assert second.out == "nothing to change\n"


def test_build_can_only_tell(site: Site) -> None:
    ran = site.run("config", "build", "--dry-run")

    assert ran.code == 0
    assert any("worker_keep.conf" in line for line in ran.lines)
    assert [path.name for path in site.root.iterdir()] == ["loglines.cfg"]


def test_no_loglines_cfg_is_said_with_what_to_do(tmp_path: Path, site: Site) -> None:
    ran = site.run("-r", str(tmp_path / "nowhere"), "config", "check")

    assert ran.code == 2
    assert ran.err.startswith(f"no loglines.cfg in {tmp_path}/nowhere; ")


def test_the_reference_knows_every_option_there_is() -> None:
    settings = [SupervisorSettings, RedisSettings, AggregatorSettings, ProgramSettings]
    settings += [registry.load_stage(name, PROJECT).Settings for name in registry.stage_names()]  # type: ignore[attr-defined]

    text = "\n".join(as_markdown(chapters()))

    for declared in settings:
        for option in options_of(declared):
            assert f"| `{option.name}` |" in text, f"{declared.__qualname__} {option.name}"
            assert option.doc, f"{declared.__qualname__} {option.name} has no documentation"


def test_the_reference_page_is_up_to_date() -> None:
    page = (PROJECT / "docs" / "reference.md").read_text(encoding="utf-8")

    made = "\n".join(as_markdown(chapters())) + "\n"

    assert page == made, "run: aggregator config reference --markdown > docs/reference.md"


def test_the_reference_is_printed_as_text_and_as_json(site: Site) -> None:
    text = site.run("config", "reference")
    found = site.run("config", "reference", "--json").json()

    assert "  port = 127.0.0.1:9001" in text.lines
    assert "  fanout =  (required)" in text.lines or "  fanout =  (required)".replace("=  ", "= ") in text.lines
    assert [chapter["title"] for chapter in found][:2] == ["[supervisor]", "[redis]"]
