"""A new version of this program is something to build, although its number and the configuration are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.config import installation
from aggregator.config.builds import Builds
from aggregator.supervision import build, builtnotes, digests
from tests.supervision.building import PIPELINE, build_from, configure

TEXT = PIPELINE + "[process_x]\ncommand = sleep 9\n"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_from(tmp_path, TEXT)
    return tmp_path


def test_nothing_is_to_be_built_while_the_code_is_the_same(built: Path) -> None:
    assert not build(configure(built, TEXT), dry_run=True).changes


def test_changed_code_is_built_and_restarts_the_stages_only(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (builtnotes, digests):
        monkeypatch.setattr(module, "code_digest", lambda: "another")

    made = build(configure(built, TEXT), dry_run=True)

    assert made.build is not None
    before = Builds(configure(built, TEXT).instance).current()
    assert before is not None
    changed = {name for name, text in made.build.programs.items() if before.facts.programs[name] != text}
    assert changed == {"logger_in", "worker_ask"}


def test_every_module_and_script_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pkg/config").mkdir(parents=True)
    (tmp_path / "pkg/config/installation.py").write_text("")
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "pkg/config/installation.py"))
    seen = set()
    for name in ("a.py", "config/b.lua", "notes.txt"):
        (tmp_path / "pkg" / name).write_text("x")
        installation.code_digest.cache_clear()
        seen.add(installation.code_digest())
    installation.code_digest.cache_clear()

    assert len(seen) == 2
