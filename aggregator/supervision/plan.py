"""Plan which files must change to match the configuration, and carry out the plan.

A build keeps the changes that an operator made by hand: links that were removed or made, and every file that is not
ours. The file of a program with `enabled = no` holds the line `; enabled = no`, so that the next build can tell what
the configuration asked for before.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aggregator.config.builds import BuildFacts, Builds
from aggregator.config.configuration import Config
from aggregator.config.identity import check, claim
from aggregator.config.instance import Instance, read_line
from aggregator.errors import ConfigError
from aggregator.files.opening import open_own, untrusted_link
from aggregator.supervision.builtnotes import new_build
from aggregator.supervision.changes import Action, carry_out, parts_left
from aggregator.supervision.files import files
from aggregator.supervision.folders import check_private, check_writable, make_folders, obstacle
from aggregator.supervision.generated import GeneratedFile, is_ours
from aggregator.supervision.logpaths import log_files
from aggregator.supervision.programfiles import NOT_ENABLED
from aggregator.supervision.redisserver import advice, find_server


class Plan(NamedTuple):
    """Everything a build would do, in order."""

    actions: tuple[Action, ...]
    build: BuildFacts | None = None
    """The new build, which is a copy of the configuration; None when the current build is the same."""

    @property
    def changes(self) -> bool:
        """True when the files are not as the configuration says."""
        return bool(self.actions or self.build)

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each action, and one for a new build."""
        built = (f"build   {self.build.number}",) if self.build else ()
        return (*(action.line for action in self.actions), *built)


def build(config: Config, dry_run: bool = False) -> Plan:
    """Make the files of a configuration, and return the plan that was carried out; with `dry_run` only return the plan.

    Raises ConfigError, having changed nothing, when a file that is not ours is in the way, or when a folder cannot be
    made or written to.
    """
    planned = plan(config)
    if dry_run:
        return planned
    instance = config.instance
    # order: refuse first, then make the folders, because the lock lies in one of them
    check_writable(instance.build_lock, *(action.path for action in planned.actions if action.kind != "mkdir"))
    folders = make_folders(planned.actions)
    with open(open_own(instance.build_lock, os.O_RDWR | os.O_CREAT), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(instance)
        made = plan(config)
        claim(instance, config.node)
        _apply(config, made)
    return Plan((*folders, *made.actions), made.build)


def plan(config: Config) -> Plan:
    """Return the changes to make. Raises ConfigError when they would touch files that are not ours."""
    actions = tuple(_Planner(config).actions())
    return Plan(actions, new_build(config))


def _apply(config: Config, made: Plan) -> None:
    """Write the new build, which workers read, then the files that name it. Raises OSError, having changed nothing."""
    builds = Builds(config.instance)
    if made.build is None:
        carry_out(made.actions)
        return
    builds.write(made.build, config.source, config.tables.copies(), config.file.stat())
    try:
        # order: first every other file, then the pointer that makes the new build the current one
        carry_out([*made.actions, Action("write", builds.pointer, "", f"{made.build.number}\n", 0o644)])
    except OSError:
        builds.discard(made.build.number)
        raise
    builds.sweep(_named(config.instance))


def _named(instance: Instance) -> dict[str, str]:
    """Return the digest that the program file of each section names."""
    texts = {path.stem: _text(path) or "" for path in instance.available.glob("*.conf")}
    found = {section: re.search(r'AGGREGATOR_DIGEST="(\w+)"', text) for section, text in texts.items()}
    return {section: match[1] for section, match in found.items() if match}


class _Planner:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.instance: Instance = config.instance
        self.password = config.supervisor.password or read_line(self.instance.password)

    def actions(self) -> Iterator[Action]:
        new_password = None if self.password else secrets.token_urlsafe(12)
        wanted = list(files(self.config, self.password or new_password or ""))
        self._refuse(wanted)
        yield from self._folders()
        if self.config.aggregator.node is None and read_line(self.instance.node) is None:
            yield self._write(GeneratedFile(self.instance.node, f"{self.config.node}\n", 0o644), "create")
        if self.instance.sockets != self.instance.run:
            yield from self._file(GeneratedFile(self.instance.sockets_note, f"{self.instance.sockets}\n", 0o644))
        if new_password:
            yield self._write(GeneratedFile(self.instance.password, f"{new_password}\n", 0o600), "create")
        for file in wanted:
            # order: link, then file. After a kill between the two, the next build finds the old file and goes on.
            # In the other order, it would find the new file and take the missing link for an operator's wish.
            if file.path.parent == self.instance.available:
                yield from self._enabling(file)
            yield from self._file(file)
        yield from self._leftovers({file.path for file in wanted})

    def _refuse(self, wanted: list[GeneratedFile]) -> None:
        check(self.instance)
        problems = list(dict.fromkeys(self._bad_folders()))
        for file in wanted:
            if os.path.lexists(file.path) and (file.path.is_symlink() or not _wrote(file.path)):
                problems.append(f"{self._shown(file.path)}: in the way, and not written by this program; move it away")
        programs = self.config.programs
        for path in sorted(self.instance.enabled.glob("*.conf")):
            if self._is_link(path) or _wrote(path):
                continue
            heads = [line.partition("]")[0] for line in (_text(path) or "").split("\n") if line.startswith("[program:")]
            names = {path.stem, *(head.removeprefix("[program:").strip() for head in heads)}
            for name in programs:
                if name in names:
                    words = f"stands for the program [{name}] too, and was not written by this program; move it away"
                    problems.append(f"{self._shown(path)}: {words}")
        if any(program.kind == "redis" for program in programs.values()) and find_server(self.instance) is None:
            problems.append(f"[process_redis]: no redis-server or valkey-server on PATH; {advice()}")
        if problems:
            raise ConfigError(*problems)

    def _bad_folders(self) -> Iterator[str]:
        """Yield the problems of folders that can be found without making the folders."""
        for folder in (self.instance.run, self.instance.logs, self.instance.available, self.instance.enabled):
            if found := obstacle(folder):
                yield f"cannot make {folder}/: {found}"
            elif words := untrusted_link(folder):
                yield f"{folder}: {words}"
        for program in self.config.programs.values():
            place = f"[{program.section}] stdout_logfile"
            for log in log_files(self.config, program):
                if os.path.isdir(log):
                    yield f"{place}: {log} is a folder; allowed: a file"
                elif log.parent != self.instance.logs and (found := obstacle(log.parent)):
                    yield f"{place}: cannot make {log.parent}/: {found}"

    def _folders(self) -> Iterator[Action]:
        folders = {self.instance.run: 0o711}
        if self.instance.sockets != self.instance.run:
            folders[self.instance.sockets] = 0o700
            check_private(self.instance.sockets)
        folders[self.instance.built] = 0o711
        for path in (self.instance.logs, self.instance.available, self.instance.enabled):
            folders[path] = 0o755
        for program in self.config.programs.values():
            for log in log_files(self.config, program):
                folders.setdefault(log.parent, 0o755)
        for path, mode in folders.items():
            if not path.is_dir():
                yield Action("mkdir", path, f"create  {self._shown(path)}/", mode=mode)

    def _file(self, file: GeneratedFile) -> Iterator[Action]:
        found = _text(file.path)
        if found != file.text:
            yield self._write(file, "create" if found is None else "change")
        elif file.path.stat().st_mode & 0o777 != file.mode:
            yield Action("mode", file.path, f"chmod   {self._shown(file.path)} {file.mode:04o}", mode=file.mode)

    def _enabling(self, file: GeneratedFile) -> Iterator[Action]:
        link = self.instance.enabled / file.path.name
        before, linked = _text(file.path), os.path.lexists(link)
        enabled = NOT_ENABLED not in file.text.split("\n")
        # None: a new program. Otherwise what the configuration said when the file was last written.
        was_enabled = None if before is None else NOT_ENABLED not in before.split("\n")
        if enabled and was_enabled is not True and not linked:
            yield Action("link", link, f"enable  {self._shown(link)}", file.text, file.mode)
        elif not enabled and was_enabled is True and linked:
            yield Action("remove", link, f"disable {self._shown(link)}")
        elif linked and not link.is_symlink() and _text(link) != file.text:
            yield self._write(GeneratedFile(link, file.text, file.mode), "change")

    def _leftovers(self, wanted: set[Path]) -> Iterator[Action]:
        """Yield the removal of our files whose sections are gone; links go first, so that none of them ever dangles."""
        for link in sorted(self.instance.enabled.glob("*.conf")):
            ours = self._is_link(link) or (not link.is_symlink() and _wrote(link))
            available = self.instance.available / link.name
            if available not in wanted and ours and (_wrote(available) or not available.exists()):
                yield Action("remove", link, f"remove  {self._shown(link)}")
        for path in sorted(self.instance.available.glob("*.conf")):
            if path not in wanted and not path.is_symlink() and _wrote(path):
                yield Action("remove", path, f"remove  {self._shown(path)}")

    def _is_link(self, path: Path) -> bool:
        """True for a link to the file of the same name in workers_available, however the link's target is written."""
        if not path.is_symlink():
            return False
        return path.parent.joinpath(os.readlink(path)).resolve() == (self.instance.available / path.name).resolve()

    def _write(self, file: GeneratedFile, word: str) -> Action:
        return Action("write", file.path, f"{word}  {self._shown(file.path)}", file.text, file.mode)

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.config.root)) if path.is_relative_to(self.config.root) else str(path)


def _text(path: Path) -> str | None:
    """Return the text of a file; None when there is no file."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def _wrote(path: Path) -> bool:
    """True for a file that this program wrote."""
    return is_ours(_text(path) or "")


def _sweep(instance: Instance) -> None:
    """Remove the half-written files of killed builds. The caller holds the lock, so no other build is writing."""
    places = {instance.root: "supervisord.conf", instance.run: "*", instance.built: "current"}
    places |= dict.fromkeys((instance.available, instance.enabled), "*.conf")
    for part in parts_left(places):
        part.unlink(missing_ok=True)
