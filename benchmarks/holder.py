"""A worker, as a program, that holds its messages for as long as there is a file `hold`.

`python -m benchmarks.holder URL FOLDER NUMBER`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from aggregator.runtime.context import Context
from aggregator.runtime.contract import Outcome, Send, Stage
from aggregator.runtime.message import Message
from aggregator.runtime.process import log_to_stdout, make_worker
from benchmarks.rig import NAMESPACE


class Holder(Stage):
    """Send messages on, once there is no file `hold`."""

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Wait, then send the message on."""
        while (self.context.root / "hold").exists():
            time.sleep(3600)
        yield Send("done", message.raw)


def main(url: str, folder: str, number: str) -> int:
    """Work until told to stop."""
    log_to_stdout()
    context = Context(section="holder", number=int(number), node="bench", root=Path(folder))
    settings = Holder.Settings(listento="work")
    return make_worker(Holder, settings, context, url=url, namespace=NAMESPACE, limits={}).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
