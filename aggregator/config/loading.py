"""Load loglines.cfg as a whole: read it, check it, report every fault in it at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from aggregator import registry
from aggregator.config import (
    crosschecks,
    exposure,
    foreign,
    graph,
    identity,
    ini,
    outputs,
    ownership,
    pirus2,
    placeholders,
    standins,
)
from aggregator.config.builds import Build
from aggregator.config.configuration import Config, local_name, parser_of
from aggregator.config.coresections import read_core, read_redis, read_rules
from aggregator.config.hints import meant
from aggregator.config.instance import Instance, host_node, read_line, shown
from aggregator.config.programreading import ProgramReader
from aggregator.config.programs import DRAFTS, OWN_REDIS, PREFIXES, Program, is_disabled, is_own_redis, stage_name
from aggregator.config.sections import CORE, AggregatorSettings, RedisSettings, SupervisorSettings
from aggregator.config.settings import DEFAULT_MAXDEPTH
from aggregator.config.tables import Tables, render
from aggregator.errors import ConfigError


def load(
    file: Path,
    root: Path,
    only: str | None = None,
    *,
    reading: bool = False,
    imports: bool | None = None,
    build: Build | None = None,
    text: bytes | None = None,
) -> Config:
    """Return the configuration in a file, or in a build. Raises ConfigError with every fault in it.

    With `text` this is read in place of the file's content, for commands that are about to write it.

    With `reading` a missing environment variable is no fault, because commands that only look need no secrets. Without
    `imports`, which is the default with `reading`, no module of the user's own is imported, so that commands that only
    look execute nothing of somebody else's.

    With `only` one section's stage is imported and checked, and faults of other sections are ignored: a worker must
    stay small, and must not die while somebody edits another part of the file.
    """
    # use the real folder: the place of the sockets depends on its path, and must be the same for every link to it
    real = Path(os.path.realpath(root))
    return _Loader(file, real, only, reading, not reading if imports is None else imports, build, text).load()


def redis_of_build(build: Build, root: Path) -> RedisSettings:
    """Return where the Redis of a build is, without looking at the build's programs. Raises ConfigError."""
    return _Loader(build.file, root, OWN_REDIS, True, False, build).load_redis()


class _Loader:
    """Everything that is known while a file is being read."""

    def __init__(
        self,
        file: Path,
        root: Path,
        only: str | None,
        reading: bool,
        imports: bool,
        build: Build | None,
        text: bytes | None = None,
    ) -> None:
        self.file = file
        self.root = root
        self.only = only
        self.reading = reading
        self.imports = imports
        # an instance of another user must not learn what this user's environment holds
        self.environ = {} if reading and ownership.is_foreign(root) else os.environ
        self.doubts: list[str] = []
        self.instance = Instance(root)
        self.build = build
        self.document = ini.read(build.text if build else file, text)
        self.faults_of_form = list(self.document.faults)
        self.raw = {
            section.name: {name: value.text for name, value in section.values.items()}
            for section in self.document.sections.values()
        }
        self.texts: dict[str, dict[str, str]] = {}
        self.drafts: dict[str, list[ini.Problem]] = {}
        """What is missing or wrong in each draft."""

    def load(self) -> Config:
        self._refuse_foreign()
        if self.document.faults and not self.raw:
            self._refuse()
        self._expand()
        supervisor = read_core(self.document, self.texts, "supervisor", SupervisorSettings) or SupervisorSettings()
        redis = read_redis(self.document, self.texts, self.instance)
        aggregator = read_core(self.document, self.texts, "aggregator", AggregatorSettings) or AggregatorSettings()
        rules = read_rules(self.document, self.texts, redis)
        self._look_at_owners(aggregator)
        reader = ProgramReader(self.document, self.root, parser_of(self.texts), self._standing_in())
        programs = self._programs(reader)
        self._set_drafts_apart(programs)
        shared = Tables(
            self.document,
            self.raw,
            self.texts,
            self.file,
            self.root,
            self._table_files(aggregator),
            self.environ,
            self.imports,
            self.build,
        )
        if self.only is None:
            self._check_together(supervisor, reader, programs, shared)
            self._set_drafts_apart(programs)
        self._refuse(name for program in programs.values() for name in program.traits.sections)
        node = aggregator.node or self._known_node() or host_node()
        return Config(
            root=self.root,
            file=self.root / self.file.name if self._file_in_root() else Path(os.path.abspath(self.file)),
            node=node,
            redis=redis,
            supervisor=supervisor,
            aggregator=aggregator,
            rules=rules,
            programs=programs,
            warnings=tuple(self._lines(self.document.warnings)),
            doubts=tuple(self.doubts),
            drafts={section: tuple(self._lines(faults)) for section, faults in self.drafts.items()},
            raw=MappingProxyType(self.raw),
            texts=MappingProxyType(self.texts),
            limits={local_name(queue, node): limit for queue, limit in self._limits()},
            tables=shared,
            source=self.document.source,
            build=self.build,
        )

    def _check_together(
        self, supervisor: SupervisorSettings, reader: ProgramReader, programs: Mapping[str, Program], shared: Tables
    ) -> None:
        """Look for faults that show only when sections are read together."""
        self.document.faults += [fault for fault in shared.check() if fault not in self.document.faults]
        crosschecks.check_supervisor(self.document, supervisor)
        crosschecks.check_root(self.document, self.instance)
        crosschecks.check_users(self.document, programs)
        if not reader.unsure:
            crosschecks.check_sections(self.document, self.texts, reader.plugins)
        graph.check(programs, self.document)
        graph.check_messages(programs, self.document)
        if not is_own_redis(OWN_REDIS, self.texts.get(OWN_REDIS, {"command": ""})):
            graph.check_shared(programs, self.document)
        outputs.check(programs, self.document, self.root)
        exposure.check(self.document, self.raw, self.build.text if self.build else self.file)

    def load_redis(self) -> RedisSettings:
        self._expand()
        redis = read_redis(self.document, self.texts, self.instance)
        self._refuse()
        return redis

    def _known_node(self) -> str | None:
        """Return the node's name that was noted at the first build."""
        facts = identity.read_facts(self.instance)
        return (facts and facts.node) or read_line(self.instance.node)

    def _look_at_owners(self, aggregator: AggregatorSettings) -> None:
        """Refuse files by which somebody else could have us execute something, before any of them is imported."""
        kinds = registry.TABLES
        powers = {
            self.root / path: file.power
            for kind, path in self._table_files(aggregator).items()
            if (file := kinds[kind].file)
        }
        for doubt in ownership.doubts(self.root, self.file, powers, executing=self.imports):
            if not doubt.refused:
                self.document.warnings.append(ini.Problem(0, None, None, doubt.text))
            elif self.imports:
                self.document.faults.append(ini.Problem(0, None, None, doubt.text))
            else:
                self.doubts.append(doubt.text)
        if self.imports and any(fault.section is None for fault in self.document.faults):
            self._refuse()

    def _table_files(self, aggregator: AggregatorSettings) -> dict[str, str]:
        """Return the path of the file of further entries of each table that has one."""
        found = {name: getattr(aggregator, kind.file.option) for name, kind in registry.TABLES.items() if kind.file}
        return {name: path for name, path in found.items() if path is not None}

    def _standing_in(self) -> Mapping[str, standins.Noted] | None:
        return None if self.imports else standins.read_notes(self.instance.stages)

    def _file_in_root(self) -> bool:
        return os.path.realpath(self.file.parent) == str(self.root)

    def _refuse(self, sections: Iterable[str] = ()) -> None:
        """Raise ConfigError if there are faults; `sections` are those that matter to the section asked for as well."""
        faults = self.document.faults
        if self.only is not None:
            ours = (None, self.only, "redis", "aggregator", *sections)
            faults = [fault for fault in faults if fault.section in ours and (fault.section or not fault.line)]
        if faults:
            raise ConfigError(*self._lines(faults))

    def _refuse_foreign(self) -> None:
        """Refuse a file of another program with one fault, in place of one fault for each of its lines."""
        known = (*CORE, *pirus2.IGNORED_SECTIONS)
        if self.document.begins_with_section or any(
            section in known or section.startswith((*PREFIXES, *registry.TABLE_PREFIXES)) for section in self.raw
        ):
            return
        raise ConfigError(f"{shown(self.file)}: {foreign.advice(self.file, self.file.read_bytes())}")

    def _lines(self, problems: list[ini.Problem]) -> list[str]:
        return render(problems, self.file)

    def _expand(self) -> None:
        here = str((self.build.file if self.build else self.file.absolute()).parent)
        for section, options in self.raw.items():
            self.texts[section] = {}
            for option, text in options.items():
                value, missing = placeholders.expand(text, here, self.environ)
                self.texts[section][option] = value
                if "%(ENV_" in text:
                    self.document.veiled[section, option] = text
                if missing and not self.reading:
                    self.document.fault(section, option, f"missing environment variable {', '.join(missing)}")

    def _programs(self, reader: ProgramReader) -> dict[str, Program]:
        if self.only is None:
            sections = [section for section in self.texts if section.startswith(PREFIXES)]
        else:
            sections = [section for section in self.texts if section == self.only]
            if not sections:
                names = [section for section in self.texts if section.startswith(PREFIXES)]
                self.document.fault(self.only, None, f"no such section{meant(self.only, names)}")
        programs: dict[str, Program] = {}
        seen: dict[str, str] = {}
        for section in sections:
            first = seen.setdefault(section.casefold(), section)
            if first != section:
                place = f"[{first}] in line {self.document.line_of(first)}"
                words = f"makes the same program as {place}; names must differ in more than case"
                self.document.fault(section, None, words)
            program = reader.read(section, self.texts[section])
            if program is not None:
                programs[section] = program
        return programs

    def _set_drafts_apart(self, programs: dict[str, Program]) -> None:
        """Turn the faults of drafts into warnings. A draft with faults makes no program.

        A worker is no draft, whatever its section says: it would run with these faults.
        """
        if self.only is not None:
            return
        faults = self.document.faults
        found = [fault for fault in faults if self._is_draft(fault.section) and fault not in self.faults_of_form]
        for fault in found:
            assert fault.section is not None
            self.drafts.setdefault(fault.section, []).append(fault)
            programs.pop(fault.section, None)
        self.document.faults = [fault for fault in faults if fault not in found]
        self.document.warnings += found

    def _is_draft(self, section: str | None) -> bool:
        """True for a section that may be incomplete: it says `enabled = no`, and no operator has enabled it by hand."""
        if section is None or not section.startswith(DRAFTS) or not is_disabled(self.texts.get(section, {})):
            return False
        return not (self.instance.enabled / f"{section}.conf").exists()

    def _limits(self) -> list[tuple[str, int]]:
        found = []
        for section, texts in self.texts.items():
            if "listento" in texts and (stage_name(section, texts) or "maxdepth" in texts):
                limit = texts.get("maxdepth", "")
                found.append((texts["listento"].strip(), int(limit) if limit.isdecimal() else DEFAULT_MAXDEPTH))
        return found
