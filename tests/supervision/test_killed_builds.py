"""A build that was killed is finished by the next, which leaves nothing of it behind."""

from __future__ import annotations

from pathlib import Path

from aggregator.supervision import carry_out, plan
from tests.supervision.building import TWO, build_from, configure, snapshot


def test_a_build_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    planned = plan(configure(tmp_path, TWO))
    whole = tmp_path / "whole"
    whole.mkdir()
    build_from(whole, TWO)

    for done in range(len(planned.actions)):
        root = tmp_path / f"after-{done}"
        root.mkdir()
        made = plan(configure(root, TWO))
        carry_out(made.actions[:done])
        build_from(root, TWO)
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        assert found == sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))


def test_half_a_file_of_a_killed_build_goes_with_the_next(tmp_path: Path) -> None:
    build_from(tmp_path, TWO)
    before = snapshot(tmp_path)
    folders = {"": "supervisord.conf", "run": "password", "workers_available": "a.conf", "workers_enabled": "a.conf"}
    for folder, name in folders.items():
        (tmp_path / folder / f".{name}.4194304.part").write_text("half")
    (tmp_path / ".mine.1.part").write_text("not of a build")

    assert build_from(tmp_path, TWO) == ()

    assert snapshot(tmp_path).keys() == {*before, ".mine.1.part"}
