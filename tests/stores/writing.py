"""Running the writers of `tests.stores.writers`."""

from __future__ import annotations

import json
import subprocess
from contextlib import AbstractContextManager
from typing import Any

from tests.processes import running


def writer(task: str, options: dict[str, Any], *arguments: object) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run a writer; it is gone when the block ends."""
    return running("tests.stores.writers", task, json.dumps(options), *arguments)
