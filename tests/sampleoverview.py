"""An overview of somebody else's stage, as an installed package has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aggregator.config.configuration import Config
from aggregator.monitor.finding import Finding
from aggregator.monitor.overviews import Line


class ShelfOverview:
    """Shelves: one for each section of the stage."""

    name = "shelves"

    def amount(self, config: Config) -> str:
        return "a shelf"

    def look(self, config: Config, client: Any, keys: Any, now: float) -> list[str]:
        return [section for section, program in config.programs.items() if "Shelver" in (program.stage_name or "")]

    def lines(self, rows: Sequence[str]) -> Iterator[Line]:
        yield Line(f"{len(rows)} shelves, all of them empty")

    def as_json(self, row: str) -> dict[str, Any]:
        return {"shelf": row, "books": 0}

    def findings(self, config: Config, rows: Sequence[str], now: float) -> Iterator[Finding]:
        yield from (Finding("shelf_empty", "error", row, "nothing stands on it", None, "Buy books.") for row in rows)

    def idle(self, config: Config, enabled: Callable[[str], bool]) -> Iterator[Finding]:
        return iter(())


OVERVIEW = ShelfOverview()
