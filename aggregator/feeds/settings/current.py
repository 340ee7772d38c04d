"""Look up feeds by name, as they are configured now, while a stage runs."""

from __future__ import annotations

import threading

from aggregator.feeds.settings.table import Feed
from aggregator.runtime.context import Context


class Configured:
    """The configured feeds. Safe to use from several threads."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.table = context.table("feed")
        self._lock = threading.Lock()

    def feed(self, name: str) -> Feed | None:
        """Return a configured feed; None when it is not configured, or its configuration cannot be read.

        Before None is returned, a changed configuration is read again, as processes that started later may send ticks
        of feeds that were added since.
        """
        found: Feed | None = self.table.entries.get(name)
        if found is None:
            with self._lock:
                if not self.table.is_current():
                    self.table = self.context.table("feed")
                found = self.table.entries.get(name)
        return found
