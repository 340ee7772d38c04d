"""Moments as text."""

from __future__ import annotations

from datetime import datetime, timezone


def iso(moment_ms: int) -> str:
    """Return a moment in Unix milliseconds as 2026-11-28T12:34:56Z."""
    return datetime.fromtimestamp(moment_ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
