"""What `status` and `health` show of the things that a stage works on, as the stage declares it."""

from __future__ import annotations

from pathlib import Path

from aggregator.monitor.overviews import overviews_of
from tests.commands.conftest import Site

SHELF = "[worker_shelf]\nstage = tests.samplestages:Shelver\nlistento = books\nfanout = kept\n"
OWN = """
from tests.samplestages import Shelver
class Mine(Shelver):
    overview = "plugins.shelves:OVERVIEW"
"""


def test_the_overview_of_a_users_own_stage_is_shown_once_it_was_built(site: Site) -> None:
    site.configure(SHELF)
    site.build()

    status, health = site.run("status"), site.run("health")

    assert "1 shelves, all of them empty" in status.lines
    assert site.run("status", "--json").json()["shelves"] == [{"shelf": "worker_shelf", "books": 0}]
    assert "error: worker_shelf: nothing stands on it" in health.lines


def test_a_stage_that_two_sections_run_is_shown_once(site: Site) -> None:
    site.configure(SHELF + SHELF.replace("_shelf", "_rack").replace("books", "papers"))

    assert [overview.name for overview in overviews_of(site.config())] == ["feeds", "streams", "shelves"]


def test_an_overview_in_the_instance_itself_is_not_imported_and_the_check_says_so(site: Site) -> None:
    (site.root / "plugins").mkdir()
    (site.root / "plugins/shelves.py").write_text(OWN)
    site.configure(SHELF.replace("tests.samplestages:Shelver", "plugins.shelves:Mine"))

    config = site.config()

    assert [overview.name for overview in overviews_of(config)] == ["feeds", "streams"]
    assert "do not show its overview plugins.shelves:OVERVIEW; put it into an installed package" in config.warnings[0]


def test_a_checkout_of_this_program_is_an_instance_as_others_are(site: Site, tmp_path: Path) -> None:
    (site.root / "aggregator").mkdir()

    assert [overview.name for overview in overviews_of(site.config())] == ["feeds", "streams"]
