"""Unite bundles: every publication and every tick that any of them has, once.

In whatever order, grouping or format the bundles come, the result is the same to the byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from aggregator.feeds.bundle.bundles import Written, read_bundle, write_bundle
from aggregator.feeds.bundle.compression import Level
from aggregator.feeds.bundle.manifest import Manifest
from aggregator.feeds.bundle.members import Body


def merge_bundles(
    target: BinaryIO,
    sources: Iterable[BinaryIO],
    scratch: Path,
    format_name: str = "zst",
    level: Level = "default",
) -> Written:
    """Write the union of bundles of any format.

    `scratch` is a folder with room for the publications of all of them, uncompressed; memory holds only their names
    and hashes. Raises BadBundle for a source that is none, BadManifest for bundles of different feeds or periods.
    """
    bodies: list[Body] = []
    manifests: list[Manifest] = []
    with tempfile.TemporaryFile(dir=scratch, prefix="merge-") as spool:
        for source in sources:
            contents = read_bundle(source, spool)
            bodies += contents.bodies
            manifests += contents.manifests
        return write_bundle(target, bodies, manifests, format_name, level)
