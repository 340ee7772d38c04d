"""Run benchmarks: `python -m benchmarks [NAME...] [--json FILE]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

NAMES = (
    "handoff",
    "claiming",
    "peers",
    "recovery",
    "files",
    "idle",
    "bundles",
    "downloads",
    "schedule",
    "filtering",
    "archiving",
    "matching",
    "websockets",
    "capturing",
)


def main() -> int:
    """Run the benchmarks that were named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, side by side with others.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all without")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    found = {}
    for name in arguments.names or NAMES:
        began = time.monotonic()
        module = importlib.import_module(f"benchmarks.{name}")
        tables = []
        for table in module.run():
            print(table.text(), end="\n\n", flush=True)
            tables.append(table.as_json())
        print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        found[name] = tables
    if arguments.json:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        arguments.json.write_text(json.dumps({"machine": machine, "benchmarks": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
