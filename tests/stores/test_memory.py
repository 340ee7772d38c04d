"""Memory does not grow with an object's size."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import lines_of
from tests.stores.writing import writer

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("kind", "size_mb", "more"),
    [("directory", 300, {}), ("seaweedfs", 300, {}), ("seaweedfs", 150, {"multipart": 64 * MB})],
    ids=["directory", "S3", "S3 in parts"],
)
def test_a_large_object_passes_through_a_little_memory(
    options: dict[str, Any], tmp_path: Path, size_mb: int, more: dict[str, Any]
) -> None:
    path = tmp_path / "large"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size_mb):
            chunk = os.urandom(MB)
            digest.update(chunk)
            file.write(chunk)

    with writer("measure", options | more, "large", path) as process:
        measured = json.loads(lines_of(process).read())

    assert measured["sha256"] == digest.hexdigest()
    assert measured["grown_kb"] < 60 * 1024


def test_a_folder_is_opened_without_loading_boto3() -> None:
    check = (
        "import sys; from aggregator.stores import open_store; open_store('file:///x'); print('boto3' in sys.modules)"
    )

    printed = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout

    assert printed.strip() == "False"
