"""A store of somebody else's, as small as its configuration can be: what a new module must have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from aggregator.config.settings import Doc, Integer
from aggregator.stores.directory import DirectoryStore
from aggregator.stores.settings import StoreSettings


class ShelfSettings(StoreSettings, frozen=True, kw_only=True):
    """[store_NAME] with url = shelf://...: an option that no other store has."""

    boards: Annotated[Integer, Doc("how many boards the shelf has")] = 1


class ShelfKind:
    noun = "a shelf"
    settings = ShelfSettings
    ignores: tuple[str, ...] = ()

    def check_url(self, url: str) -> None:
        if not url.removeprefix("shelf://"):
            raise ValueError("no shelf")

    def faults_of(self, settings: Any) -> list[tuple[str, str]]:
        return [("boards", "a shelf needs a board")] if settings.boards < 1 else []

    def open(self, settings: Any) -> DirectoryStore:
        return DirectoryStore(Path(settings.url.removeprefix("shelf://")))


KIND = ShelfKind()
