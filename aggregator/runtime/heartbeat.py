"""The thread that shows a worker's signs of life, and watches the signs of its siblings.

A worker that holds messages and shows no sign of life for the time of a lease has vanished, or is stopped, so a
sibling takes its messages over. Clocks of different processes are never compared: a watcher counts by its own clock
how long it has seen the same beat. It starts counting again after any trouble of its own, so that no worker is
declared dead because Redis was away.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

from redis.exceptions import RedisError

from aggregator.errors import Superseded
from aggregator.runtime.connection import AWAY
from aggregator.runtime.queue import Holding, Queue

LEASE_S = 3.0
BEAT_S = 0.5


class Watch:
    """Tell which of the other workers have been silent for the time of a lease."""

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._since: dict[Holding, float] = {}
        self._last_look = 0.0

    def silent(self, others: list[Holding], now: float) -> list[Holding]:
        """Return the workers whose beat has not moved for a lease; `now` is a monotonic clock in seconds."""
        if now - self._last_look > self.lease_s / 2:
            self._since = {}  # this process was stopped itself: the silence that it seems to see was its own
        self._last_look = now
        self._since = {other: self._since.get(other, now) for other in others}
        return [other for other, since in self._since.items() if now - since >= self.lease_s]

    def forget(self) -> None:
        """Start counting again."""
        self._since = {}


class Heartbeat(threading.Thread):
    """Beat until stopped, with the facts from `tell()`; call `lost(reason, superseded)` when the worker must end."""

    def __init__(
        self,
        queue: Queue,
        tell: Callable[[], Mapping[str, str | int]],
        lost: Callable[[str, bool], None],
        renew: Callable[[], None],
        log: Callable[..., None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._queue = queue
        self._tell = tell
        self._lost = lost
        self._renew = renew
        self._log = log
        self._stop_event = threading.Event()
        self._parent = os.getppid()
        self._orphaned = False
        self._watch = Watch()

    def run(self) -> None:
        """Beat, watch the siblings, and notice when the supervisor is gone."""
        while not self._stop_event.wait(BEAT_S):
            if os.getppid() != self._parent and not self._orphaned:
                # go on beating: the worker first finishes the messages in hand
                self._orphaned = True
                self._lost("its supervisor is gone", False)
            try:
                others = self._queue.beat(self._tell())
                for silent in self._watch.silent(others, time.monotonic()):
                    back = self._queue.recover(silent)
                    if back >= 0:
                        self._log("recovered worker=%s messages=%d", silent.name, back)
            except AWAY:
                self._watch.forget()
            except Superseded as error:
                return self._lost(str(error), True)
            except RedisError as error:
                # go on beating: a worker without beats would be taken for dead while it works
                self._log("heartbeat error=%s", error)
                self._watch.forget()
            self._keep_leases()

    def _keep_leases(self) -> None:
        """Renew what is leased, after the sign of life and whatever became of that."""
        try:
            self._renew()
        except AWAY:
            return  # what is not renewed in time is lost, and the worker learns of it
        except RedisError as error:
            self._log("leases error=%s", error)

    def stop(self) -> None:
        """End the thread."""
        self._stop_event.set()
        self.join(timeout=10)
