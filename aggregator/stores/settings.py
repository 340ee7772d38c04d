"""Which stores there are, by the scheme of their URL, and the sections `[store_NAME]` that describe them.

A store is added with one module, which has a `StoreKind`, and one line in `registry.STORES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Protocol

from aggregator import registry
from aggregator.config.hints import unknown
from aggregator.config.parsing import options_of, parse_settings
from aggregator.config.settings import Doc, Option, OptionType, Settings
from aggregator.config.tables import TableText
from aggregator.errors import ConfigError
from aggregator.stores.store import Store, fault_of_key


def _parse_url(text: str) -> str:
    scheme = text.strip().partition(":")[0]
    if scheme not in registry.STORES:
        raise ValueError
    if re.search(r"\s\s", text.strip()):
        raise ValueError("a run of white space inside: a remark stands on a line of its own")
    kind_of(text).check_url(text.strip())
    return text.strip()


FORMS = " or ".join(scheme.form for scheme in registry.STORES.values())
StoreUrl = Annotated[str, OptionType("store", _parse_url, FORMS)]


def parse_prefix(text: str) -> str:
    """Return the prefix of keys in a store, without slashes around it. Raises ValueError."""
    prefix = text.strip().strip("/")
    if prefix and fault_of_key(prefix):
        raise ValueError
    return prefix


KeyPrefix = Annotated[str, OptionType("key prefix", parse_prefix, "names with single slashes between them, no . first")]


class StoreSettings(Settings, frozen=True, kw_only=True):
    """[store_NAME]: the options of every store."""

    url: Annotated[StoreUrl, Doc("where objects are kept")]


class StoreKind(Protocol):
    """One kind of store: its options, how they are checked, and how the store is opened."""

    noun: str
    """What such a store is, for messages: `a folder`."""
    settings: type[StoreSettings]
    ignores: tuple[str, ...]
    """Options of other stores that are accepted in a section and have no effect; all others are refused."""

    def check_url(self, url: str) -> None:
        """Check a URL on its own. Raises ValueError for a bad URL."""

    def faults_of(self, settings: Any) -> Iterable[tuple[str, str]]:
        """Return (option, fault) for faults that show only when options are read together."""

    def open(self, settings: Any) -> Store:
        """Return the store. Nothing is sent or written yet. Raises ConfigError for settings that can never work."""


def kind_of(url: str) -> StoreKind:
    """Return the kind of the store at a URL. Raises KeyError for a scheme that no store has."""
    kind: StoreKind = registry.load_object(registry.STORES[url.strip().partition(":")[0]].kind)
    return kind


def settings_of(url: str, **options: Any) -> StoreSettings:
    """Return the settings of the store at a URL. Raises ConfigError for a bad URL and for options of other stores."""
    try:
        _parse_url(url)
    except ValueError as error:
        raise ConfigError(f"bad store {url!r}; allowed: {FORMS}") from error
    faults = list(_foreign_options(url, options))
    if faults:
        raise ConfigError(*(f"{option}: {fault}" for option, fault in faults))
    kind = kind_of(url)
    return kind.settings(url=url, **{name: value for name, value in options.items() if name not in kind.ignores})


class StoreTable:
    """The reader of the sections `[store_NAME]` (a `config.tables.TableReader`)."""

    live = False
    overview = ""

    def purpose(self) -> str:
        """Return, in words, what a section describes."""
        nouns = " or ".join(kind_of(f"{scheme}:").noun for scheme in registry.STORES)
        return f"{nouns[:1].upper()}{nouns[1:]} for archives."

    def options(self) -> tuple[Option, ...]:
        """Return the options of all stores, each once."""
        found: dict[str, Option] = {}
        classes: list[type[Settings]] = [StoreSettings, *(kind_of(f"{scheme}:").settings for scheme in registry.STORES)]
        for settings in classes:
            for option in options_of(settings):
                found.setdefault(option.name, option)
        return tuple(found.values())

    def open_options(self) -> tuple[tuple[str, str, str], ...]:
        """Return nothing: every option has a fixed name."""
        return ()

    def read(self, text: TableText) -> Mapping[str, StoreSettings]:
        """Return the settings of each store by name; faults go into the document."""
        stores = {}
        for name, section, texts, _ in text.sections:
            url = texts.get("url", "")
            known = url.strip().partition(":")[0] in registry.STORES
            parsed, faults = parse_settings(kind_of(url).settings if known else StoreSettings, texts)
            more = list(kind_of(url).faults_of(parsed)) if parsed is not None else []
            for option, fault in (*faults, *more, *self._strange_options(texts)):
                text.document.fault(section, option, fault)
            if parsed is not None:
                stores[name] = parsed
        return stores

    def _strange_options(self, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        known = tuple(option.name for option in self.options())
        yield from ((name, unknown(name, known)) for name in texts if name not in known)
        yield from _foreign_options(texts.get("url", ""), {name: texts[name] for name in texts if name in known})


def _foreign_options(url: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (option, fault) for each option that only other kinds of store have."""
    scheme = url.strip().partition(":")[0]
    if scheme not in registry.STORES:
        return
    kind = kind_of(url)
    known = {name: {option.name for option in options_of(kind_of(f"{name}:").settings)} for name in registry.STORES}
    for name, value in options.items():
        theirs = [other for other, names in known.items() if name in names]
        if value is not None and theirs and scheme not in theirs and name not in kind.ignores:
            forms = " or ".join(f"{other}://..." for other in theirs)
            yield name, f"means nothing to {kind.noun}; allowed: only with url = {forms}"


TABLE = StoreTable()
