"""Resolve names in threads, so that the wait for a silent name server can be given up.

The system's resolver cannot be interrupted and knows no deadline of ours: it may wait for half a minute.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Sequence

from aggregator.http.addresses import Address, Resolve
from aggregator.http.deadlines import Deadline

MOST_THREADS = 32
"""How many names are resolved at the same time. A thread whose caller has given up ends when the resolver does."""


class Unresolved(TimeoutError):
    """The deadline came before the addresses did."""


class _Lookup:
    """One name that is being resolved, or waits for its turn."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.waiting = 0
        """How many callers wait for the addresses."""
        self.done = threading.Event()
        self.found: Sequence[Address] = ()
        self.error: Exception | None = None


class Lookups:
    """Resolve names in a few threads, each only while there are names. Callers that want the same name share a lookup.

    Safe to use from several threads.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], _Lookup] = {}
        """The lookups that are not done."""
        self._queue: OrderedDict[_Lookup, None] = OrderedDict()
        """The lookups that no thread has taken yet."""
        self._threads = 0

    def resolve(self, host: str, port: int, deadline: Deadline) -> Sequence[Address]:
        """Return the addresses of a host. Raises what the resolver raises, Unresolved, or Stopping."""
        if _is_address(host):
            return self._resolve(host, port)
        lookup = self._begin(host, port)
        try:
            while not lookup.done.wait(deadline.wait_s()):
                continue  # one piece of the wait is over; the deadline says whether another follows
        except TimeoutError as error:
            raise Unresolved("the host's name was not resolved until then") from error
        finally:
            self._leave(lookup)
        if lookup.error is not None:
            raise lookup.error
        return lookup.found

    def _begin(self, host: str, port: int) -> _Lookup:
        with self._lock:
            lookup = self._known.get((host, port))
            if lookup is None:
                if self._threads < MOST_THREADS:
                    # a thread that waits for a name server must not hold up the end of the process
                    threading.Thread(target=self._work, name="resolve", daemon=True).start()
                    self._threads += 1
                lookup = self._known[host, port] = _Lookup(host, port)
                self._queue[lookup] = None
            lookup.waiting += 1
            return lookup

    def _leave(self, lookup: _Lookup) -> None:
        with self._lock:
            lookup.waiting -= 1
            # a name that nobody waits for any more is not resolved
            if not lookup.waiting and lookup in self._queue:
                del self._queue[lookup]
                del self._known[lookup.host, lookup.port]

    def _work(self) -> None:
        """Resolve names until none waits."""
        while (lookup := self._next()) is not None:
            try:
                lookup.found = self._resolve(lookup.host, lookup.port)
            except Exception as error:  # noqa: BLE001 - raised again in the threads that wait for it
                lookup.error = error
            with self._lock:
                del self._known[lookup.host, lookup.port]
            lookup.done.set()

    def _next(self) -> _Lookup | None:
        with self._lock:
            if self._queue:
                return self._queue.popitem(last=False)[0]
            self._threads -= 1
            return None


def _is_address(host: str) -> bool:
    """True for an address, which is not looked up anywhere."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
