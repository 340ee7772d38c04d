"""Classes of stages that do not fit the contract, above all those that were ported halfway from the one before."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aggregator import registry
from aggregator.config import stageclass
from aggregator.config.traits import Traits
from aggregator.runtime.contract import Cursor, Send, Settled, Source, Stage
from aggregator.runtime.message import Message
from tests import samplestages
from tests.config.faults import FEEDER, REDIS, problems
from tests.runtime import stages

YIELD = "settle returns a mapping: it yields outcomes, `yield Cursor(name, value)` for each position"


def faults(**attributes: Any) -> list[str]:
    """Return what is wrong with a stage whose class has these attributes."""
    return list(stageclass.faults_of(type("Mine", (Stage,), attributes), registry.CONTRACT))


@pytest.mark.parametrize(
    ("flag", "value", "written"),
    [
        ("exclusive", True, "exclusive=True"),
        ("tables", ("feed_",), "tables=('feed',)"),
        ("writes", ("logfile",), "writes=('logfile',)"),
        ("reads", ("logfile",), "reads=('logfile',)"),
        ("tells_of_files", True, "names_files=True"),
        ("alone_from", 5, "alone_from=5"),
        ("circulates", True, "feeds_itself=True"),
    ],
)
def test_a_flag_of_the_former_contract_is_refused_with_what_to_write(flag: str, value: Any, written: str) -> None:
    assert faults(**{flag: value}) == [f"{flag} is no attribute of its own any more: write traits = Traits({written})"]


def test_a_method_that_is_called_like_a_former_flag_is_no_flag() -> None:
    assert faults(reads=lambda self: 1, tables=property(lambda self: 1)) == []


def test_traits_that_are_none_are_refused() -> None:
    assert faults(traits={"exclusive": True}) == [
        "traits is no Traits(...) of aggregator.config.traits (found \"{'exclusive': True}\")"
    ]


class WithoutNow(Stage):
    def settle(self) -> Iterator[Settled]:  # type: ignore[override]
        yield Cursor("a", "1")


class WithoutHistory(Stage):
    def died(self, message: Message) -> Iterator[Send]:  # type: ignore[override]
        return iter(())


class WithoutConfig(Stage):
    @classmethod
    def check(cls, settings: Any) -> Iterator[tuple[str | None, str]]:  # type: ignore[override]
        return iter(())


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (WithoutNow, "settle(self) is called as settle(self, now): give it these parameters"),
        (WithoutHistory, "died(self, message) is called as died(self, message, history): give it these parameters"),
        (WithoutConfig, "check(settings) is called as check(settings, config): give it these parameters"),
    ],
)
def test_a_method_that_cannot_be_called_as_it_will_be_is_refused(stage: type[Stage], told: str) -> None:
    assert list(stageclass.faults_of(stage, registry.CONTRACT)) == [told]


class Annotated(Stage):
    def settle(self, now: float) -> Mapping[str, str]:  # type: ignore[override]
        found = {"a": "1"}
        return found


class Literal(Stage):
    def settle(self, now):  # type: ignore[no-untyped-def]
        return {"a": "1"}


class Called(Stage):
    def settle(self, now):  # type: ignore[no-untyped-def]
        return dict(a="1")  # noqa: C408 - how it may be written


@pytest.mark.parametrize("stage", [Annotated, Literal, Called])
def test_a_settle_that_returns_a_mapping_is_refused(stage: type[Stage]) -> None:
    assert list(stageclass.faults_of(stage, registry.CONTRACT)) == [YIELD]


class Wider(Stage):
    def settle(self, now: float, *, also: int = 1) -> Iterator[Settled]:
        return iter(())

    def handle(self, *arguments: Any) -> Iterator[Send]:
        return iter(())

    @staticmethod
    def idle(now: float) -> Iterator[Settled]:  # type: ignore[override]
        return iter(())


SOUND = [
    stage
    for module in (samplestages, stages)
    for stage in vars(module).values()
    if isinstance(stage, type) and issubclass(stage, Stage | Source) and stage.__module__ == module.__name__
]


@pytest.mark.parametrize("stage", [Wider, *SOUND, *(registry.load_stage(name, None) for name in registry.BUILTIN)])
def test_a_stage_that_fits_is_taken(stage: type[Stage]) -> None:
    assert list(stageclass.faults_of(stage, registry.CONTRACT)) == []


def test_a_stage_that_was_ported_halfway_is_refused_in_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "ported_halfway.py").write_text(
        "from aggregator.runtime.contract import Stage\n"
        "class Mine(Stage):\n    exclusive = True\n    def settle(self):\n        return {}\n"
    )

    assert problems(REDIS + FEEDER + "[worker_a]\nstage = ported_halfway:Mine\nlistento = a\n", tmp_path) == (
        ":7 [worker_a] stage: ported_halfway:Mine does not fit: exclusive is no attribute of its own any more: write "
        "traits = Traits(exclusive=True); settle(self) is called as settle(self, now): give it these parameters; "
        f"{YIELD} (docs/extending.md)",
    )


def test_what_fits_is_taken_as_traits() -> None:
    assert faults(traits=Traits(exclusive=True)) == []
