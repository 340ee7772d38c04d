"""Running the writers of `tests.stores.writers`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]


@contextmanager
def writer(task: str, options: dict[str, Any], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a writer; it is gone when the block ends."""
    command = [sys.executable, "-m", "tests.stores.writers", task, json.dumps(options), *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: subprocess.Popen[str]) -> IO[str]:
    """Return what it prints."""
    assert process.stdout is not None
    return process.stdout
