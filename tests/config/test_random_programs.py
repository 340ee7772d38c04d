"""Whatever the check lets pass, supervisord reads, and its logs are where we say: random texts in random options."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from aggregator.config.loading import load
from aggregator.errors import ConfigError
from aggregator.supervision import build
from aggregator.supervision.logpaths import log_files

VARIABLES = {
    "BLANK": "a b",
    "COMMA": "x,B=1",
    "COMMENT": " ;x",
    "EMPTY": "",
    "NOTHING": "none",
    "PERCENT": "50%",
    "QUOTE": 'a"b',
    "SINGLE": "it's",
}
PIECES = (
    *(f"%(ENV_{name})s" for name in VARIABLES),
    *("%", "%%", "%(here)s", "%(process_num)d", "%(process_num)02d", "%(program_name)s", "%(program_name)d"),
    *("%(numprocs)d", "%(host_node_name)s", "(here)s", "(process_num)d", "A=", 'A="', "A='"),
    *("none", "AUTO", "syslog", "\n  ", "\u00e9", "\u2028", "\x0b", "\t"),
    *"\"' =,;#\\/.~-:{}$*[]()@!&|ABds1",
)
BEGINNINGS = ("logs/", "x", "%(here)s/", "%(process_num)d", "%%")
"""Of a log: the folders of one may be made, so none begins at / or at a home."""
OPTIONS = ("user", "exitcodes", "startsecs", "stdout_logfile_maxbytes")


def random_text(chance: random.Random) -> str:
    return "".join(chance.choices(PIECES, k=chance.randint(1, 5)))


def random_section(chance: random.Random) -> str:
    """Return a program that is often right: most options are left out."""
    lines = [chance.choice(("[process_a]", "[worker_a]")), f"command = echo {random_text(chance)}"]
    lines += [f"stdout_logfile = {chance.choice(BEGINNINGS)}{random_text(chance)}"] if chance.random() < 0.5 else []
    quote = chance.choice("\"' ")
    lines += [f"environment = A={quote}{random_text(chance)}{quote}"] if chance.random() < 0.5 else []
    lines += [f"{option} = {random_text(chance)}" for option in OPTIONS if chance.random() < 0.02]
    lines += ["numprocs = 2"] if chance.random() < 0.5 else []
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(200))
def test_what_passes_the_check_is_read_by_supervisord(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    chance = random.Random(seed)
    file = tmp_path / "loglines.cfg"
    config = None
    while config is None:
        file.write_text(f"[redis]\n{random_section(chance)}")
        try:
            config = load(file, tmp_path)
            build(config)
        except ConfigError:
            config = None

    options = ServerOptions()
    options.realize(["-c", str(tmp_path / "supervisord.conf")])

    processes = [
        process for group in options.configroot.supervisord.process_group_configs for process in group.process_configs
    ]
    logs = [os.path.expanduser(process.stdout_logfile) for process in processes if type(process.stdout_logfile) is str]
    (program,) = config.programs.values()
    assert len(processes) == program.numprocs
    assert [os.path.realpath(log) for log in logs] == [os.path.realpath(log) for log in log_files(config, program)]
    assert not build(load(file, tmp_path), dry_run=True).changes, file.read_text()
