"""A reader thread for input that must not be kept waiting, and a bounded buffer from which the source takes it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from aggregator.runtime.context import Context

T = TypeVar("T")
LONGEST_WAIT_S = 0.5
"""A source hands control back to its worker at least this often, so that what it brought is committed."""


class Inflow(Generic[T]):
    """A buffer, bounded in items and bytes, between a reader thread and the source.

    `read` runs in the thread and calls `offer`. When the buffer has no room for an item, the reader keeps it elsewhere.
    An exception that ends `read` is raised by the source's next `take` after everything read before was taken.
    """

    def __init__(
        self, read: Callable[[Inflow[T]], None], context: Context, *, most: int = 10_000, most_bytes: int = 64 * 1024**2
    ) -> None:
        self._read = read
        self._context = context
        self._most = most
        self._most_bytes = most_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self.stopping = threading.Event()
        """Set when the reader is to end; the reader looks at it whenever it waits."""
        self._thread = threading.Thread(target=self._run, name="inflow", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the reader to end, and wait for it."""
        self.stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def offer(self, item: T, size_bytes: int) -> bool:
        """Add an item. Returns False, having added nothing, when there is no room for it."""
        with self._changed:
            if not self._has_room(size_bytes):
                return False
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify_all()
            return True

    def put(self, item: T, size_bytes: int) -> bool:
        """Add an item, waiting for room. Returns False when the reader is to end."""
        while not self.offer(item, size_bytes):
            with self._changed:
                self._changed.wait_for(lambda: self.stopping.is_set() or self._has_room(size_bytes), LONGEST_WAIT_S)
            if self.stopping.is_set():
                return False
        return True

    def take(self, most: int, wait_s: float = LONGEST_WAIT_S) -> list[T]:
        """Return up to `most` items, the oldest first; wait up to `wait_s` for one, or until a signal comes."""
        with self._changed:
            if not self._items and not self._ended:
                wait_s = min(wait_s, LONGEST_WAIT_S)
                self._context.interruptibly(lambda: self._changed.wait_for(lambda: self._items or self._ended, wait_s))
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._bytes -= sum(size for _, size in taken)
            if taken:
                self._changed.notify_all()
            elif self._ended and self._error is not None:
                error, self._error = self._error, None
                raise error
        return [item for item, _ in taken]

    @property
    def ended(self) -> bool:
        """True when the reader has ended and everything was taken."""
        with self._changed:
            return self._ended and not self._items

    def _has_room(self, size_bytes: int) -> bool:
        """True when an item fits. An item that is larger than the whole buffer fits into an empty buffer."""
        within = len(self._items) < self._most and self._bytes + size_bytes <= self._most_bytes
        return within or not self._items

    def _run(self) -> None:
        try:
            self._read(self)
        except Exception as error:  # noqa: BLE001 - `take` raises it in the source's thread
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
