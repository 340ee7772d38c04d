"""docs/architecture.md says where what is: a module that is not in its tables is not found by a newcomer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs/architecture.md").read_text()


def tabled(room: str) -> set[str]:
    """Return the modules that the table of a room names."""
    table = PAGE.partition(f"### `{room}/`")[2].partition("\n#")[0]
    return set(re.findall(r"`(\w+\.py)`", "\n".join(line for line in table.splitlines() if line.startswith("|"))))


@pytest.mark.parametrize("room", ["config", "monitor", "runtime", "stores", "streams/rules", "supervision"])
def test_the_table_of_a_room_names_each_of_its_modules(room: str) -> None:
    assert tabled(room) == {path.name for path in (PROJECT / "aggregator" / room).glob("[!_]*.py")}
