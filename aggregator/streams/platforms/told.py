"""How long a platform asks to be left alone: its headers on limits, and what that is bounded by.

Source: RFC 9110, section 10.2.3; X, "Rate limits" (docs.x.com); Mastodon, "Rate limits" (docs.joinmastodon.org).
"""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.http.retryafter import retry_after_s
from aggregator.streams.times import moment_of

REFUSED_S = 3600.0
"""How long a platform that refused the credential is left alone; a changed credential starts the process anew."""
_LONGEST_S = 6 * 3600.0
"""No server is left alone longer than this, whatever it asks for."""


def told_s(headers: Mapping[str, str], now: float) -> float | None:
    """Return for how many seconds an answer asks to be left alone, by its headers' lower-case names; None when it does
    not say. `now` is in Unix seconds."""
    asked_s = retry_after_s(headers.get("retry-after", ""), headers.get("date", ""), now, _LONGEST_S)
    until = used_up_until(headers, now)
    return asked_s if asked_s is not None or until is None else max(until - now, 0.0)


def used_up_until(headers: Mapping[str, str], now: float) -> float | None:
    """Return when there are questions again, in Unix seconds; None when some are left, or the answer does not say."""
    reset = headers.get("x-rate-limit-reset", "")
    if reset.isdecimal() and headers.get("x-rate-limit-remaining", "0") == "0":
        return min(float(reset[:12]), now + _LONGEST_S)
    # Mastodon writes the header in another way, and the moment as ISO 8601
    reset_ms = moment_of(headers.get("x-ratelimit-reset"))
    if reset_ms is not None and headers.get("x-ratelimit-remaining", "0") == "0":
        return min(reset_ms / 1000, now + _LONGEST_S)
    return None
