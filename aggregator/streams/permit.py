"""What a stream must have to itself before it may connect: a credential and, with a pool, the stream itself.

Both are leases, so they hold over all nodes of a Redis. The stream's lease says which node captures a section that
several nodes have; where it was is kept with the lease, and the node that takes over goes on there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

import msgspec

from aggregator.errors import ConfigError, Unavailable
from aggregator.runtime.context import Context
from aggregator.runtime.contract import Lease
from aggregator.runtime.fuse import Fuse
from aggregator.streams.credentials import CredentialSettings
from aggregator.streams.journal import Place
from aggregator.streams.platforms.table import PLATFORMS
from aggregator.streams.settings import StreamSettings

LEASE_S = 10.0
"""How long a credential or a stream stays a silent process's own."""
SPARE_S = 2.0
"""A connection is given up this long before another process may have its credential: a reader that waits for the
platform looks twice a second."""
LAST_S = 0.5
"""A process that has not given it up this long before is killed, because it may be stopped."""
STATE = "stream"
"""The name of the cursor that belongs to a stream's lease; it holds a `Handed`."""
_STREAMS = "streams"


class Position(msgspec.Struct, frozen=True):
    """How far the journal of a node is committed."""

    segment: int
    offset: int
    mark: str
    """The id behind which the platform is to go on; empty when there is none."""

    @property
    def place(self) -> Place:
        """The place in the journal."""
        return Place(self.segment, self.offset)


class Handed(msgspec.Struct, frozen=True):
    """How far a stream is committed, for the node that captures it next."""

    node: str
    """The node that captured it."""
    mark: str
    """The id behind which the platform is to go on; empty when there is none."""
    complete_ms: int
    """The moment in Unix milliseconds up to which everything that came is committed."""
    positions: dict[str, Position] = {}
    """By node: how far its journal is committed, as of its last tenure. One cursor has all, because the worker may
    commit between two."""


class Tenure(NamedTuple):
    """The time in which this process captures a stream that several nodes have."""

    lease: Lease
    since_ms: int
    """What was received before is of an earlier tenure; 0 when this node had the stream last."""
    handed: Handed
    """What the last tenure left."""


class Lack(NamedTuple):
    """Why a stream may not connect."""

    words: str
    no_credential: bool
    """True when every credential is in use elsewhere."""


class Permit:
    """The leases of one stream. After the start all but `holds` and `tenure` is for the reader's thread, and may wait
    for Redis."""

    def __init__(self, stream: str, settings: StreamSettings, context: Context) -> None:
        """Raises ConfigError when there is no such credential, Unavailable when the kernel gives no timer."""
        self._stream = stream
        self._context = context
        self._pool, self._wanted = "", tuple[str, ...]()
        self._known = dict[str, CredentialSettings]()
        self._refused_until: dict[str, float] = {}
        self._held: tuple[Lease, ...] = ()
        self._to_give: list[Lease] = []
        """Leases that could not be given back while Redis was away."""
        self.shares_stream = settings.pool is not None
        self.name = ""
        """The name of the pool's credential that is held; empty when the stream always asks with the same."""
        self.credential: CredentialSettings | None = None
        self.tenure: Tenure | None = None
        """Replaced as a whole, so that the worker's thread may read it."""
        self.handed_ms = 0
        """Until when the node that captures the stream has it complete, as far as it told."""
        table = context.table("credential")
        if settings.pool is not None:
            self._pool = f"credentials {settings.pool}"
            kinds = PLATFORMS[settings.type].credentials
            in_pool = {name: entry for name, entry in table.entries.items() if entry.pool == settings.pool}
            self._known = {name: entry for name, entry in in_pool.items() if entry.kind in kinds}
            if not self._known:
                raise ConfigError(f"no credential that {settings.type} takes has pool = {settings.pool}")
            self._wanted = tuple(self._known)
            self.credential = self._known[self._wanted[0]]
        elif settings.credential is not None:
            self.credential = table.entry(settings.credential)
            if self.credential is not None and self.credential.pool is not None:
                self._pool, self._wanted = f"credentials {self.credential.pool}", (settings.credential,)
            elif context.shares_redis and PLATFORMS[settings.type].connections == 1:
                # a pool may have the name of a type, and no credential a name with a slash
                self._pool, self._wanted = "credentials", (f"{settings.type}/{settings.credential}",)
        self._fuse = _fuse() if self._wanted else None

    def holds(self) -> bool:
        """True while nobody else may connect in this stream's place. It asks nobody and waits for nobody."""
        leases, held = self._context.leases if self._wanted else None, self._held
        return leases is None or (bool(held) and all(leases.sure_s(lease) > SPARE_S for lease in held))

    def using(self) -> AbstractContextManager[None]:
        """Return the block in which the connection is open: it is closed in time even if this process is stopped."""
        held = self._held
        if not held or self._fuse is None:
            return nullcontext()
        return self._context.leases.at_stake(held, LAST_S, self._fuse)

    def obtain(self) -> Lack | None:
        """Take what is not held. Returns None once the stream may connect."""
        if self.holds():
            return None
        self.release()
        try:
            self._give()
            return self._take()
        except Unavailable as error:
            return Lack(str(error), no_credential=False)

    def release(self) -> None:
        """Give everything back, or later what Redis does not take back now; the connection must be closed."""
        self._to_give += self._held
        self._held, self.tenure, self.name = (), None, ""
        with suppress(Unavailable):
            self._give()

    def refuse(self, until: float) -> bool:
        """Note that the platform refuses the credential until then. Returns False when the pool has no other."""
        if not self.shares_stream:
            return False
        self._refused_until[self.name] = until
        self.release()
        return bool(self._candidates())

    def _candidates(self) -> list[str]:
        now = self._context.clock()
        return [name for name in self._wanted if self._refused_until.get(name, 0.0) <= now]

    def _take(self) -> Lack | None:
        leases, stream = self._context.leases, list[Lease]()
        if self.shares_stream:
            stream = leases.take(_STREAMS, [self._stream], LEASE_S)
            if not stream:
                self.learn()
                return Lack("another node captures it", no_credential=False)
        # until all is known a lease is one to be given back
        self._to_give += stream
        credentials = leases.take(self._pool, self._candidates(), LEASE_S, most=1)
        self._to_give += credentials
        if not credentials:
            self.release()
            pool = self._pool.removeprefix("credentials ")
            words = f"no credential of {pool} is free" if self.shares_stream else "its credential is in use elsewhere"
            return Lack(words, no_credential=True)
        if self.shares_stream:
            self.name = credentials[0].name
            self.credential = self._known[self.name]
            self._begin_tenure(stream[0])
        self._to_give.clear()
        self._held = (*stream, *credentials)
        return None

    def _begin_tenure(self, lease: Lease) -> None:
        handed = self.learn()
        is_other = handed.node not in ("", self._context.node)
        self.tenure = Tenure(lease, int(self._context.clock() * 1000) if is_other else 0, handed)

    def learn(self) -> Handed:
        """Return where the stream is, as whoever captured it with a lease committed it. Raises Unavailable."""
        text = self._context.leases.cursors(Lease(_STREAMS, self._stream, "")).get(STATE)
        handed = msgspec.json.decode(text, type=Handed) if text else Handed("", "", 0)
        self.handed_ms = handed.complete_ms if self.shares_stream else 0
        return handed

    def _give(self) -> None:
        if self._to_give:
            self._context.leases.give(*self._to_give)
            self._to_give.clear()


def _fuse() -> Fuse:
    try:
        return Fuse()
    except OSError as error:
        raise Unavailable(f"a stream that uses a credential alone needs a timer of the kernel: {error}") from error
