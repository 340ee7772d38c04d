"""Workers do not load the half of redis-py that they do not use, and nobody who wants it is in the way of that."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import aggregator.runtime.connection
print("redis.asyncio.client" in sys.modules, "redis.asyncio" in sys.modules)
import redis.asyncio
print(redis.asyncio.Redis.__module__, aggregator.runtime.connection.Redis.__module__)
"""


def test_the_client_for_asyncio_is_not_loaded_and_can_be_imported_as_ever() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.splitlines() == ["False False", "redis.asyncio.client redis.client"]
