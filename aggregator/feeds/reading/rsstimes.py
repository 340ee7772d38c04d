"""Read the publication time of a feed in RSS or Atom."""

from __future__ import annotations

from aggregator.feeds.reading.dates import read_moment
from aggregator.feeds.reading.fetched import Corrupt, Fetched, looks_like
from aggregator.feeds.reading.xmltimes import find_in

_OWN_DATES = ("lastBuildDate", "pubDate", "updated", "date")
_RSS_DATES = {*_OWN_DATES, "published", "modified"}
_FEEDS, _ITEMS = ("channel", "feed"), ("item", "entry")
MOST_DATES = 100_000


def read_rss(fetched: Fetched) -> int | float:
    """Return the channel's lastBuildDate or pubDate, or the feed's `updated`; without these the newest item's date.

    A date that cannot be read counts as missing.
    """
    dates = _Dates()
    find_in(fetched.body, dates.are_wanted, dates.take)
    for name in _OWN_DATES:
        if name in dates.own:
            return dates.own[name]
    if dates.newest is None:
        raise Corrupt(f"no date of a feed or of an item that can be read{looks_like(fetched.body)}")
    return dates.newest


class _Dates:
    """The dates of a feed in RSS or Atom."""

    def __init__(self) -> None:
        self.own: dict[str, int | float] = {}
        """The feed's own dates by the name of their element: the first readable date of each."""
        self.newest: int | float | None = None
        """The newest date of an item; not updated once the feed has a date of its own."""
        self._looked_at = 0

    def are_wanted(self, path: list[str]) -> bool:
        """True for the path of a date."""
        return path[-1] in _RSS_DATES and len(path) > 1 and (path[-2] in _FEEDS or path[-2] in _ITEMS)

    def take(self, path: tuple[str, ...], text: str) -> None:
        """Record one date. Raises ValueError after too many dates."""
        is_own = path[-2] in _FEEDS
        if path[-1] in self.own or (self.own and not is_own) or (is_own and path[-1] not in _OWN_DATES):
            return
        self._looked_at += 1
        if self._looked_at > MOST_DATES:
            raise ValueError(f"more than {MOST_DATES} dates, none of them the feed's own")
        moment = _try(text)
        if moment is None:
            return
        if is_own:
            self.own[path[-1]] = moment
        else:
            self.newest = moment if self.newest is None else max(self.newest, moment)


def _try(text: str) -> int | float | None:
    try:
        return read_moment(text)
    except ValueError:
        return None
