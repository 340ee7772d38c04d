"""A rotated name tells which log it is of."""

from __future__ import annotations

import pytest

from aggregator.files.rotatednames import bases


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("access.log.1", ["access.log"]),
        ("access.log.12.gz", ["access.log"]),
        ("access.log.old", ["access.log"]),
        ("access.log-20261122", ["access.log"]),
        ("access.log-20261122-1795350245.xz", ["access.log"]),
        ("access.log.2026-11-22_10:30.bz2", ["access.log"]),
        ("access-20261122.log", ["access.log"]),
        ("access.1.log.gz", ["access.log"]),
        ("access.log.20261122.1.gz", ["access.log.20261122", "access.log"]),
        ("access.log-2026-11-22.3", ["access.log-2026-11-22", "access.log"]),
        ("logfile.2026.11.28", ["logfile"]),
        ("app.2026-11-28.0.log", ["app.log"]),
        ("access-2026-11-28T10-00-00.123.log.gz", ["access.log"]),
        ("@400000005f2b1c0a1f2e3d4c.s", ["current"]),
        ("access.log.1.zst", ["access.log"]),
        ("access.log", []),
        ("access.log.gz", []),
        ("error-404.log", []),
        ("access.log.1.backup.2", ["access.log.1.backup"]),
        ("host-192.0.2.1.log", ["host-192.0.2.log"]),
    ],
)
def test_a_rotated_name_tells_the_live_one(name: str, expected: list[str]) -> None:
    assert bases(name) == expected
