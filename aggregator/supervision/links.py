"""Enable and disable programs by links, as Debian does with Apache's sites."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from aggregator.config.configuration import Config
from aggregator.config.hints import meant
from aggregator.errors import ConfigError
from aggregator.supervision.changes import Action, carry_out
from aggregator.supervision.control import Control
from aggregator.supervision.generated import is_ours


def enable(config: Config, names: Collection[str]) -> Iterator[str]:
    """Link programs into workers_enabled and, where supervisord runs, start them; yield a line for each change."""
    _check(config, names)
    for name in names:
        link = config.instance.enabled / f"{name}.conf"
        if not os.path.lexists(link):
            text = (config.instance.available / f"{name}.conf").read_text(encoding="utf-8")
            carry_out([Action("link", link, "", text, 0o644)])
            yield f"{name}: enabled"
    yield from _update(config, names)


def disable(config: Config, names: Collection[str]) -> Iterator[str]:
    """Take programs out of workers_enabled and, where supervisord runs, stop them; yield a line for each change."""
    _check(config, names)
    for name in names:
        link = config.instance.enabled / f"{name}.conf"
        if os.path.lexists(link):
            link.unlink()
            yield f"{name}: disabled"
    yield from _update(config, names)


def _check(config: Config, names: Collection[str]) -> None:
    """Raise ConfigError for names without a program file of ours, before anything is changed."""
    instance = config.instance
    known = [path.stem for path in sorted(instance.available.glob("*.conf"))]
    problems = []
    for name in names:
        if name not in known:
            allowed = ", ".join(known) or "none yet, run create_supervisord_config.py"
            hint = meant(name, known) or f"; allowed: {allowed}"
            problems.append(f"workers_available/{name}.conf: no such program{hint}")
        link = instance.enabled / f"{name}.conf"
        if link.is_file() and not is_ours(link.read_text(encoding="utf-8", errors="replace")):
            problems.append(f"workers_enabled/{name}.conf: not written by this program; move it away")
    if problems:
        raise ConfigError(*problems)


def _update(config: Config, names: Collection[str]) -> Iterator[str]:
    control = Control(config.instance.supervisor_socket)
    if control.running():
        yield from control.update(names)
