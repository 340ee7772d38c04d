"""Turn a section of loglines.cfg into a supervised program: its stage, its settings, its queues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from configparser import RawConfigParser
from itertools import chain
from pathlib import Path
from typing import Any

from aggregator import registry
from aggregator.config import messagekinds, pirus2, standins
from aggregator.config.hints import meant, shorten, unknown
from aggregator.config.ini import Document
from aggregator.config.parsing import options_of, parse_settings
from aggregator.config.programchecks import COMMAND_WORDS, check_user, check_words
from aggregator.config.programs import PREFIXES, USUAL_TARGETS, Program, is_own_redis, stage_name
from aggregator.config.sections import ProgramSettings
from aggregator.config.settings import Option, Settings, parse_queue, parse_queues

_NAME = re.compile(rf"(?:{'|'.join(PREFIXES)})[A-Za-z0-9_.-]{{1,60}}")
_PROGRAM_OPTIONS = tuple(option.name for option in options_of(ProgramSettings))


class ProgramReader:
    """Read the sections that make programs. Faults go into the document."""

    def __init__(
        self,
        document: Document,
        root: Path,
        config_parser: RawConfigParser,
        standing_in: Mapping[str, standins.Noted] | None = None,
    ) -> None:
        """With `standing_in`, the notes of the last build, only modules of this program itself are imported."""
        self.document = document
        self.root = root
        self.config_parser = config_parser
        self.standing_in = standing_in
        self.plugins: dict[str, Mapping[str, str] | None] = {}
        """The last names of the modules that sections load: sections with these names belong to the modules. The values
        are the options of such a section, where its module declares them in SECTION_OPTIONS (name -> documentation),
        else None."""
        self.unsure = False
        """True when some section's plugins are not known, because its stage was not imported."""

    def read(self, section: str, texts: Mapping[str, str]) -> Program | None:
        """Return the program of one section, or None when something is wrong with it."""
        if not _NAME.fullmatch(section):
            prefixes = f"{', '.join(PREFIXES[:-1])} or {PREFIXES[-1]}"
            words = f"bad name; allowed: letters, digits, _ . - (1 to 60) after {prefixes}"
            self.document.fault(section, None, words)
            return None
        program = self._settings(section, ProgramSettings, texts)
        if program is not None:
            check_user(self.document, section, program)
        check_words(self.document, section, texts)
        if section.startswith("process_"):
            return self._process(section, texts, program)
        name = stage_name(section, texts)
        if name is None or not texts.get("stage", name).strip():
            return self._command(section, texts, program)
        if "stage" not in texts and "command" in texts:
            self.document.warn(section, "command", pirus2.notice(texts["command"]))
        elif "command" in texts:
            self.document.fault(section, "command", "stands beside stage; give one of the two")
        return self._stage(section, texts, program, name)

    def _process(self, section: str, texts: Mapping[str, str], program: ProgramSettings | None) -> Program | None:
        self._check_known(section, texts, ("command", *_PROGRAM_OPTIONS))
        own_redis = is_own_redis(section, texts)
        if not own_redis and "command" not in texts:
            self.document.fault(section, "command", f"missing; allowed: {COMMAND_WORDS}")
        if own_redis and program is not None and program.numprocs != 1:
            self._fault_numprocs(section, texts, "two servers cannot share one append-only file")
        return Program(section=section, kind="redis" if own_redis else "command", program=program) if program else None

    def _command(self, section: str, texts: Mapping[str, str], program: ProgramSettings | None) -> Program | None:
        if "command" not in texts or "stage" in texts:
            names = ", ".join(registry.stage_names())
            words = f"missing; allowed: {names} or MODULE:CLASS; or run a program with command = …"
            self.document.fault(section, "stage", words)
        known = [*_PROGRAM_OPTIONS, "command", "listento", "maxdepth", *USUAL_TARGETS]
        for option in texts:
            # Other options belong to the command; only an option that looks like one of ours is worth a word.
            if option not in known and (hint := meant(option, known, 0.8)):
                self.document.warn(section, option, f"left to the command{hint}")
        listens, targets = self._command_queues(section, texts)
        if program is None:
            return None
        return Program(section=section, kind="command", program=program, listens=listens, targets=targets)

    def _command_queues(self, section: str, texts: Mapping[str, str]) -> tuple[str | None, tuple[tuple[str, str], ...]]:
        listens, targets = None, []
        for option in ("listento", *USUAL_TARGETS):
            try:
                if option not in texts:
                    continue
                if option == "listento":
                    listens = parse_queue(texts[option])
                else:
                    targets += [(option, queue) for queue in parse_queues(texts[option])]
            except ValueError:
                found = f"found {shorten(texts[option])}"
                several = "queue names with commas between them, each of them once"
                allowed = "one queue name" if option == "listento" else several
                self.document.fault(section, option, f"bad queue ({found}); allowed: {allowed}")
        return listens, tuple(targets)

    def _stage(
        self, section: str, texts: Mapping[str, str], program: ProgramSettings | None, name: str
    ) -> Program | None:
        if self.standing_in is not None and ":" in name:
            return self._stand_in(section, texts, program, name, self.standing_in.get(section))
        try:
            stage: Any = registry.load_stage(name, self.root if self.standing_in is None else None)
        except ValueError as error:
            self.document.fault(section, "stage" if "stage" in texts else "command", str(error))
            return None
        try:
            options = list(options_of(stage.Settings))
        except TypeError as error:
            self.document.fault(section, "stage", str(error))
            return None
        settings = self._settings(section, stage.Settings, texts)
        modules = {"stage": name.partition(":")[0]} if ":" in name else {}
        modules |= {option.name: texts[option.name].strip() for option in options if _is_module(option, texts)}
        loaded = [self._load_module(section, option, module) for option, module in modules.items()]
        # a plugin that is not imported cannot say which options it knows
        if all(loaded) and (self.standing_in is None or not modules):
            known = ("stage", "command", *(option.name for option in options), *_PROGRAM_OPTIONS)
            known += tuple(stage.plugin_options(texts))
            self._check_known(section, texts, known)
            if settings is not None:
                faults = stage.check(settings, self.config_parser), stage.check_files(settings, self.root)
                for fault_option, words in chain.from_iterable(faults):
                    self.document.fault(section, fault_option, words)
        self._check_declared(section, name, stage, texts, program)
        if settings is None or program is None:
            return None
        return Program(
            section=section,
            kind="stage",
            program=program,
            stage_name=name,
            stage_class=stage,
            settings=settings,
            listens=getattr(settings, "listento", None),
            targets=tuple(_targets(settings)),
            plugins=tuple(module.rpartition(".")[2] for module in modules.values()),
        )

    def _check_declared(
        self, section: str, name: str, stage: Any, texts: Mapping[str, str], program: ProgramSettings | None
    ) -> None:
        """Check what the class of a stage declares."""
        targets = [option.name for option in options_of(stage.Settings) if _is_target(option)]
        for words in messagekinds.faults_of(stage, targets):
            self.document.fault(section, "stage", f"{name}: {words}")
        kinds = (*stage.traits.tables, *(kind for kind, _, _ in stage.traits.entries))
        if strange := [kind for kind in kinds if kind not in registry.TABLES]:
            words = f"{name} reads unknown tables (found {', '.join(strange)}); allowed: {', '.join(registry.TABLES)}"
            self.document.fault(section, "stage", words)
        overview = getattr(stage, "overview", "")
        if overview and registry.lies_in(overview, self.root):
            words = f"commands that only look import nothing of the instance, and do not show its overview {overview}"
            self.document.warn(section, "stage", f"{words}; put it into an installed package")
        if stage.traits.exclusive and program is not None and program.numprocs > 1:
            words = f"a second process of {name} could only stand in the way"
            if ":" in name and registry.is_source(stage):
                words += "; a source whose processes share the work by leases says so by traits = Traits()"
            self._fault_numprocs(section, texts, words)

    def _stand_in(
        self,
        section: str,
        texts: Mapping[str, str],
        program: ProgramSettings | None,
        name: str,
        noted: standins.Noted | None,
    ) -> Program | None:
        """Return a program whose stage is not imported."""
        values = self.document.sections[section].values
        if noted is None or noted.texts != standins.mark_of({option: values[option].text for option in values}):
            noted = standins.guess(texts)
            self.unsure = True
        plugins = noted.plugins or (name.partition(":")[0].rpartition(".")[2],)
        for plugin in plugins:
            self.plugins.setdefault(plugin, None)
        if program is None:
            return None
        return Program(
            section=section,
            kind="stage",
            program=program,
            stage_name=name,
            stage_class=standins.stage_of(noted),
            settings=standins.settings_of(noted, texts),
            listens=noted.listens,
            targets=noted.targets,
            plugins=plugins,
        )

    def _load_module(self, section: str, option: str, module: str) -> bool:
        name = module.rpartition(".")[2]
        if self.standing_in is not None:
            self.plugins.setdefault(name, None)
            return True
        try:
            options = getattr(registry.load_module(module, self.root), "SECTION_OPTIONS", None)
        except ValueError as error:
            self.document.fault(section, option, str(error))
            self.plugins.setdefault(name, None)
            return False
        self.plugins[name] = options
        return True

    def _settings(self, section: str, settings: type[Any], texts: Mapping[str, str]) -> Any:
        parsed, faults = parse_settings(settings, texts)
        for fault in faults:
            self.document.fault(section, fault.option, fault.text + _comment_hint(texts.get(fault.option or "", "")))
        return parsed

    def _check_known(self, section: str, texts: Mapping[str, str], known: tuple[str, ...]) -> None:
        for option in texts:
            if option in known:
                continue
            ignored = pirus2.why_ignored(option, texts)
            if ignored:
                self.document.warn(section, option, ignored)
            else:
                self.document.fault(section, option, unknown(option, known))

    def _fault_numprocs(self, section: str, texts: Mapping[str, str], why: str) -> None:
        self.document.fault(section, "numprocs", f"{why} (found {shorten(texts['numprocs'])}); allowed: 1")


def _is_module(option: Option, texts: Mapping[str, str]) -> bool:
    return option.kind.name == "module" and option.name in texts


def _is_target(option: Option) -> bool:
    return option.name != "listento" and option.kind.name in ("queue", "queues")


def _targets(settings: Settings) -> list[tuple[str, str]]:
    targets: list[tuple[str, str]] = []
    for option in options_of(type(settings)):
        value = getattr(settings, option.name, None)
        if value and _is_target(option):
            targets += [(option.name, queue) for queue in ([value] if isinstance(value, str) else value)]
    return targets


def _comment_hint(text: str) -> str:
    return "; a comment after a value starts with ; not #" if re.search(r"\s#", text) else ""
