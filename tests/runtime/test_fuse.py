"""The timer of the kernel is found in every glibc, and its lack is told at the start."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.errors import Unavailable
from aggregator.runtime.fuse import Fuse
from aggregator.streams.credentials import CredentialSettings
from tests.streams.capturing import Captured

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the timers are those of Linux")


@pytest.fixture
def no_timers() -> Iterator[None]:
    """Let the kernel give no timer to this process."""
    before = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_SIGPENDING, before)


OLD_GLIBC = """
import ctypes
from aggregator.runtime.fuse import Fuse

class Old(ctypes.CDLL):
    def __getattr__(self, name):
        if self._name is None and name.startswith("timer_"):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Old
fuse = Fuse()
fuse.burn_at(1e9)
fuse.put_out()
fuse.burn_at(0)
while True:
    pass
"""


def test_before_glibc_2_34_the_timers_are_those_of_librt() -> None:
    ran = subprocess.run([sys.executable, "-c", OLD_GLIBC], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.returncode, ran.stderr) == (-9, "")


@pytest.mark.usefixtures("no_timers")
def test_a_kernel_without_a_timer_left_is_told_before_anything_is_connected(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no timer"):
        Fuse()
    pool = {"a": CredentialSettings(token="t", pool="p")}
    with pytest.raises(Unavailable, match="needs a timer of the kernel"):
        Captured(tmp_path, pool=pool, type="ndjson", url="http://127.0.0.1:1/").__enter__()
