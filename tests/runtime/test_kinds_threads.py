"""A message may be the first of its kind in several threads at once."""

from __future__ import annotations

import subprocess
import sys

FIRST_IN_ALL_THREADS = """
import sys
import threading
import msgspec
from aggregator.runtime.kinds import decode

sys.setswitchinterval(1e-6)
raw = msgspec.json.encode({"kind": "due"} | {f"field{number}": {"of": 1} for number in range(20)})
for tag in ["due", None] * 100:
    # structs within it: while msgspec learns of one, it lets other threads run
    fields = [(f"field{number}", msgspec.defstruct("Part", [("of", int)])) for number in range(20)]
    kind = msgspec.defstruct("Kind", fields, tag=tag, tag_field=tag and "kind")
    barrier = threading.Barrier(8)

    def read():
        barrier.wait()
        assert decode(raw, kind).field19.of == 1

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_several_threads_may_be_the_first_to_read_a_kind() -> None:
    ran = subprocess.run([sys.executable, "-c", FIRST_IN_ALL_THREADS], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
