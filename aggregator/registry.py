"""Find stages, and tables of sections such as `[feed_NAME]`, by name.

Names lead to strings, so that nobody imports a module that is not used. Built-in stages are known without asking the
installed packages, because that would cost every worker's start 30 ms.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from aggregator.config import stageclass
from aggregator.config.hints import meant, shorten

BUILTIN = {
    "archive": "aggregator.feeds.archive:Archive",
    "broker": "aggregator.logs.broker:Broker",
    "capture": "aggregator.streams.capture:Capture",
    "compress": "aggregator.feeds.compress:Compress",
    "download": "aggregator.feeds.download:Download",
    "filter": "aggregator.feeds.filter:Filter",
    "kafka": "aggregator.streams.kafka:Kafka",
    "kafka_in": "aggregator.streams.kafka_in:KafkaIn",
    "logfile": "aggregator.logs.logfile:LogFile",
    "match": "aggregator.streams.match:Match",
    "openurl": "aggregator.logs.openurl:OpenUrl",
    "record": "aggregator.streams.record:Record",
    "tail": "aggregator.logs.tail:Tail",
}


class TableFile(NamedTuple):
    """A file of further entries of a table."""

    option: str
    """The option of [aggregator] that names the file."""
    copy: str
    """The name of its copy in a build."""
    power: str
    """What somebody who writes to the file could do."""


class TableKind(NamedTuple):
    """Sections of one form, and the object that reads them."""

    prefix: str
    """The beginning of the sections' names."""
    reader: str
    """A `config.tables.TableReader`, as ``module:OBJECT``."""
    file: TableFile | None = None


TABLES = {
    "feed": TableKind(
        "feed_",
        "aggregator.feeds.settings.reading:TABLE",
        TableFile("feeds_file", "feeds", "it says what is downloaded, and who is sent its headers"),
    ),
    "store": TableKind("store_", "aggregator.stores.settings:TABLE"),
    "credential": TableKind("credential_", "aggregator.streams.credentials:TABLE"),
}
"""The tables by their kind; `Traits.tables` and `context.table` call them by their kind too."""
TABLE_PREFIXES = tuple(kind.prefix for kind in TABLES.values())


class StoreScheme(NamedTuple):
    """One kind of store, as far as it is known without importing its module."""

    form: str
    """The URL of such a store, as users see it in messages."""
    kind: str
    """The `stores.settings.StoreKind` of the store, as ``module:OBJECT``."""


STORES = {
    "file": StoreScheme("file:///an/absolute/path", "aggregator.stores.directory:KIND"),
    "s3": StoreScheme("s3://bucket/prefix", "aggregator.stores.s3settings:KIND"),
}
"""The stores by the scheme of their URL."""
RECORDED = "aggregator.streams.depositing.deposit:Deposit"
"""What `archive` calls for a message of the kind `recorded`: the files of streams are the business of their package."""
CONTRACT = "aggregator.runtime.contract"
"""The module that every stage derives its class from."""
GROUP = "aggregator.stages"
PLUGINS = "plugins"
"""The folder of an instance, and the package, for a user's own modules."""


def stage_names() -> list[str]:
    """Return the names that `stage = NAME` may have: built in, or from the entry points of installed packages."""
    return sorted({*BUILTIN, *(point.name for point in _entry_points())})


def load_stage(name: str, root: Path | None) -> type:
    """Return the class of a stage: a known name, or ``module:Class``, which may lie in the instance's folder.

    Without a folder only installed modules are found. Raises ValueError with the words for the user.
    """
    spec = name if ":" in name else BUILTIN.get(name) or _installed(name)
    if spec is None:
        names = stage_names()
        allowed = f"allowed: {', '.join(names)} or MODULE:CLASS"
        raise ValueError(f"unknown stage (found {shorten(name)}); {allowed}{meant(name, names)}")
    module_name, _, class_name = spec.partition(":")
    module = load_module(module_name, root)
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"{module_name} has no class {class_name}; it was found in {_place(module)}")
    # Every Stage and Source has these attributes. Importing the two classes here would cost the generator Redis's
    # client.
    if not isinstance(found, type) or not (hasattr(found, "Settings") and hasattr(found, "plugin_options")):
        raise ValueError(f"{spec} is no stage; derive it from Stage or Source of {CONTRACT}")
    if name not in BUILTIN and (faults := [*stageclass.faults_of(found, CONTRACT)]):
        raise ValueError(f"{spec} does not fit: {'; '.join(faults)} (docs/extending.md)")
    return found


def load_module(name: str, root: Path | None) -> ModuleType:
    """Return a module, for example a plugin.

    A module below `plugins.` is looked up in the instance's folder first, every other module there last: a file of the
    instance must not replace an installed module. Without a folder only installed modules are found.

    Raises ValueError with the last line of the traceback, whatever the module does when it is imported.
    """
    if root is not None and str(root) not in sys.path:
        sys.path.append(str(root))
    try:
        if root is not None and name.partition(".")[0] == PLUGINS:
            _find_plugins(root)
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def load_object(spec: str) -> Any:
    """Return what ``module:OBJECT`` names in this program or another installed package. Raises ValueError."""
    module_name, _, name = spec.partition(":")
    found = getattr(load_module(module_name, None), name, None)
    if found is None:
        raise ValueError(f"{module_name} has no {name}")
    return found


def lies_in(spec: str, root: Path) -> bool:
    """True when the module of ``module:OBJECT`` is, or would be, a module of the instance's own."""
    package = spec.partition(":")[0].partition(".")[0]
    if package == __name__.partition(".")[0]:
        return False  # an instance may be a checkout of this program
    return package == PLUGINS or (root / package).is_dir() or (root / f"{package}.py").is_file()


def _find_plugins(root: Path) -> None:
    """Import the package of plugins from the instance's folder, even if another package of its name is installed.

    The instance's folder counts even without __init__.py. Python would pass it over for any package of the same name
    that has one, such as the plugins of this project's checkout.
    """
    folder = root / PLUGINS
    if PLUGINS not in sys.modules and (folder / "__init__.py").is_file():
        _import_package(folder)
    package = importlib.import_module(PLUGINS)
    if folder.is_dir() and str(folder) not in package.__path__:
        package.__path__ = [str(folder), *package.__path__]


def _import_package(folder: Path) -> None:
    """Import a package from its folder, without searching the folder around it first for modules that it imports."""
    spec = PathFinder.find_spec(folder.name, [str(folder.parent)])
    assert spec and spec.loader
    package = sys.modules[folder.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[folder.name]
        raise


def _place(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or list(getattr(module, "__path__", ())))


def is_source(stage: type) -> bool:
    """True for a stage that brings messages in."""
    return hasattr(stage, "poll")


def _installed(name: str) -> str | None:
    return next((point.value for point in _entry_points() if point.name == name), None)


def _entry_points() -> Any:
    # imported here, because it takes 30 ms
    return importlib.import_module("importlib.metadata").entry_points(group=GROUP)
