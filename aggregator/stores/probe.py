"""Find out whether a store keeps its word on conditional writes.

Some S3 servers ignore `If-None-Match` and `If-Match` without a word, and some honour them for one kind of request only.
One server answered success to `If-Match` on an object that was not there (minio #21526). Some servers look first and
write later, so that several racing writers win (SeaweedFS #8800). The documentation of a server does not tell this;
only trying does.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from aggregator.errors import AggregatorError, Reject, Retry, Unavailable
from aggregator.stores.store import Capabilities, Conflict, NotFound, Store

PROBE_PREFIX = "aggregator-probe-"
_LEFT_OVER_S = 3600.0
_RACERS = 4


def probe_store(store: Store, way: str = "writes") -> Capabilities:
    """Try conditional writes and deletions on a throw-away key; `way` names what is tried, for the notices."""
    _remove_left_over(store)
    key = PROBE_PREFIX + uuid.uuid4().hex
    try:
        broken = _broken_writes(store, key) or _lost_races(store, key)
        deletes = not broken and _deletes_by_tag(store, key)
    finally:
        store.delete(key)
    notices = [f"conditional {way} are not to be relied on: {', '.join(broken)}"] if broken else []
    if not deletes and not broken:
        notices.append("conditional deletions are not to be relied on")
    return Capabilities(not broken, deletes, tuple(notices))


def _broken_writes(store: Store, key: str) -> list[str]:
    """Return the promises that a store breaks."""
    try:
        first = store.put(key, b"first", if_absent=True)
        broken = []
        if not _refused(store, key, lambda: store.put(key, b"again", if_absent=True)):
            broken.append("it creates what exists")
        second = store.put(key, b"second", if_tag=store.get(key)[1])
        if not _refused(store, key, lambda: store.put(key, b"stale", if_tag=first)):
            broken.append("it replaces what has changed")
        store.delete(key)
        with suppress(Conflict):
            store.put(key, b"gone", if_tag=second)
            broken.append("it replaces what is gone")
    except (Retry, Reject) as error:
        # the store refuses a write that it must allow, or does not know the condition at all
        return [f"it answers {error}"]
    except Unavailable as error:
        if not _takes_plain_writes(store, key):
            raise
        # plain writes work, so the store is neither away nor forbidden to us: it does not accept the condition
        return [f"it answers {error}"]
    return broken


def _takes_plain_writes(store: Store, key: str) -> bool:
    try:
        store.put(key, b"plain")
        return store.get(key)[0] == b"plain"
    except AggregatorError:
        return False


def _deletes_by_tag(store: Store, key: str) -> bool:
    """Return True if an object can be deleted by the tag that it has, and not by another tag."""
    refused = _refused(store, key, lambda: store.delete(key, if_tag="0" * 32))
    try:
        store.delete(key, if_tag=store.put(key, b"last"))
    except (Retry, Reject, Unavailable):
        # if the store is away, the next request says so
        return False
    return refused


def _lost_races(store: Store, key: str) -> list[str]:
    """Let writers of one state race: at most one may win. This finds most servers that look before they lock."""
    with ThreadPoolExecutor(_RACERS) as racers:
        store.delete(key)
        created = _winners(racers, lambda body: store.put(key, body, if_absent=True))
        tag = store.put(key, b"start")
        replaced = _winners(racers, lambda body: store.put(key, body, if_tag=tag))
    return ["it lets several racing writers win"] if max(created, replaced) > 1 else []


def _winners(racers: ThreadPoolExecutor, attempt: Callable[[bytes], object]) -> int:
    """Return how many of several simultaneous attempts succeeded."""
    start = threading.Barrier(_RACERS)

    def race(racer: int) -> bool:
        start.wait()
        try:
            attempt(b"%d" % racer)
        except (Retry, Reject):
            return False
        return True

    return sum(racers.map(race, range(_RACERS)))


def _refused(store: Store, key: str, attempt: Callable[[], object]) -> bool:
    """Return True if an attempt ends in Conflict and leaves the object as it was."""
    before = _content(store, key)
    try:
        attempt()
    except Conflict:
        return _content(store, key) == before
    except (Retry, Reject):
        return False
    return False


def _content(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)[0]
    except NotFound:
        return None


def _remove_left_over(store: Store) -> None:
    """Remove the keys of probes that were killed; the keys of probes that still run are younger."""
    for info in store.list(PROBE_PREFIX):
        if time.time() - info.modified > _LEFT_OVER_S:
            store.delete(info.key)
