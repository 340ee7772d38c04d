"""What the tests of faults share: pieces of configurations, and what is told of one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from aggregator import registry
from aggregator.config.loading import load
from aggregator.config.programs import PREFIXES
from aggregator.config.sections import CORE
from aggregator.errors import ConfigError

FEEDER = "[logger_in]\nstage = tests.samplestages:Feeder\npushto = a\n"
COPIER = "[worker_copy]\nstage = tests.samplestages:Copier\nlistento = a\nfanout = b\n"
KEEPER = "[logger_out]\nstage = tests.samplestages:Keeper\nlistento = b\nlogfile = out.log\n"
REDIS = "[redis]\nurl = redis://localhost/0\n"
SECTIONS = ", ".join((*CORE, *(f"{prefix}*" for prefix in (*PREFIXES, *registry.TABLE_PREFIXES))))
TABLES = ", ".join(registry.TABLES)
STAGES = f"{', '.join(sorted(registry.BUILTIN))} or MODULE:CLASS"


class Case(NamedTuple):
    """A text and what is wrong with it: each message without the file's name in front."""

    name: str
    text: str | bytes
    faults: tuple[str, ...]


def problems(text: str | bytes, folder: Path) -> tuple[str, ...]:
    """Return what is told of a configuration, without the file's name in front."""
    file = folder / "loglines.cfg"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as raised:
        load(file, folder)
    assert all(problem.startswith(str(file)) for problem in raised.value.problems)
    return tuple(problem.removeprefix(str(file)) for problem in raised.value.problems)
