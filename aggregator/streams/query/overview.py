"""The overview of streams, as shown by `status` and `health`: what waits on this machine's disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from aggregator.config.configuration import Config
from aggregator.config.hints import counted
from aggregator.monitor.finding import Finding
from aggregator.monitor.overviews import Line
from aggregator.runtime.keys import Keys
from aggregator.streams.journal import SEGMENT_BYTES, journals_in
from aggregator.streams.query.streamfacts import streams_of

_SHOWN_BYTES = 2 * SEGMENT_BYTES
"""Less may be all committed: a segment is removed only when it is full."""


class Waiting(NamedTuple):
    """What one stream has received and not yet handed over."""

    stream: str
    size_bytes: int
    is_configured: bool
    """False when there is no section that would hand it over."""


class StreamOverview:
    """All streams that are configured, or have left events on the disk (a `monitor.overviews.Overview`)."""

    name = "streams"

    def amount(self, config: Config) -> str:
        """Return how many streams there are."""
        return counted(len(streams_of(config)), "stream")

    def look(self, config: Config, client: Any, keys: Keys, now: float) -> list[Waiting]:
        """Return what waits of each stream."""
        configured, found = streams_of(config), journals_in(config.root)
        names = [*configured, *(name for name in found if name not in configured and found[name])]
        return [Waiting(name, found.get(name, 0), name in configured) for name in names]

    def lines(self, rows: Sequence[Waiting]) -> Iterator[Line]:
        """Yield a line with the number of streams, and a line for each that waits or was left behind."""
        yield Line(
            f"{counted(sum(row.is_configured for row in rows), 'stream')}; `run/aggregator streams list` shows each"
        )
        for row in rows:
            if not row.is_configured:
                yield Line(f"  {row.stream}: {_left(row)}", wrong=True)
            elif row.size_bytes > _SHOWN_BYTES:
                yield Line(f"  {row.stream}: {row.size_bytes / 1e6:,.0f} MB wait on the disk")

    def as_json(self, row: Waiting) -> dict[str, Any]:
        """Return what waits of a stream."""
        return {"name": row.stream, "waiting_bytes": row.size_bytes, "configured": row.is_configured}

    def findings(self, config: Config, rows: Sequence[Waiting], now: float) -> Iterator[Finding]:
        """Yield a finding for each stream that was removed or renamed before all was handed over."""
        for row in rows:
            if not row.is_configured:
                do = (
                    f"Add a section [stream_{row.stream}] again, until it has handed them over; or, if they are not "
                    f"wanted, remove the folder data/streams/.{row.stream}.journal."
                )
                yield Finding("spool_left", "error", row.stream, _left(row), None, do)

    def idle(self, config: Config, enabled: Callable[[str], bool]) -> Iterator[Finding]:
        """Yield nothing: a stream that is not enabled is listed as such by `streams list`."""
        return iter(())


OVERVIEW = StreamOverview()


def _left(row: Waiting) -> str:
    return (
        f"{row.size_bytes:,} bytes of events wait on the disk, and there is no section [stream_{row.stream}] any more"
    )
