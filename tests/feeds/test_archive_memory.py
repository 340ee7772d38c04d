"""An hour of 330 MB from two machines: memory does not grow with it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aggregator.stores.store import Store
from tests.feeds.bundles import HOUR
from tests.feeds.machines import PROJECT
from tests.feeds.stepping import publish

MEMBERS = 300
MEMBER_BYTES = 1_100_000


def lay_down(root: Path, first: int) -> None:
    """Write a large hour whose members share most of their bytes, as captures do."""
    common = random.Random(1).randbytes(MEMBER_BYTES)
    for number in range(first, first + MEMBERS):
        fresh = random.Random(number).randbytes(50_000)
        publish(root, HOUR + number, fresh + common[len(fresh) :])


def measured(root: Path, options: dict[str, Any]) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.feeds.measuring", str(root), json.dumps(options)]
    told: dict[str, int] = json.loads(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout)
    shutil.rmtree(root)
    return told


@pytest.mark.parametrize("kind", ["directory", "moto"])
def test_compressing_and_uniting_a_large_hour_takes_little_memory(
    tmp_path: Path, options: dict[str, Any], store: Store
) -> None:
    lay_down(tmp_path / "a", 0)
    first = measured(tmp_path / "a", options)
    lay_down(tmp_path / "b", MEMBERS // 2)
    second = measured(tmp_path / "b", options)

    [info] = store.list()
    assert info.size > MEMBERS * 50_000
    assert max(first["compress_kb"], second["compress_kb"]) < 64 * 1024, (first, second)
    assert max(first["archive_kb"], second["archive_kb"]) < 96 * 1024, (first, second)
