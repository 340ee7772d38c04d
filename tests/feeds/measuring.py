"""Compress and archive in a process of its own, and say how much memory that took.

    python -m tests.feeds.measuring ROOT OPTIONS

ROOT has publications of the hour; OPTIONS are those of `StoreSettings`, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aggregator.feeds.archive import Archive
from aggregator.feeds.compress import Compress
from aggregator.stores.settings import settings_of
from tests.feeds.bundles import HOUR
from tests.feeds.stepping import Stepped
from tests.servers import peak_kb


def main(root: str, options: str) -> None:
    """Bundle what lies on the disk, and bring it into the store."""
    compress = Stepped(Compress, Path(root), pushto="bundled@node")
    archive = Stepped(Archive, Path(root), store="test", store_settings=settings_of(**json.loads(options)))
    before = peak_kb()
    compress.run(until=HOUR + 6000)
    compressed = peak_kb()
    archive.push(*compress.out)
    archive.run()
    archived = peak_kb()
    print(json.dumps({"compress_kb": compressed - before, "archive_kb": archived - before}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
