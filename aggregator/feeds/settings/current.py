"""The feeds as they are configured now, looked up by name while a stage runs."""

from __future__ import annotations

import threading

from aggregator.feeds.settings.table import Feed
from aggregator.runtime.context import Context


class Configured:
    """The feeds of the configuration. Safe to use from several threads."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.table = context.table("feed")
        self._lock = threading.Lock()

    def feed(self, name: str) -> Feed | None:
        """Return a feed as it is configured, None when it is not, or cannot be read.

        Before that is said the configuration is read anew: a sibling that started later may know more feeds.
        """
        found: Feed | None = self.table.entries.get(name)
        if found is None:
            with self._lock:
                if not self.table.is_current():
                    self.table = self.context.table("feed")
                found = self.table.entries.get(name)
        return found
