"""A worker that asks loads what asking needs, and no more."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import aggregator.feeds.download, aggregator.logs.openurl
print(*sorted({"requests", "brotli", "backports.zstd", "compression.zstd", "boto3"} & sys.modules.keys()))
import brotli
from aggregator.files import zstd
print(brotli.decompress(brotli.compress(b"both")).decode(), zstd.ZstdDecompressor().unused_data == b"")
"""


def test_what_only_some_need_is_loaded_by_those_and_can_be() -> None:
    ran = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)

    assert ran.stdout == "\nboth True\n"
