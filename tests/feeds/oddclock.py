"""A download worker whose clock is ahead by as many seconds as stand in a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from aggregator.config.loading import load
from aggregator.runtime.context import Context
from aggregator.runtime.process import log_to_stdout, make_worker

if __name__ == "__main__":
    root, ahead = Path(sys.argv[1]), Path(sys.argv[2])
    log_to_stdout()
    config = load(root / "loglines.cfg", root, only="worker_download")
    program = config.programs["worker_download"]
    assert program.stage_class
    context = Context(
        section="worker_download", number=0, node=config.node, root=root,
        clock=lambda: time.time() + float(ahead.read_text()), table=config.table,
    )  # fmt: skip
    redis = config.redis
    where = {"url": redis.url, "namespace": redis.namespace}
    sys.exit(make_worker(program.stage_class, program.settings, context, **where, limits={}).run())
