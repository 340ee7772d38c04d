"""The digest of everything that a program reads: when the digest changes, supervisord restarts the program."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from aggregator import __version__
from aggregator.config.configuration import Config
from aggregator.config.installation import code_digest
from aggregator.config.parsing import options_of
from aggregator.config.programs import Program
from aggregator.config.sections import ProgramSettings
from aggregator.supervision.serverconf import redis_conf


def digest_of_program(config: Config, program: Program) -> str:
    """Return the digest of everything that a program reads outside its program file.

    The program file names the digest, so that `supervisorctl update` restarts the program when the digest changes. It
    has eight hexadecimal digits: too few to tell one password from another.
    """
    options = {option.name for option in options_of(ProgramSettings)}
    own = {name: text for name, text in config.raw[program.section].items() if name not in options}
    parts: list[object] = [code_digest() if program.kind == "stage" else __version__, own]
    if program.kind == "redis":
        parts.append(redis_conf(config).replace(str(config.root), ""))
    elif not program.section.startswith("process_"):
        parts += [config.raw.get("redis"), config.raw.get("aggregator"), config.redis.url.startswith("unix:")]
        parts += [config.depth_limit(queue) for queue in program.feeds]
        parts += [config.tables.digest(kind) for kind in program.traits.tables]
        parts += [part for entry in program.traits.entries for part in _entries(config, program.section, *entry)]
        parts += [config.raw.get(section) for section in program.traits.sections]
        for name in program.plugins:
            parts += [raw for section, raw in config.raw.items() if section == name or section.startswith(f"{name}_")]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _entries(config: Config, section: str, kind: str, option: str, key: str) -> Iterator[object]:
    """Yield the sections of a table that a section reads, as a `Traits.entries` says."""
    wanted = config.raw[section].get(option)
    for name, raw in config.raw.items():
        found = raw.get(key) if key else name.removeprefix(f"{kind}_")
        if name.startswith(f"{kind}_") and wanted is not None and found == wanted:
            yield name, raw
