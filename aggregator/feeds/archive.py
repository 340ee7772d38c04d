"""The stage `archive`: put each bundle into a store, merged with the object that is already there under its key.

Finished files of streams go into stores by the same stage; how is told in the package of streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import suppress
from os.path import normpath, realpath
from pathlib import Path
from typing import Annotated, Any

from aggregator.config.hints import meant
from aggregator.config.settings import Bounds, Doc, Duration, FilePath, SafeName
from aggregator.config.traits import Traits
from aggregator.errors import Reject
from aggregator.feeds.bundle.compression import BadBundle
from aggregator.feeds.bundle.revisions import find_revisions, read_revision
from aggregator.feeds.bundle.storedfiles import StoredFiles, remove_empty
from aggregator.feeds.bundle.streamfiles import DIRECTORY, StreamFiles, fed_by, open_stream_files
from aggregator.feeds.bundle.upload import Depositor, siblings_of
from aggregator.feeds.filtering.found import MOST, Found
from aggregator.feeds.filtering.state import ARCHIVED
from aggregator.feeds.messages.bundles import Bundle, Recorded, Remove, Unite
from aggregator.feeds.messages.reading import decode
from aggregator.feeds.naming.bundles import BundleName
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import read_stamp
from aggregator.files.faults import fault_of_message, stage_wide
from aggregator.files.fingerprint import hash_file
from aggregator.runtime.context import Context
from aggregator.runtime.contract import ConsumerSettings, Cursor, Outcome, Send, Settled, Stage
from aggregator.runtime.kinds import encode
from aggregator.runtime.message import Message
from aggregator.stores import open_configured
from aggregator.stores.settings import KeyPrefix
from aggregator.stores.store import Store

UNTOLD_AFTER_S = 60.0
"""How old a bundle without a message must be to count as forgotten, while no message waits for `archive`.

`compress` announces a bundle in the same step in which it writes the file, so an older bundle has no message any more.
"""
UNITE_AFTER_S = 900.0
"""How long after writing a key that names its contents the stage looks for other such keys and merges them."""


class Archive(Stage):
    """Store each bundle, merged with what other instances stored of its feed and period, and each file of a stream.

    In: of kind `bundle`: `feed`, `start` (yyyy-mm-ddThhmmssZ), `file` (relative to the instance's folder), `sha256`,
    `contents_id`, `revision`, `level`. Of kind `recorded`: what `record` sends. To itself, as a timer: `unite`, with
    `feed`, `start`, `format`, `level`.
    Out: none.
    Effect: the store holds an object `PREFIX/yyyy-mm-dd/hh/NAME-START.tar.FORMAT` that was read back and checked. After
    the commit the local file is renamed to `….stored`; it is deleted `keep` later. For a file of a stream it holds
    `PREFIX/STREAM/yyyy/mm/dd/hh/NAME`, the sidecar `NAME.json` and the gaps of the stream, read back and checked. After
    the commit the local file gets the mark `.NAME.stored`; file and sidecar are deleted `keep` later.
    Errors: the message of a bundle or file that is missing or damaged, or of an object that cannot be merged, goes to
    the dead letters; a store that is unreachable or full pauses the worker.
    Source: docs/feeds.md, docs/streams.md.
    """

    traits = Traits(tables=("store",))
    accepts = (Bundle, Unite, Remove, Recorded)

    class Settings(ConsumerSettings, frozen=True, kw_only=True):
        """The options of this stage's section."""

        store: Annotated[SafeName, Doc("where bundles go: the NAME of a section [store_NAME]")]
        prefix: Annotated[KeyPrefix, Doc("what keys begin with")] = ""
        keep: Annotated[
            Duration,
            Doc("how long a file stays on this disk after it was stored; at least what a power cut may cost Redis"),
            Bounds(0),
        ] = 60.0
        directory: Annotated[
            FilePath, Doc("the folder of the section with stage = record that tells this one of its finished files")
        ] = DIRECTORY

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._folders = FeedFolders(context.path("data/feeds"))
        self._store: Store | None = None
        self._depositor: Depositor | None = None
        self._streams: StreamFiles | None = None
        """The finished files of streams, once it is known that this section stores them."""
        self._looks_for_bundles = True
        """False when only `record` feeds this section: bundles on the disk are the business of another one."""
        self._conditional = True
        self._found = Found()
        self._stored: list[Path] = []
        """Bundles that are in the store, but whose messages are not committed yet."""
        self._waiting = StoredFiles(self._folders, settings.keep, context)
        self._newest: dict[str, str] = {}
        self._newer: dict[str, str] = {}
        """The changes of `_newest` that are still to be committed."""

    @classmethod
    def belongings(cls, settings: Any, root: Path) -> tuple[str, ...]:
        """Return the folder of the feeds: the cursors of this stage are about the bundles in it."""
        return (f"archive:{realpath(root / 'data/feeds')}",)

    @classmethod
    def check(cls, settings: Any, config: RawConfigParser) -> Iterator[tuple[str | None, str]]:
        """Refuse a store that no section describes, and another folder than the one that files of streams come from."""
        known = [name.removeprefix("store_") for name in config.sections() if name.startswith("store_")]
        if settings.store not in known:
            yield "store", f"there is no section [store_{settings.store}]{meant(settings.store, known)}"
        for section in fed_by("record", config, settings.listento):
            directory = config[section].get("directory", DIRECTORY).strip()
            if normpath(directory) != normpath(settings.directory):
                words = f"[{section}] tells this section of its files, and writes them to {directory}"
                yield "directory", f"{words} (found {settings.directory}); write directory = {directory}"

    def start(self) -> None:
        """Open the store and test what it can do, above all whether it honours conditional writes."""
        own = self._cursor("")
        self._newest = {name: start for name, start in self.context.cursors.items() if name.startswith(own)}
        if self._store is None:
            self._store = open_configured(self.context.table("store").entry(self.settings.store))
        self._store.clean()
        capabilities = self._store.probe()
        for notice in capabilities.notices:
            self.context.log.warning("store name=%s notice=%s", self.settings.store, notice)
        if not capabilities.conditional:
            self.context.note("store", "no conditional writes: keys name their contents, and are united later")
        self._conditional = capabilities.conditional
        with stage_wide():
            self._depositor = Depositor(self._store, capabilities, self._folders.folder / "scratch", self.context.log)
        config = self.context.config_parser()
        if fed_by("record", config, self.settings.listento):
            self._open_streams()
            self._looks_for_bundles = bool(fed_by("compress", config, self.settings.listento))
        self._found.load(self.context.cursors)

    def idle(self, now: float) -> Iterator[Send | Cursor]:
        """Delete stored files; once a minute queue bundles without a message, as after the loss of Redis."""
        with stage_wide():
            self._remove_stored(now)
            if self._streams is not None:
                self._streams.tidy(now)
        if not self._found.is_due(now):
            return
        with stage_wide():
            yield from self._found.forget(self._is_there)
            yield from self._untold_of_streams(now)
            if not self._looks_for_bundles:
                return
            untold = (found for found in find_revisions(self._folders) if self._is_untold(found[0], now))
            for count, (path, name, number) in enumerate(untold):
                if count == MOST:
                    self._found.hurry()
                    break
                yield self._found.tell(path.relative_to(self._folders.bundles).as_posix())
                with suppress(FileNotFoundError):
                    yield from self._tell(path, name, number)

    def _untold_of_streams(self, now: float) -> Iterator[Send | Cursor]:
        if self._streams is not None:
            for count, (name, body) in enumerate(self._streams.untold(self._found.is_told, now)):
                if count == MOST:
                    self._found.hurry()
                    break
                yield self._found.tell(name)
                yield Send(self.settings.listento, body)

    def _is_there(self, name: str) -> bool:
        """True while a found file is here, and needs its note."""
        of_stream = self._streams is not None and self._streams.is_there(name)
        return of_stream or (self._folders.bundles / name).exists()

    def _is_untold(self, path: Path, now: float) -> bool:
        """True for a bundle that should have been stored by now, and that no message announces."""
        if self._found.is_told(path.relative_to(self._folders.bundles).as_posix()):
            return False
        with suppress(FileNotFoundError):
            return abs(now - path.lstat().st_mtime) > UNTOLD_AFTER_S
        return False

    def _tell(self, path: Path, name: BundleName, number: int) -> Iterator[Send]:
        try:
            bundle = read_revision(path, name, number).message(self.context.root, "default")
        except BadBundle as error:
            self.context.report(
                "bundle_damaged",
                f"{path} cannot be stored: {error}",
                "look at the file: what can be read of it can be taken out by hand; then remove it",
                about=path.name,
                level="error",
                lasting=True,
            )
            return
        self.context.log.warning("bundle_found file=%s: nothing told of it", bundle.file)
        self.context.count("found")
        yield Send(self.settings.listento, encode(bundle))

    def stop(self) -> None:
        """Close the store's connections."""
        if self._store is not None:
            self._store.close()

    def handle(self, message: Message) -> Iterator[Outcome]:
        """Store a bundle, or merge the objects that were written without conditional writes."""
        told = decode(message.raw, *self.accepts)
        if isinstance(told, Recorded):
            streams = self._streams or self._open_streams()
            with fault_of_message(streams.directory):
                streams.deposit(message.raw)
            return
        with fault_of_message(*self._folders.all()):
            if isinstance(told, Remove):  # sent by an older version, which removed files by messages
                self._remove(told)
            elif isinstance(told, Unite):
                self._unite(told)
            elif isinstance(told, Bundle):
                yield from self._archive(told)

    def settle(self, now: float) -> Iterator[Settled]:
        """Store how far each feed is archived, for `feeds list`."""
        newer, self._newer = self._newer, {}
        for name, start in newer.items():
            yield Cursor(name, start)

    def committed(self) -> None:
        """Mark the files of stored bundles; they are deleted once Redis cannot lose that commit any more."""
        with stage_wide():
            while self._stored:
                self._waiting.add(self._stored[-1], self.context.clock())
                self._stored.pop()
            if self._streams is not None:
                self._streams.committed(self.context.clock())
            self._remove_stored(self.context.clock())

    def _remove_stored(self, now: float) -> None:
        if self._looks_for_bundles:
            self._waiting.remove(now)

    def _open_streams(self) -> StreamFiles:
        assert self._store is not None
        self._streams = open_stream_files(self.settings, self.context, self._store, conditional=self._conditional)
        return self._streams

    def _cursor(self, feed: str) -> str:
        return f"{ARCHIVED}{self.context.number}:{feed}"

    def _is_stored(self, bundle: Bundle) -> None:
        """Remember the newest stored period of a feed; bundles of older periods may arrive late, or again."""
        name = self._cursor(bundle.feed)
        # these texts sort in the order of their times
        if bundle.start > self._newest.get(name, ""):
            self._newest[name] = self._newer[name] = bundle.start

    def _archive(self, bundle: Bundle) -> Iterator[Outcome]:
        assert self._depositor is not None
        path = self._inside(bundle.file)
        prefix = self.settings.prefix
        if not path.exists():
            if self._waiting.has(path, bundle.sha256):
                self._stored.append(path)  # Redis lost the earlier commit, so the file waits for `keep` again
            else:
                self._accept_missing(bundle)
            self._is_stored(bundle)
            return
        try:
            name = bundle.name
        except ValueError as error:
            raise Reject(str(error)) from error
        if hash_file(path) != bundle.sha256:
            raise Reject(f"{bundle.file} is not the bundle that was announced: its hash is another")
        key = self._depositor.deposit(path, name, prefix, bundle.contents_id, bundle.level)
        self.context.count("stored")
        self._is_stored(bundle)
        self.context.log.debug("stored key=%s revision=%d", key, bundle.revision)
        # order: read back from the store, then commit, then delete here once Redis cannot lose that commit any more
        self._stored.append(path)
        if not self._conditional:
            unite = Unite(feed=bundle.feed, start=bundle.start, format=name.format, level=bundle.level)
            key = f"unite/{bundle.feed}/{bundle.start}/{name.format}"
            yield Send(self.settings.listento, encode(unite), UNITE_AFTER_S, key)

    def _accept_missing(self, bundle: Bundle) -> None:
        """Accept a bundle whose file is missing if the store holds exactly that file; else raise Reject.

        When Redis lost only the last seconds, the file is still here, as it stays for `keep`. When Redis lost more, the
        file may be stored and deleted, or lost. An object that others stored for the same period proves nothing.
        """
        assert self._store is not None
        name = BundleName(bundle.feed, read_stamp(bundle.start))
        for sibling in siblings_of(self._store, name, self.settings.prefix):
            info = self._store.head(sibling.key)
            if info is not None and info.sha256 == bundle.sha256:
                self.context.log.warning("missing file=%s: stored before as key=%s", bundle.file, info.key)
                return
        raise Reject(
            f"{bundle.file} is missing, and no object of {bundle.feed} {bundle.start} in the store is this bundle: "
            "it is lost, unless Redis came back from an old copy and it has long been united with others there"
        )

    def _remove(self, stored: Remove) -> None:
        path = self._inside(stored.file)
        with suppress(FileNotFoundError):
            if hash_file(path) == stored.sha256:
                path.unlink()
                remove_empty(path)

    def _unite(self, some: Unite) -> None:
        assert self._depositor is not None
        name = BundleName(some.feed, read_stamp(some.start), some.format)
        self._depositor.unite(name, self.settings.prefix, some.level)

    def _inside(self, file: str) -> Path:
        """Return a bundle's path. Raises Reject when a link leads elsewhere."""
        path = self.context.path(file)
        day, hour = path.parts[-3:-1]
        if path.is_symlink() or path.parent.resolve() != self._folders.bundles.resolve() / day / hour:
            raise Reject(f"a link leads out of our bundles (found {file[:200]!r})")
        return path
