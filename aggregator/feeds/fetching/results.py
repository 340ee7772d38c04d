"""Make the messages in which `download` reports its ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.messages.ticks import Downloaded, DueTick
from aggregator.feeds.settings.table import Feed
from aggregator.http.masking import mask_url

if TYPE_CHECKING:  # `filter` uses this module for bodies that it finds, and needs no code that fetches
    from aggregator.feeds.fetching.fetch import Answer, Failed

KEPT_HEADERS = (
    "age", "cache-control", "content-encoding", "content-length", "content-type", "date", "etag", "expires",
    "last-modified", "retry-after", "server", "via", "x-cache",
)  # fmt: skip


def tell(feed: Feed, extension: str = "", **what: Any) -> Downloaded:
    """Return a message about a tick of a feed, or about a row of missed ticks.

    `extension` is for a body that was downloaded while the feed had another extension than now.
    """
    return Downloaded(
        feed=feed.name,
        url=feed.shown_url,
        period_ms=feed.period_ms,
        extension=extension or feed.extension,
        timestamp=feed.timestamp,
        format=feed.format,
        stale_after_ms=round(feed.stale_after_s * 1000),
        **what,
    )


def tell_answer(feed: Feed, due: DueTick, times: tuple[int, int], answer: Answer, file: str) -> Downloaded:
    """Return the message about an answer; `times` are its start and end, in Unix milliseconds."""
    tick = Tick(planned_ms=due.planned_ms, outcome="not_modified", started_ms=times[0], ended_ms=times[1], status=304)
    if file:
        tick = msgspec.structs.replace(
            tick,
            outcome="ok",
            status=answer.status,
            wire_bytes=answer.wire_bytes,
            size_bytes=answer.size_bytes,
            sha256=answer.sha256,
            flags=answer.notes,
        )
    # a server may repeat a key of the request in any header, and in the address that it redirects to
    hide = answer.secrets.hide
    headers = {name: hide(answer.headers[name])[:500] for name in KEPT_HEADERS if name in answer.headers}
    final_url = "" if answer.url == feed.url else mask_url(hide(answer.url))
    return tell(feed, tick=tick, file=file, headers=headers, final_url=final_url)


def tell_failure(feed: Feed, due: DueTick, times: tuple[int, int], error: Failed) -> Downloaded:
    """Return the message about a download that failed."""
    tick = Tick(
        planned_ms=due.planned_ms,
        outcome="failed",
        started_ms=times[0],
        ended_ms=times[1],
        status=error.status,
        error=str(error),
    )
    return tell(feed, tick=tick)


def tell_unread(due: DueTick, period_ms: int, reason: str) -> Downloaded:
    """Return the message about a tick of a feed whose configuration cannot be read."""
    tick = Tick(planned_ms=due.planned_ms, outcome="failed", error=f"its configuration cannot be read: {reason}"[:300])
    return Downloaded(
        feed=due.feed, url="", period_ms=period_ms, extension="bin", timestamp="none", format="other", tick=tick
    )
