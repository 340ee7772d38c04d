"""A log pipeline under a true supervisord whose paths are spelt otherwise, and which is killed in between."""

from __future__ import annotations

import pytest

from tests.instance import Instance
from tests.servers import wait_until

PIPELINE = """[logger_in]
stage = tail
logfile = {read}
servicename = s
pushto = lines
[logger_out]
stage = logfile
listento = lines
logfile = {write}
format = {{logline}}
"""
SPELLINGS = [
    ("in/*.log", "out/all.log"),
    ("./in/*.log", "{root}/out/all.log"),
    ("{root}/in/a.log", "linked/../out/../linked/all.log"),
]


@pytest.mark.timeout(300)
def test_lines_are_read_and_filed_once_however_their_files_are_spelt() -> None:
    with Instance(PIPELINE.format(read="in/*.log", write="out/all.log")) as instance:
        (instance.root / "in").mkdir()
        (instance.root / "out").mkdir()
        (instance.root / "linked").symlink_to("out")
        out = instance.root / "out/all.log"

        def filed() -> list[str]:
            return out.read_text().splitlines() if out.exists() else []

        def all_filed() -> bool:
            return len(filed()) >= len(expected)

        expected: list[str] = []
        instance.start()
        for number, (read, write) in enumerate(SPELLINGS):
            if number:
                instance.configure(PIPELINE.format(read=read, write=write).replace("{root}", str(instance.root)))
                assert instance.cli("config", "build").returncode == 0
                list(instance.control().update())
            new = [f"{number} {line}" for line in range(200)]
            with (instance.root / "in/a.log").open("a") as log:
                log.writelines(f"{line}\n" for line in new)
            expected += new
            for name in ("logger_in_0", "logger_out_0"):
                instance.kill(name)
            wait_until(all_filed, 60, "the new lines are filed")
            assert filed() == expected, (read, write)
