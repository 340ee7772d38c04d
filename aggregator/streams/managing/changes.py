"""Change streams while everything else runs on: first the file, then what is built of it, then supervisord.

A change is made in memory, and checked as `config check` checks a file, before anything is written.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from aggregator.config import ini
from aggregator.config.configuration import Config
from aggregator.config.hints import meant, unknown
from aggregator.config.instance import shown
from aggregator.config.loading import load
from aggregator.config.programs import is_disabled
from aggregator.errors import AggregatorError, ConfigError
from aggregator.files.durable import part_of, place_of, sync_folder, write_part
from aggregator.monitor.collecting import unread_queues
from aggregator.streams.journal import folder_of, journals_in
from aggregator.streams.managing.options import PREFIX, known_options
from aggregator.streams.managing.sections import add_section, change_section, remove_section
from aggregator.streams.messages import NAME
from aggregator.supervision import Control, SupervisorError, build, disable, enable
from aggregator.supervision.consequences import Consequences, consequences
from aggregator.supervision.plan import plan

_RUNS = ("RUNNING", "STARTING")

Switch = Literal["on", "off", "as_it_is"]


class ChangeFailed(AggregatorError):
    """A change was not made, or not to its end; the text says how far it came."""


class Change:
    """A change that is known to be right, and not made yet."""

    def __init__(self, editing: Editing, section: str, text: bytes, switch: Switch) -> None:
        """`switch` says whether the program is enabled or disabled besides. Raises ConfigError with all faults."""
        self.section = section
        self._editing = editing
        self._text = text
        self._switch = switch
        try:
            self._config = load(editing.file, editing.root, text=text)
            plan(self._config)
            self.to_come: Consequences = consequences(self._config)
            """What the change does to running programs and to state beside what was asked for."""
        except ConfigError as error:
            raise ConfigError(*(_without_line(problem, section) for problem in error.problems)) from error

    @property
    def missing(self) -> tuple[str, ...]:
        """What is missing or wrong in the stream if it is a draft."""
        return tuple(_without_line(fault, self.section) for fault in self._config.drafts.get(self.section, ()))

    def carry_out(self) -> Iterator[str]:
        """Make the change, and yield a line for each step. Raises ConfigError, OSError or ChangeFailed."""
        config, before = self._config, self._editing.text
        if self._text != before:
            self._editing.write(self._text)
        try:
            yield from build(config).lines
        except (ConfigError, OSError):
            if self._text != before:
                self._editing.write(before)
            raise
        try:
            yield from self._tell_supervisord(config)
        except SupervisorError as error:
            advice = "it is written and built; `run/supervisorctl update` brings it in"
            raise ChangeFailed(f"{error}; {advice}") from error
        if self.section not in config.texts:
            yield from _left_in_journal(config.root, self.section)
        elif is_disabled(config.texts[self.section]):
            name = self.section.removeprefix(PREFIX)
            yield f"{name} is kept as a draft, and collects nothing; `streams activate {name}` starts it"
        for finding in unread_queues(config, lambda section: section == self.section):
            yield f"warning: queue {finding.about}: {finding.text}"

    def _tell_supervisord(self, config: Config) -> Iterator[str]:
        control = Control(config.instance.supervisor_socket)
        runs = control.running()
        if self.section not in config.programs or self._switch == "as_it_is":
            yield from control.update([self.section]) if runs else ()
        else:
            yield from (enable if self._switch == "on" else disable)(config, [self.section])
        if not runs:
            yield "supervisord does not run: this takes effect when it starts"
        elif self._switch == "on":
            # a program that somebody stopped, or that supervisord gave up, is known to it and unchanged
            states = [state.state for state in control.states() if state.program == self.section]
            if states and not any(state in _RUNS for state in states):
                control.start(self.section)
                yield f"{self.section}: started"


class Editing:
    """loglines.cfg while this process alone edits it by these commands."""

    def __init__(self, file: Path, root: Path) -> None:
        """Raises ConfigError for a file whose form is wrong, and OSError when it cannot be read."""
        self.file = file
        self.root = root
        self.text = file.read_bytes()
        self._document = ini.read(file, self.text)
        if self._document.faults:
            raise ConfigError(*(fault.render(shown(file)) for fault in self._document.faults), "nothing was changed")

    def add(self, name: str, texts: Mapping[str, str], *, draft: bool) -> Change:
        """Return the addition of a stream. Raises ConfigError with everything that is wrong."""
        section = section_of(name)
        if not NAME.fullmatch(section.removeprefix(PREFIX)):
            raise ConfigError(f"{name!r} is no name for a stream; allowed: letters, digits, _ . - (1 to 60)")
        if section in self._document.sections:
            line = self._document.line_of(section)
            raise ConfigError(f"{self.file.name}:{line} [{section}] is there already; `streams edit` changes it")
        options = {**texts, "enabled": "no"} if draft else texts
        return Change(self, section, add_section(self.text, section, options), "as_it_is" if draft else "on")

    def edit(self, name: str, texts: Mapping[str, str], unset: Sequence[str]) -> Change:
        """Return a change of options. Raises ConfigError with everything that is wrong."""
        section = self._section(name)
        faults = list(_faults_of_unset(unset, texts, self._document.sections[section].values, section))
        if faults:
            raise ConfigError(*faults)
        changes: dict[str, str | None] = {**texts, **dict.fromkeys(unset)}
        return Change(self, section, change_section(self.text, section, changes), "as_it_is")

    def activate(self, name: str) -> Change:
        """Return the change that makes a stream run. Raises ConfigError with everything that is missing or wrong."""
        section = self._section(name)
        text = change_section(self.text, section, {"enabled": "yes"}) if self._is_disabled(section) else self.text
        return Change(self, section, text, "on")

    def deactivate(self, name: str) -> Change:
        """Return the change that ends a stream and keeps its section."""
        section = self._section(name)
        text = self.text if self._is_disabled(section) else change_section(self.text, section, {"enabled": "no"})
        return Change(self, section, text, "off")

    def remove(self, name: str) -> Change:
        """Return the change that ends a stream and takes its section out."""
        section = self._section(name)
        return Change(self, section, remove_section(self.text, section), "as_it_is")

    def write(self, text: bytes) -> None:
        """Replace the file as a whole, durably; mode and owner stay, and a link is followed.

        Raises ChangeFailed when somebody else has written the file meanwhile, and OSError.
        """
        place = place_of(self.file)
        if place.read_bytes() != self.text:
            raise ChangeFailed(f"{self.file} was changed meanwhile; nothing was changed here, try again")
        found, part = place.stat(), part_of(place)
        try:
            write_part(part, text, found.st_mode & 0o7777, found)
            self._keep_owner(part, found)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(place.parent)
        self.text = text

    def _keep_owner(self, part: Path, found: os.stat_result) -> None:
        made = part.stat()
        if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
            try:
                os.chown(part, found.st_uid, found.st_gid)
            except PermissionError as error:
                words = "its owner and group could not be kept; run this as its owner, or edit it by hand"
                raise ChangeFailed(f"{self.file}: {words}; nothing was changed") from error
            part.chmod(found.st_mode & 0o7777)

    def _section(self, name: str) -> str:
        section = section_of(name)
        if section not in self._document.sections:
            known = [each.removeprefix(PREFIX) for each in self._document.sections if each.startswith(PREFIX)]
            hint = meant(name, known) or f"; there are: {', '.join(known) or 'none'}"
            raise ConfigError(f"{self.file.name}: no section [{section}]{hint}")
        return section

    def _is_disabled(self, section: str) -> bool:
        return is_disabled({name: value.text for name, value in self._document.sections[section].values.items()})


@contextmanager
def editing(file: Path, root: Path) -> Iterator[Editing]:
    """Edit loglines.cfg. Raises ConfigError when there is none, and ChangeFailed while somebody else does."""
    if not file.is_file():
        raise ConfigError(f"no {file.name} in {file.parent}; `aggregator init DIR` makes a new instance")
    handle = os.open(place_of(file).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, file)
        yield Editing(file, root)
    finally:
        os.close(handle)


def _lock(handle: int, file: Path) -> None:
    """Lock the folder, because the file itself is replaced."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ChangeFailed(f"another command is editing {file}; try again when it is done") from error


def section_of(name: str) -> str:
    """Return the section of a stream, which may be named with its prefix or without it."""
    return f"{PREFIX}{name.removeprefix(PREFIX)}"


def _faults_of_unset(
    unset: Sequence[str], texts: Container[str], present: Container[str], section: str
) -> Iterator[str]:
    known = known_options()
    for name in unset:
        if name not in known:
            yield f"--unset {name}: {unknown(name, known)}"
        elif name in texts:
            yield f"--unset {name}: this command sets it too"
        elif name not in present:
            yield f"--unset {name}: [{section}] does not have it"


def _without_line(problem: str, section: str) -> str:
    """Return a fault of the section without its line: the file has no such line yet."""
    return re.sub(rf"^.*?:\d+ (?=\[{re.escape(section)}\])", "", problem)


def _left_in_journal(root: Path, section: str) -> Iterator[str]:
    """Yield a line about events that were received and had not been delivered when the stream ended."""
    stream = section.removeprefix(PREFIX)
    size = journals_in(root).get(stream, 0)
    if size:
        words = "received and not delivered; a stream that is added under the same name delivers it"
        yield f"up to {size:,} bytes in {folder_of(root, stream).relative_to(root)} were {words}"
