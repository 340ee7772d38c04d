"""Leases: each gives something, such as a credential or a partition, to one worker of a Redis for some time.

A lease has a fencing token that only grows. A commit that depends on a lease takes effect only while its token is the
lease's latest token and the lease's time is not over. So a holder that was stopped or killed loses the lease `ttl_s`
after its last renewal, and its later commits have no effect. All times are by the clock of Redis.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aggregator.errors import Unavailable
from aggregator.runtime.connection import AWAY
from aggregator.runtime.contract import Lease
from aggregator.runtime.keys import Keys
from aggregator.runtime.scripts import script

if TYPE_CHECKING:
    from aggregator.runtime.fuse import Fuse

SHORTEST_TTL_S = 1.0
"""Two of the heartbeats that renew leases: a shorter lease would be lost between them."""
LONGEST_TTL_S = 7 * 86400.0
_TAKE, _RENEW = script("take"), script("renew")


@contextmanager
def _away() -> Iterator[None]:
    """Say of a Redis that is away that a stage cannot go on, which is no message's fault."""
    try:
        yield
    except AWAY as error:
        raise Unavailable(f"Redis is away: {error}", 1.0) from error


class Leases:
    """The leases of one worker. Safe to use from its threads: the heartbeat renews them."""

    def __init__(self, client: Any, keys: Keys, holder: str) -> None:
        """`holder` is the worker's name: a new incarnation takes over at once the leases of the one before it."""
        self._client = client
        self._keys = keys
        self._holder = holder
        self._lock = threading.Lock()
        self._held: dict[Lease, float] = {}
        self._sure_until: dict[Lease, float] = {}
        """By this machine's monotonic clock: until when no other worker can have a lease."""
        self._lost: list[Lease] = []
        self._fuse: Fuse | None = None
        self._at_stake: tuple[Lease, ...] = ()
        self._spare_s = 0.0
        self._arming = threading.Lock()

    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases that this worker has, as far as it knows."""
        with self._lock:
            return tuple(self._held)

    def sure_s(self, lease: Lease) -> float:
        """Return for how many seconds from now no other worker can have a lease; 0 when one may have it by now.

        It asks nobody and waits for nobody: after a pause of the process it is right at once, while `held` learns of a
        loss only from Redis.
        """
        return max(self._sure_until.get(lease, 0.0) - time.monotonic(), 0.0)

    @contextmanager
    def at_stake(self, leases: Sequence[Lease], spare_s: float, fuse: Fuse) -> Iterator[None]:
        """Do something that must be over before another worker has one of the leases, such as hold a connection.

        A process that is still at it `spare_s` before that is killed by its fuse, also while it is stopped. A process
        that runs must end it sooner, when `sure_s` says so. One thread at a time may do it.
        """
        with self._arming:
            self._at_stake, self._spare_s, self._fuse = tuple(leases), spare_s, fuse
        try:
            self._arm()
            yield
        finally:
            with self._arming:
                self._at_stake, self._fuse = (), None
                fuse.put_out()

    def _arm(self) -> None:
        """Put the fuse off as far as the leases are surely ours; a lost lease leaves it as it is."""
        with self._arming:
            ends = [self._sure_until.get(lease) for lease in self._at_stake]
            if ends and self._fuse is not None and None not in ends:
                self._fuse.burn_at(min(end for end in ends if end is not None) - self._spare_s)

    def take(self, pool: str, want: Sequence[str], ttl_s: float, *, most: int | None = None) -> list[Lease]:
        """Take leases of a pool by their names, at most `most` of them, the first names first.

        Returns those that were free, or whose holder lost them. Those that this worker has already are passed over.
        Raises Unavailable while Redis is away, as all calls do. `pool` is a word without a colon, `ttl_s` at least
        SHORTEST_TTL_S and at most LONGEST_TTL_S.
        """
        if ":" in pool:
            raise ValueError(f"a pool's name has no colon (found {pool!r})")
        if not (isinstance(ttl_s, int | float) and SHORTEST_TTL_S <= ttl_s <= LONGEST_TTL_S):
            raise ValueError(f"a lease lasts {SHORTEST_TTL_S:g} to {LONGEST_TTL_S:g} s (found {ttl_s!r})")
        if "" in want:
            raise ValueError("a lease has a name")
        with self._lock:
            mine = {lease.name for lease in self._held if lease.pool == pool}
            names = [name for name in dict.fromkeys(want) if name not in mine]
            if not names:
                return []
            args: list[str | int | float] = [self._holder, ttl_s, len(names) if most is None else most, *names]
            # order: the clock before the question, so that our time is over before that of Redis
            began = time.monotonic()
            with _away():
                reply = [text.decode() for text in _TAKE.run(self._client, [self._keys.leases(pool)], args)]
            taken = [Lease(pool, name, token) for name, token in zip(reply[::2], reply[1::2], strict=True)]
            self._held |= dict.fromkeys(taken, ttl_s)
            self._sure_until |= dict.fromkeys(taken, began + ttl_s)
            return taken

    def renew(self) -> None:
        """Keep every lease for its `ttl_s` from now on; a lease that another worker has meanwhile is lost."""
        with self._lock:
            for pool, ttl_s in {(lease.pool, ttl_s) for lease, ttl_s in self._held.items()}:
                these = [lease for lease, its in self._held.items() if lease.pool == pool and its == ttl_s]
                began = time.monotonic()
                lost = self._extend(pool, these, ttl_s)
                self._sure_until |= {lease: began + ttl_s for lease in these if lease not in lost}
                self._let_go(lost)
        self._arm()

    def lost(self) -> list[Lease]:
        """Return the leases that were lost since the last call."""
        with self._lock:
            lost, self._lost = self._lost, []
            return lost

    def give(self, *leases: Lease) -> None:
        """Give leases back, so that other workers may take them at once."""
        with self._lock:
            for lease in leases:
                self._sure_until.pop(lease, None)
            for pool in {lease.pool for lease in leases}:
                with _away():
                    self._extend(pool, [lease for lease in leases if lease.pool == pool], 0.0)
            for lease in leases:
                self._held.pop(lease, None)

    def drop(self, pool: str, name: str) -> None:
        """Note that a lease is lost, because a commit was refused for it."""
        with self._lock:
            self._let_go([lease for lease in self._held if (lease.pool, lease.name) == (pool, name)])

    def cursors(self, lease: Lease) -> dict[str, str]:
        """Return the positions that belong to a lease, whoever committed them."""
        with _away():
            stored = self._client.hgetall(self._keys.leased(lease.pool, lease.name))
        return {name.decode(): value.decode() for name, value in stored.items()}

    def _let_go(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            del self._held[lease]
            self._sure_until.pop(lease, None)
        self._lost += leases

    def _extend(self, pool: str, leases: Sequence[Lease], ttl_s: float) -> list[Lease]:
        pairs = [part for lease in leases for part in (lease.name, lease.token)]
        reply = _RENEW.run(self._client, [self._keys.leases(pool)], [self._holder, ttl_s, *pairs])
        lost = {name.decode() for name in reply}
        return [lease for lease in leases if lease.name in lost]
