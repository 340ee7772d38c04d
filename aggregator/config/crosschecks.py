"""Check sections that belong to no single program: web pages, users, sections that nobody reads."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator import registry
from aggregator.config import pirus2
from aggregator.config.hints import meant, nearest, unknown
from aggregator.config.ini import Document, Problem, Texts
from aggregator.config.instance import Instance
from aggregator.config.programs import OWN_REDIS, PREFIXES, Program
from aggregator.config.sections import CORE, SupervisorSettings


def check_supervisor(document: Document, supervisor: SupervisorSettings) -> None:
    """Look for web pages that other machines could reach."""
    if supervisor.port.loopback:
        return
    found = f"found {supervisor.port}"
    if supervisor.password is None:
        advice = "set a password of your own, or listen on 127.0.0.1"
        document.fault("supervisor", "port", f"other machines could reach it ({found}); {advice}")
    else:
        words = f"other machines can reach it, and it speaks plain HTTP ({found}); 127.0.0.1 is safer"
        document.warn("supervisor", "port", words)


def check_root(document: Document, instance: Instance) -> None:
    """Look for a folder that supervisord cannot run an instance in."""
    if words := instance.unreadable():
        document.faults.append(Problem(0, None, None, f"{words}; move it"))


def check_users(document: Document, programs: Mapping[str, Program]) -> None:
    """Look for programs whose user cannot reach the instance's own Redis."""
    if OWN_REDIS not in programs or programs[OWN_REDIS].kind != "redis":
        return
    for program in programs.values():
        if program.program.user not in (None, programs[OWN_REDIS].program.user):
            words = "cannot reach the private socket of [process_redis], which has another user"
            document.warn(program.section, "user", f"{words} (found {program.program.user})")


def check_sections(
    document: Document,
    texts: Texts,
    plugins: Mapping[str, Mapping[str, str] | None],
) -> None:
    """Look for sections that nobody reads; `plugins` has the options that each module declares, or None."""
    for section in texts:
        if section in CORE or section.startswith((*PREFIXES, *registry.TABLE_PREFIXES, "redis_")):
            continue
        if section in pirus2.IGNORED_SECTIONS:
            document.warn(section, None, pirus2.IGNORED_SECTIONS[section])
            continue
        plugin = next((name for name in plugins if section == name or section.startswith(f"{name}_")), None)
        if plugin is None:
            document.fault(section, None, _unknown_section(section, sorted(plugins)))
            continue
        known = plugins[plugin]
        for option in texts[section]:
            if known is not None and option not in known:
                document.fault(section, option, unknown(option, tuple(known)))


def _unknown_section(section: str, plugins: list[str]) -> str:
    names = [*CORE, *plugins]
    prefixes = (*PREFIXES, *registry.TABLE_PREFIXES)
    head, underscore, tail = section.partition("_")
    near = nearest(head, [prefix[:-1] for prefix in prefixes])
    hint = f"; did you mean {near}_{tail}?" if near and underscore else meant(section, names)
    return f"unknown section; allowed: {', '.join([*names, *(f'{prefix}*' for prefix in prefixes)])}{hint}"
