"""Make the messages in which `download` reports its ticks."""

from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.fetching.headernotes import read_headers
from aggregator.feeds.messages.ticks import Downloaded, DueTick
from aggregator.feeds.naming.publications import parse_download
from aggregator.feeds.settings.table import Feed
from aggregator.files.fingerprint import hash_file
from aggregator.http.masking import mask_url

if TYPE_CHECKING:  # `filter` uses this module for bodies that it finds, and needs no code that fetches
    from aggregator.feeds.fetching.fetch import Answer, Failed

KEPT_HEADERS = (
    "age", "cache-control", "content-encoding", "content-length", "content-type", "date", "etag", "expires",
    "last-modified", "retry-after", "server", "via", "x-cache",
)  # fmt: skip
FOUND = "found"
"""The flag of a tick whose body was found on the disk, as its message was lost."""


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


def tell_found(feed: Feed, path: Path, root: Path) -> Downloaded | None:
    """Return a message like the one that was sent, or was to be sent, for the body in a file.

    None when the file is not named like a download, or is damaged: it lacks the hash in its name. Only the lost message
    knew when the download began, its status and its headers. Unknown fields are left out, and the file's own time
    stands for the time of the download. Raises OSError.
    """
    name = path.name.removeprefix(".")
    try:
        download = parse_download(name)
    except ValueError:
        return None
    facts, sha256 = path.stat(), hash_file(path)
    if sha256[:8] != download.hash8:
        return None
    tick = Tick(
        planned_ms=download.planned_ms,
        outcome="ok",
        started_ms=max(int(facts.st_mtime * 1000), 0),
        size_bytes=facts.st_size,
        sha256=sha256,
        flags=(FOUND,),
    )
    return tell(
        feed,
        download.extension,
        tick=tick,
        file=str(path.with_name(name).relative_to(root)),
        headers=read_headers(path) or {"date": formatdate(max(facts.st_mtime, 0), usegmt=True)},
        found=True,
    )


def tell_unread(due: DueTick, period_ms: int, reason: str) -> Downloaded:
    """Return the message about a tick of a feed whose configuration cannot be read."""
    tick = Tick(planned_ms=due.planned_ms, outcome="failed", error=f"its configuration cannot be read: {reason}"[:300])
    return Downloaded(
        feed=due.feed, url="", period_ms=period_ms, extension="bin", timestamp="none", format="other", tick=tick
    )
