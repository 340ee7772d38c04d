"""The messages of the log pipeline."""

from __future__ import annotations

import msgspec


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a log, in the public form `{"service": …, "logline": …}`, which programs of others push as well."""

    service: str
    """The `servicename` of the section that follows the log."""
    logline: str
    """The line without its end."""
