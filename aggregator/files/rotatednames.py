"""The names of rotated logs.

A rotated log has the name of the live one with a number or a date behind it, or before its suffix, and perhaps the
suffix of a compressor: ``access.log.1``, ``access.log-20261122.gz``, ``access-2026-11-22.log``, ``access.log.old``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Container
from typing import Any, NamedTuple

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""The suffixes of compressors."""
_COMPRESSED = "(?:" + "|".join(re.escape(suffix) for suffix in COMPRESSED) + ")?"
# Behind a dot any number up to 999 counts. Behind a dash only a text counts that looks like a date, because
# `error-404.log` is a log of its own.
_NUMBER = r"\.(?P<number>\d{1,3}|old)"
_DATE = r"(?:\d{4}[\dT:_\-]{2,}|\d{4}\.\d\d\.\d\d)"
_BEHIND = re.compile(rf"(?P<base>.+?)(?:{_NUMBER}|[.\-_](?P<date>{_DATE})){_COMPRESSED}")
# Some programs add the number of a file of the day, or milliseconds, behind the date: `app.2026-11-28.0.log`
_BEFORE_SUFFIX = re.compile(
    rf"(?P<stem>.+?)(?:{_NUMBER}|[.\-_](?P<date>{_DATE}(?:\.\d+)?))"
    rf"(?P<suffix>\.(?!gz|bz2|xz|zst)[A-Za-z]\w*){_COMPRESSED}"
)
_SVLOGD = re.compile(rf"@(?P<date>[0-9a-f]{{24}})\.[su]{_COMPRESSED}")
"""The names that svlogd and multilog give a rotated `current`."""
_PLAIN_NUMBERS = 10
"""From here on, a number before the suffix counts only where the lower numbers are there too: `access.443.log` is no
rotated `access.log`."""


def base_behind(name: str) -> str | None:
    """Return the name of the live log when the mark stands behind it: `access.log` for `access.log.1`."""
    match = _BEHIND.fullmatch(name)
    return match["base"] if match else None


def bases(name: str) -> list[str]:
    """Return the names of the live logs from which a file of this name may have been rotated."""
    behind, before = base_behind(name), _BEFORE_SUFFIX.fullmatch(name)
    found = [behind] if behind else []
    dated = _BEHIND.fullmatch(behind) if behind else None
    if dated and dated["date"]:  # `access.log.20261122.1`
        found.append(dated["base"])
    if _SVLOGD.fullmatch(name):
        found.append("current")
    return found + ([before["stem"] + before["suffix"]] if before else [])


def bases_among(name: str, names: Container[str]) -> list[str]:
    """Return the result of `bases`, without a log whose lower numbers are not among the names of the folder."""
    found, before = bases(name), _BEFORE_SUFFIX.fullmatch(name)
    if before and (before["number"] or "").isdigit():
        lower = (f"{before['stem']}.{n}{before['suffix']}" for n in range(_PLAIN_NUMBERS - 1, int(before["number"])))
        if not all(any(each + packed in names for packed in ("", *COMPRESSED)) for each in lower):
            found.pop()
    return found


def is_dated(name: str) -> bool:
    """True for a file with a date in its name: files with dates are removed one day."""
    return bool(mark_of(os.path.basename(name)).date)


def sort_key(names: Collection[str]) -> Callable[[str], Any] | None:
    """Return a key that sorts these rotated names oldest first: by number, the highest first, or by date.

    None where both occur, or neither: then only the times of modification tell the order.
    """
    marks = {name: mark_of(name) for name in names}
    if all(mark.number.isdigit() for mark in marks.values()):
        return lambda name: -int(marks[name].number)
    if all(mark.date for mark in marks.values()):
        return lambda name: _parts_of(marks[name].date)
    return None


class Mark(NamedTuple):
    """The part of a name that says which rotated log it is; empty texts where there is none."""

    number: str
    date: str


def mark_of(name: str) -> Mark:
    """Return the number and the date in a name."""
    if svlogd := _SVLOGD.fullmatch(name):
        return Mark("", svlogd["date"])
    match = _BEHIND.fullmatch(name) or _BEFORE_SUFFIX.fullmatch(name)
    return Mark(match["number"] or "", match["date"] or "") if match else Mark("", "")


def _parts_of(date: str) -> list[tuple[int, str]]:
    """Return a key that sorts dates of one form by time: the numbers, or hexadecimal digits of a TAI64 label."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"[0-9a-f]+", date)]
