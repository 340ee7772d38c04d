"""A program that runs one worker of a stage of streams, for tests that kill it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aggregator.config.parsing import parse_settings
from aggregator.registry import load_stage
from aggregator.runtime.context import Context
from aggregator.runtime.process import log_to_stdout, make_worker


def main(told: dict[str, str], options: dict[str, str]) -> int:
    """Run a worker of `told["stage"]` with these options."""
    log_to_stdout()
    stage = load_stage(told["stage"], None)
    settings, faults = parse_settings(stage.Settings, options)  # type: ignore[attr-defined]
    assert not faults, faults
    context = Context(section=told["stage"], number=0, node="here", root=Path(told["root"]))
    return make_worker(stage, settings, context, url=told["url"], namespace=told["namespace"], limits={}).run()


if __name__ == "__main__":
    sys.exit(main(*map(json.loads, sys.argv[1:])))
