"""Merge bundles into one with every publication and every tick that any of them has, each once.

The result is the same to the byte, whatever the order, grouping and format of the bundles.
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

    `scratch` is a folder with room for all their publications, uncompressed; of these, memory holds only the names and
    hashes. Raises BadBundle for a source that is not a bundle, BadManifest for bundles of different feeds or periods.
    """
    bodies: list[Body] = []
    manifests: list[Manifest] = []
    with tempfile.TemporaryFile(dir=scratch, prefix="merge-") as spool:
        for source in sources:
            contents = read_bundle(source, spool)
            bodies += contents.bodies
            manifests += contents.manifests
        return write_bundle(target, bodies, manifests, format_name, level)
