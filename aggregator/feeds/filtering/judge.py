"""Decide whether a download is a publication, a repetition or corrupt, and move its body accordingly."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from aggregator.errors import Reject
from aggregator.feeds.bundle.manifest import Tick
from aggregator.feeds.filtering.downloads import Downloads
from aggregator.feeds.filtering.filing import Filing
from aggregator.feeds.filtering.rejects import Rejects
from aggregator.feeds.filtering.state import FeedState, Known
from aggregator.feeds.messages.ticks import Downloaded
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.publications import Publication
from aggregator.feeds.reading.fetched import Corrupt, Fetched
from aggregator.feeds.reading.gtfsrealtime import entity_hash
from aggregator.feeds.reading.timestamps import CLOCKLESS
from aggregator.feeds.settings.descriptions import About, Descriptions
from aggregator.runtime.context import Context

_with = msgspec.structs.replace


class Judge:
    """Decide on downloads, one after the other, and move their bodies where they belong."""

    def __init__(
        self,
        context: Context,
        folders: FeedFolders,
        downloads: Downloads,
        filing: Filing,
        rejects: Rejects,
        descriptions: Descriptions,
    ) -> None:
        self._context = context
        self._folders = folders
        self._downloads = downloads
        self._filing = filing
        self._rejects = rejects
        self._descriptions = descriptions

    def decide(self, told: Downloaded, about: About, tick: Tick, state: FeedState) -> tuple[Tick, str]:
        """Return the tick with its final outcome, and the name of the publication it brought."""
        if tick.outcome == "not_modified" and state.refused:
            return _with(tick, outcome="invalid", error=f"not modified since: {state.refused}"[:500]), ""
        if tick.outcome != "ok":
            return tick, ""
        source = self.source(told)
        known = state.known(tick.sha256, tells_time=about.timestamp not in CLOCKLESS)
        if known is not None:
            found = self._downloads.find(source) if told.found else None
            if found is not None:
                self._downloads.decide(found)  # no message may tell of it: it is found again after a kill
            else:
                self._downloads.remove(source)
            state.see(known.content, tick.fetched_ms)
            return _with(tick, outcome="same", header_ms=known.published_ms), ""
        path = self._downloads.find(source) or self._filing.find(told.feed, tick)
        if path is None:
            return self._vanished(told, tick), ""
        body = path.read_bytes()
        try:
            if hashlib.sha256(body).hexdigest() != tick.sha256:
                raise Corrupt("the file is not what was downloaded")
            fetched = Fetched(body, told.headers, tick.fetched_ms / 1000, path)
            about, published = self._descriptions.read(told, about, fetched)
        except Corrupt as error:
            return self._reject(told, about, tick, path, str(error)), ""
        return self._publish(told.feed, about, tick, state, fetched, published)

    def _publish(
        self, feed: str, about: About, tick: Tick, state: FeedState, fetched: Fetched, published: float
    ) -> tuple[Tick, str]:
        path, body = fetched.path, fetched.body
        assert path is not None
        second = int(published)
        # a fraction that rounds up must not give another second, and so perhaps another period, than the file's name
        published_ms = min(round(published * 1000), second * 1000 + 999)
        entities = _entities(about.format, body)
        plain = Publication(feed, second, about.extension)
        target = self._filing.choose(plain, tick, path, is_taken=state.is_taken(second, tick.sha256))
        tick = _with(tick, entities=entities, header_ms=published_ms)
        known = Known(tick.sha256[:16], published_ms, entities or tick.sha256[:16])
        now_ms = tick.fetched_ms
        flags = state.flags_of(published_ms, now_ms)
        self._tell_clock(feed, published_ms - now_ms, flags)
        if self._downloads.has(path) and target.exists() and not target.samefile(path):
            # the same bytes came before, but so long ago that only the disk still has them
            self._downloads.decide(path)
            state.see(known.content, now_ms)
            return _with(tick, outcome="same"), ""
        self._filing.lay_down(path, target)
        state.publish(known, len(body), now_ms)
        state.see(known.content, now_ms)
        return _with(tick, flags=(*tick.flags, *flags)), target.name

    def _tell_clock(self, feed: str, off_ms: int, flags: tuple[str, ...]) -> None:
        """Report a feed whose timestamps are far from our clock, and withdraw the report when they are not."""
        if "past" not in flags and "future" not in flags:
            self._context.withdraw("feed_clock", feed)
            return
        side = "before" if off_ms < 0 else "after"
        self._context.report(
            "feed_clock",
            f"{feed}: what it gives as its time is {abs(off_ms) / 3_600_000:,.1f} hours {side} its download",
            "look whether `timestamp` reads the right place; it is archived under the time it gives",
            about=feed,
        )

    def _vanished(self, told: Downloaded, tick: Tick) -> Tick:
        """Return the tick of a missing body as invalid: the body was rejected before, or somebody removed it."""
        report = self._rejects.find(told.feed, tick.planned_ms, told.extension)
        if report is None:
            self._context.report(
                "download_gone",
                f"{told.file} was downloaded and has gone before it was filed",
                "look for who removes files below data/feeds; if an older Redis came back it may be archived already",
                about=told.feed,
                lasting=True,
            )
        reason = str(report["reason"]) if report else "the downloaded file has gone"
        return _with(tick, outcome="invalid", error=reason)

    def _reject(self, told: Downloaded, about: About, tick: Tick, path: Path, reason: str) -> Tick:
        reason = reason[:500]
        report = {
            "feed": told.feed,
            "reason": reason,
            "url": about.url,
            "final_url": told.final_url,
            "tick": tick,
            "headers": dict(told.headers),
        }
        self._rejects.add(told.feed, tick.planned_ms, told.extension, path, report, self._context.clock())
        return _with(tick, outcome="invalid", error=reason)

    def source(self, told: Downloaded) -> Path:
        """Return the path of a message's body. Raises Reject for a path outside the feed's downloads, or a link."""
        path = self._context.path(told.file)
        folder = self._folders.downloads / told.feed
        if path.parent != folder or path.is_symlink() or folder.is_symlink():
            raise Reject(f"no file of this feed's downloads (found {told.file[:100]!r})")
        return path


def _entities(format_name: str, body: bytes) -> str:
    if format_name != "gtfs-realtime":
        return ""
    try:
        return entity_hash(body)
    except Corrupt:
        return ""
