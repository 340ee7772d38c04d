"""The stage `archive`: each bundle goes into a store, united with what is there under its key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec

from aggregator.errors import Reject
from aggregator.feeds.compression import Level
from aggregator.feeds.deposit import Depositor, siblings_of
from aggregator.feeds.faults import stage_wide
from aggregator.feeds.layout import BundleName, FeedFolders, KeyPrefix, parse_feed_name, parse_key, read_stamp
from aggregator.feeds.members import hash_file
from aggregator.feeds.messages import decode
from aggregator.runtime.message import Message
from aggregator.runtime.stage import ConsumerSettings, Context, Outcome, Send, Stage
from aggregator.settings import Bounds, Doc, Duration, SafeName, meant
from aggregator.stores import open_configured
from aggregator.stores.store import Store

_CONTENTS_ID = re.compile("[0-9a-f]{64}")
UNITE_AFTER_S = 900.0
"""How long after writing a key that names its contents to look whether there are several to be united."""


class Removal(msgspec.Struct, kw_only=True):
    """A bundle on this disk that is in the store."""

    file: str
    sha256: str


class Uniting(msgspec.Struct, kw_only=True):
    """A feed and period of which the store may have several objects."""

    feed: str
    start: str
    format: str
    level: Level


class Bundle(msgspec.Struct, kw_only=True):
    """What `compress` says of a bundle; or what the stage tells itself to do later."""

    feed: str = ""
    start: str = ""
    file: str = ""
    sha256: str = ""
    contents_id: str = ""
    revision: int = 1
    level: Level = "default"
    remove: Removal | None = None
    unite: Uniting | None = None


class Archive(Stage):
    """Store each bundle under the key of its feed and period, united with what others stored there.

    In: `feed`, `start` (yyyy-mm-ddThhmmssZ), `file` (from the instance's folder), `sha256`, `contents_id`, `revision`,
    `level`. To itself: `remove` (`file`, `sha256`) and `unite` (`feed`, `start`, `format`, `level`).
    Out: none.
    Effect: an object `PREFIX/yyyy-mm-dd/hh/NAME-START.tar.FORMAT` in the store, which was read back; the file goes
    `keep` after that was committed.
    Errors: a bundle that is missing or damaged, and an object that cannot be united, are set aside; a store that is
    away or full pauses the worker.
    Source: docs/feeds.md.
    """

    tables = ("store_",)

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """What a section of this stage may say."""

        store: Annotated[SafeName, Doc("where bundles go: the NAME of a section [store_NAME]")]
        prefix: Annotated[KeyPrefix, Doc("what keys begin with")] = ""
        keep: Annotated[
            Duration,
            Doc("how long a bundle stays on this disk after it was stored; at least what a power cut may cost Redis"),
            Bounds(0),
        ] = 60.0

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._folders = FeedFolders(context.path("data/feeds"))
        self._store: Store | None = None
        self._depositor: Depositor | None = None
        self._conditional = True

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse a store that no section describes."""
        known = [name.removeprefix("store_") for name in config.sections() if name.startswith("store_")]
        if settings.store not in known:
            yield "store", f"there is no section [store_{settings.store}]{meant(settings.store, known)}"

    def start(self) -> None:
        """Open the store and find out whether it keeps its word."""
        if self._store is None:
            self._store = open_configured(self.context.store_settings(self.settings.store))
        self._store.clean()
        capabilities = self._store.probe()
        for notice in capabilities.notices:
            self.context.log.warning("store name=%s notice=%s", self.settings.store, notice)
        if not capabilities.conditional:
            self.context.note("store", "no conditional writes: keys name their contents, and are united later")
        self._conditional = capabilities.conditional
        with stage_wide():
            self._depositor = Depositor(self._store, capabilities, self._folders.folder / "scratch", self.context.log)

    def stop(self) -> None:
        """Let the store's connections go."""
        if self._store is not None:
            self._store.close()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Store a bundle, remove one that is stored, or unite what was written without conditions."""
        bundle = decode(message.raw, Bundle)
        with stage_wide():
            if bundle.remove:
                self._remove(bundle.remove)
            elif bundle.unite:
                self._unite(bundle.unite)
            else:
                yield from self._archive(bundle)

    def _archive(self, bundle: Bundle) -> Iterator[Outcome]:
        assert self._depositor is not None
        path = self._inside(bundle.file)
        name = _name(bundle.feed, bundle.start, path.suffix.removeprefix("."))
        prefix = self.settings.prefix
        if not path.exists():
            self._accept_missing(bundle, name)
            return
        if not _CONTENTS_ID.fullmatch(bundle.contents_id):
            raise Reject(f"{bundle.file} is announced without a contents id (found {bundle.contents_id[:80]!r})")
        if hash_file(path) != bundle.sha256:
            raise Reject(f"{bundle.file} is not the bundle that was announced: its hash is another")
        key = self._depositor.deposit(path, name, prefix, bundle.contents_id, bundle.level)
        self.context.count("stored")
        self.context.log.debug("stored key=%s revision=%d", key, bundle.revision)
        # order: read back from the store, then committed, then, when Redis can no longer forget that, removed here
        yield self._later({"remove": {"file": bundle.file, "sha256": bundle.sha256}}, self.settings.keep)
        if not self._conditional:
            united = {"feed": bundle.feed, "start": bundle.start, "format": name.format, "level": bundle.level}
            yield self._later({"unite": united}, UNITE_AFTER_S)

    def _later(self, body: dict[str, Any], delay_s: float) -> Send:
        return Send(self.settings.listento, body, delay_s)

    def _accept_missing(self, bundle: Bundle, name: BundleName) -> None:
        """Take a file that is not there for stored before, if an object in the store is that very file.

        A Redis that comes back a second older than it was still finds the file, as it stays for `keep`. One that is
        older still does not; nor does anybody find what was lost. That others stored the same period proves nothing.
        """
        assert self._store is not None
        for sibling in siblings_of(self._store, name, self.settings.prefix):
            info = self._store.head(sibling.key)
            if info is not None and info.sha256 == bundle.sha256:
                self.context.log.warning("missing file=%s: stored before as key=%s", bundle.file, info.key)
                return
        raise Reject(
            f"{bundle.file} is missing, and no object of {bundle.feed} {bundle.start} in the store is this bundle: "
            "it is lost, unless Redis came back from an old copy and it has long been united with others there"
        )

    def _remove(self, stored: Removal) -> None:
        path = self._inside(stored.file)
        with suppress(FileNotFoundError):
            if hash_file(path) == stored.sha256:
                path.unlink()
        # the folders of the hour and the day, once they are empty
        with suppress(OSError):
            path.parent.rmdir()
            path.parent.parent.rmdir()

    def _unite(self, some: Uniting) -> None:
        assert self._depositor is not None
        self._depositor.unite(_name(some.feed, some.start, some.format), self.settings.prefix, some.level)

    def _inside(self, file: str) -> Path:
        """Return a file's path. Raises Reject for one that is not among our bundles."""
        path = self.context.path(file)
        if not path.resolve().is_relative_to(self._folders.bundles.resolve()):
            raise Reject(f"not among our bundles (found {file[:200]!r})")
        return path


def _name(feed: str, start: str, format_name: str) -> BundleName:
    """Return the bundle of a feed and period. Raises Reject when it has no key."""
    try:
        name = BundleName(parse_feed_name(feed), read_stamp(start), format_name)
        parse_key(name.path)
    except ValueError as error:
        raise Reject(f"no bundle of a feed (found {feed[:80]!r}, {start[:80]!r}, {format_name[:80]!r})") from error
    return name
