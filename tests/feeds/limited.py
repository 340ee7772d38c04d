"""Filter one body in a process of its own, and say what became of it and how much memory the process took.

python -m tests.feeds.limited ROOT < MESSAGE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aggregator.runtime.message import Message
from tests.feeds.filtering import Filtering
from tests.servers import peak_kb


def main(root: str) -> None:
    """Handle the message of standard input."""
    filtering = Filtering(Path(root))
    raw = sys.stdin.buffer.read()
    told = filtering.handle(Message(raw, raw))
    print(json.dumps({"outcome": told.tick.outcome, "error": told.tick.error, "peak_kb": peak_kb()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
