"""Small stages for tests of the configuration: they declare options and do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from typing import Annotated

from aggregator.config.settings import Doc, Duration, FilePath, Module, TargetQueue, TargetQueues
from aggregator.config.traits import Traits
from aggregator.runtime.contract import ConsumerSettings, Outcome, Source, SourceOutcome, SourceSettings, Stage
from aggregator.runtime.message import Message


class Feeder(Source):
    """Bring in nothing."""

    class Settings(SourceSettings, frozen=True, kw_only=True):
        pushto: Annotated[TargetQueue, Doc("where lines go")]

    def poll(self, now: float) -> Iterator[SourceOutcome]:
        return iter(())


class Copier(Stage):
    """Copy nothing."""

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        fanout: Annotated[TargetQueues, Doc("where copies go")]

    def handle(self, message: Message) -> Iterator[Outcome]:
        return iter(())


class Keeper(Stage):
    """Keep nothing."""

    traits = Traits(exclusive=True)

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        logfile: Annotated[FilePath, Doc("the file to append to")]

    def handle(self, message: Message) -> Iterator[Outcome]:
        return iter(())


class Caller(Stage):
    """Ask a plugin about nothing."""

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        repository_plugin: Annotated[Module, Doc("the module to ask")]
        timeout: Annotated[Duration, Doc("how long to wait")] = 60.0
        success_queue: Annotated[TargetQueue, Doc("where handled messages go")] | None = None

    @classmethod
    def plugin_options(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        return {"rfr_id": "who refers"}

    @classmethod
    def check(cls, settings: Caller.Settings, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        if settings.success_queue == "forbidden":
            yield "success_queue", "is a queue that this test forbids"

    def handle(self, message: Message) -> Iterator[Outcome]:
        return iter(())


NO_STAGE = 1


class Shelver(Copier):
    """Copy nothing, and declare what is shown of it."""

    overview = "tests.sampleoverview:OVERVIEW"


class Outdated(Copier):
    """Copy nothing, and name a table by the prefix of its sections."""

    traits = Traits(tables=("feed_",))
