"""Call what a worker calls around a commit."""

from __future__ import annotations

from typing import Any

from aggregator.runtime.contract import Cursor


def settled(stage: Any) -> dict[str, str | None]:
    """Have a stage make its effects durable. Returns the cursors that are to be committed."""
    outcomes = list(stage.settle(stage.context.clock()))
    assert all(isinstance(outcome, Cursor) for outcome in outcomes)
    return {outcome.name: outcome.value for outcome in outcomes}
