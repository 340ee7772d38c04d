"""The reports of stages to a human, on their way from `Context.report` to `aggregator health`.

A report that is true now stands in the worker's hash, field `report:CODE:ABOUT`; after it was withdrawn, the next sign
of life removes it. A loss that has happened stands in the hash `findings` of the namespace, which outlives the process,
until an operator acknowledges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

from aggregator.runtime.context import Report
from aggregator.runtime.keys import Keys
from aggregator.runtime.message import ascii_text
from aggregator.runtime.scripts import script

FIELD = "report:"
MOST = 50
"""The most reports of a worker that are shown at once."""
MOST_LASTING = 1000
"""The most losses that wait to be acknowledged; further losses are only in the logs."""
_ROW = 20
"""The most losses that are written in one step."""
_ABOUT, _TEXT = 200, 500
_FINDING = script("finding")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One report as it stands in Redis, in ASCII only."""

    since: float
    """Unix seconds. This must be the first field, because `finding.lua` keeps it."""
    code: str
    about: str
    text: str
    do: str
    level: Literal["error", "warning"]
    owner: str
    """The section that reports: `node:section`."""

    @property
    def shown_about(self) -> str:
        """The subject as a human reads it: `about`, or the section when the report is about the section as a whole."""
        return self.about or self.owner.partition(":")[2]


class Reporting:
    """The reports of one worker, as they reach Redis. Safe to use from the heartbeat's thread as well."""

    def __init__(self, client: Any, keys: Keys, owner: str) -> None:
        self._client = client
        self._keys = keys
        self._owner = owner
        self._stored: dict[str, tuple[str, ...]] = {}
        self._seen: Mapping[tuple[str, str], Report] = {}
        """The reports at the last call of `store`; every change makes a new object of them."""

    def fields(self, reports: Mapping[tuple[str, str], Report]) -> dict[str, str | int]:
        """Return the reports that are true now, as fields of the worker's hash."""
        now = [report for report in reports.values() if not report.lasting]
        if len(now) > MOST:
            text = f"{len(now) - MOST + 1:,} reports more than are shown here"
            do = "Look into the log of this section, which has all of them."
            rest = Report(
                code="reports_left_out", about="", text=text, do=do, level="warning", lasting=False,
                since=now[MOST - 1].since,
            )  # fmt: skip
            now = [*now[: MOST - 1], rest]
        told = (self._told(report) for report in now)
        return {f"{FIELD}{each.code}:{each.about}": msgspec.json.encode(each).decode() for each in told}

    def store(self, reports: Mapping[tuple[str, str], Report]) -> None:
        """Write new losses into the hash that outlives the process. Harmless when repeated.

        The process that reported a loss does not write it again after it was acknowledged, unless its text changes.
        """
        if reports is self._seen:  # a cheap test, because this runs before every commit
            return
        fresh = {}
        for report in reports.values():
            if report.lasting:
                told = self._told(report)
                field, words = f"{told.code}:{told.owner}:{told.about}", (told.text, told.do, told.level)
                if self._stored.get(field) != words:
                    fresh[field] = told, words
        for begin in range(0, len(fresh), _ROW):
            row = list(fresh.items())[begin : begin + _ROW]
            pairs = [part for field, (told, _) in row for part in (field, msgspec.json.encode(told))]
            _FINDING.run(self._client, [self._keys.findings], [MOST_LASTING, *pairs])
            self._stored |= {field: words for field, (_, words) in row}
        self._seen = reports

    def _told(self, report: Report) -> Told:
        return Told(
            since=report.since,
            code=report.code,
            about=ascii_text(report.about)[:_ABOUT],
            text=ascii_text(report.text)[:_TEXT],
            do=ascii_text(report.do)[:_TEXT],
            level=report.level,
            owner=self._owner,
        )


def read_reports(texts: Mapping[str, str]) -> tuple[Told, ...]:
    """Return the reports in a worker's hash; reports in another version's form are left out."""
    found = []
    for field, text in sorted(texts.items()):
        if field.startswith(FIELD):
            with suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(text, type=Told))
    return tuple(found)


def lasting_reports(client: Any, keys: Keys) -> tuple[Told, ...]:
    """Return the losses that nobody has acknowledged yet, the oldest first."""
    stored = client.hgetall(keys.findings).items()
    return tuple(sorted((_lasting(field, value) for field, value in stored), key=lambda told: told.since))


def acknowledge(client: Any, keys: Keys, code: str, about: str | None) -> int:
    """Delete losses that an operator has seen: all of a code, or one of them. Returns how many were deleted."""
    fields = [
        field
        for field, value in client.hgetall(keys.findings).items()
        if (told := _lasting(field, value)).code == code and about in (None, told.shown_about)
    ]
    return int(client.hdel(keys.findings, *fields)) if fields else 0


def _lasting(field: bytes, value: bytes) -> Told:
    """Return a loss. For a value that is no report of ours, the field gives the code."""
    try:
        return msgspec.json.decode(value, type=Told)
    except msgspec.DecodeError:
        code, _, rest = field.decode(errors="backslashreplace").partition(":")
        text = f"unreadable (found {value[:100].decode(errors='backslashreplace')})"
        return Told(since=0.0, code=code, about=rest, text=text, do="", level="warning", owner="")
