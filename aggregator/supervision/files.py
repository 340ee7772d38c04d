"""Every generated file, and who may read it.

Program files hold no path of this machine and no secret, so that they can be kept and compared elsewhere. Only their
owner may read supervisord.conf and redis.conf.
"""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.config import graph, standins
from aggregator.config.configuration import Config
from aggregator.supervision.generated import MARK, GeneratedFile
from aggregator.supervision.launchers import launcher, supervisorctl
from aggregator.supervision.programfiles import program_file
from aggregator.supervision.serverconf import redis_conf, supervisord_conf


def files(config: Config, password: str) -> Iterator[GeneratedFile]:
    """Yield every generated file except the links in workers_enabled; `password` is the one for the web pages."""
    instance = config.instance
    yield GeneratedFile(instance.supervisord_conf, supervisord_conf(config, password), 0o600)
    yield GeneratedFile(
        instance.launcher, launcher(None if config.file == config.root / "loglines.cfg" else config.file), 0o755
    )
    yield GeneratedFile(instance.supervisorctl, supervisorctl(), 0o755)
    if any(program.kind == "redis" for program in config.programs.values()):
        yield GeneratedFile(instance.redis_conf, redis_conf(config), 0o600)
    own = {
        name: standins.note(program, config.raw[name]) for name, program in config.programs.items() if program.is_own
    }
    if own:
        yield GeneratedFile(instance.stages, standins.write_notes(MARK, own), 0o644)
    priorities = graph.priorities(config.programs)
    for program in config.programs.values():
        path = instance.available / f"{program.section}.conf"
        yield GeneratedFile(path, program_file(config, program, priorities[program.section]), 0o644)
