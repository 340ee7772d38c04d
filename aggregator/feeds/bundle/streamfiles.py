"""What `archive` needs of the package of streams to store the files that `record` has finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any, Protocol

from aggregator import registry
from aggregator.runtime.context import Context
from aggregator.stores.store import Store

DIRECTORY = "data/streams"
"""Where `record` puts files unless its section says otherwise."""


class StreamFiles(Protocol):
    """The finished files of streams. All methods may raise OSError and Unavailable."""

    @property
    def directory(self) -> Path:
        """The folder of the files."""
        ...

    def deposit(self, raw: bytes) -> None:
        """Store the file that a message tells of, and its sidecar. Raises Reject and Retry."""
        ...

    def committed(self, now: float) -> None:
        """Mark the files that were stored since the last commit."""
        ...

    def tidy(self, now: float) -> None:
        """Remove files that were stored long enough ago, and bring the gaps of streams into the store."""
        ...

    def untold(self, is_told: Callable[[str], bool], now: float) -> Iterator[tuple[str, bytes]]:
        """Yield what a file that should have been stored by now is called among the found files, and its message."""
        ...

    def is_there(self, name: str) -> bool:
        """True while the file that is called so among the found files is here."""
        ...


def open_stream_files(settings: Any, context: Context, store: Store, *, conditional: bool) -> StreamFiles:
    """Return the files in the folder of `record`; its package is loaded only where it is needed."""
    found: StreamFiles = registry.load_object(registry.RECORDED)(settings, context, store, conditional=conditional)
    return found


def fed_by(stage: str, config: RawConfigParser, queue: str) -> list[str]:
    """Return the sections of a stage, such as `record`, that tell a queue of their files."""
    return [
        name
        for name in config.sections()
        if config[name].get("stage", "").strip() == stage and config[name].get("pushto", "").strip() == queue
    ]
