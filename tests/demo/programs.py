"""Running the demo's programs."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager

from tests.processes import running


def demo(program: str, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run a program of the demo; it is gone when the block ends."""
    return running(f"aggregator.demo.{program}", *arguments, stderr=subprocess.PIPE)
