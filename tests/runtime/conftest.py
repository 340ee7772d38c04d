"""Queues and worker processes for the runtime's tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import simplejson

from aggregator.runtime.heartbeat import LEASE_S
from tests.runtime.desk import Desk

SOURCES = ("Counter", "Hesitant", "Tenant", "Reader", "Slow", "ClumsySource", "Closing")
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def desk(redis_client: Any, namespace: str) -> Desk:
    return Desk(redis_client, namespace)


@pytest.fixture
def start(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Start]:
    """Start worker processes, and end them with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(stage: str = "Obedient", *, number: int = 0, **options: Any) -> subprocess.Popen[bytes]:
        wrap = options.pop("wrap", [])
        sends = {} if stage == "Sink" else {"pushto": "out"}
        listens = {} if stage in SOURCES else {"listento": "in"}
        told = {
            "stage": stage, "number": number, "url": options.pop("url", redis_url),
            "namespace": options.pop("namespace", namespace), "node": options.pop("node", "node"),
            "root": str(tmp_path), "limit": options.pop("limit", 10**6), "patience_s": options.pop("patience_s", 600),
            "lease_s": options.pop("lease_s", LEASE_S), "settings": sends | listens | options,
        }  # fmt: skip
        command = [*wrap, sys.executable, "-m", "tests.runtime.stages", simplejson.dumps(told)]
        with open(tmp_path / f"worker_{number}.log", "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
