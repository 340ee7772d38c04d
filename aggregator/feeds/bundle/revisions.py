"""Build one revision of a bundle from the folder of its period, as a checked file below `bundles`.

    bundles/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.rN.tar.FORMAT

Until revision N is committed it may be built again, and then replaces the file of the earlier try.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aggregator.errors import Retry
from aggregator.feeds.bundle.bundles import Contents, Written, read_bundle, save_bundle
from aggregator.feeds.bundle.compression import BadBundle, Level
from aggregator.feeds.bundle.manifest import bounded
from aggregator.feeds.bundle.members import Body, file_body
from aggregator.feeds.bundle.openperiods import PeriodFolder, make_manifests, sound
from aggregator.feeds.messages.bundles import Bundle
from aggregator.feeds.naming.bundles import BundleName, parse_revision
from aggregator.feeds.naming.folders import FeedFolders
from aggregator.feeds.naming.stamps import write_stamp
from aggregator.files.fingerprint import hash_file

_REVISION = re.compile(r"\.r(\d+)\.tar\.[a-z0-9]+(?:\.stored)?$")


class Revision(NamedTuple):
    """A bundle that was written, read back and found complete."""

    path: Path
    name: BundleName
    number: int
    size_bytes: int
    sha256: str
    contents_id: str
    publications: int

    def message(self, root: Path, level: Level) -> Bundle:
        """Return the message that announces the bundle to `archive`; `root` is the instance's folder."""
        return Bundle(
            feed=self.name.feed,
            start=write_stamp(self.name.start),
            revision=self.number,
            file=str(self.path.relative_to(root)),
            sha256=self.sha256,
            size=self.size_bytes,
            contents_id=self.contents_id,
            level=level,
        )


def revision_path(folders: FeedFolders, name: BundleName, revision: int) -> Path:
    """Return the path of a revision's file."""
    path = folders.bundle(name)
    stem = path.name.removesuffix(f".tar.{name.format}")
    return path.with_name(f"{stem}.r{revision}.tar.{name.format}")


def last_revision(folders: FeedFolders, feed: str, start: int) -> int:
    """Return the highest revision whose file still exists, in any format; 0 without one."""
    stem = f"{feed}-{write_stamp(start)}"
    with suppress(FileNotFoundError):
        names = os.listdir(folders.bundle(BundleName(feed, start)).parent)
        rests = (name.removeprefix(stem) for name in names if name.startswith(stem))
        return max((int(match[1]) for rest in rests if (match := _REVISION.fullmatch(rest))), default=0)
    return 0


def build_revision(
    folders: FeedFolders, name: BundleName, revision: int, period_s: int, level: Level, log: logging.Logger
) -> Revision | None:
    """Bundle the files in a period's folder, and read the bundle back. Returns None when there is nothing to bundle.

    An existing bundle of the same revision is merged into the new one: when Redis was restored from an older state, its
    source files may be deleted and the bundle is the only copy. A damaged one is renamed to `….damaged`.
    """
    path = revision_path(folders, name, revision)
    written = _write(folders, path, name, revision, period_s, level, log)
    return read_back(path, name, revision, written) if written else None


def _write(
    folders: FeedFolders, path: Path, name: BundleName, revision: int, period_s: int, level: Level, log: logging.Logger
) -> Written | None:
    # a function of its own, so that all of this is freed before the bundle is read back
    folder = PeriodFolder(folders.period(name.feed, name.start))
    publications, ticks = folder.bundled(revision)
    bodies: list[Body] = [file_body(folder.folder / publication) for publication in publications]
    manifests = []
    for manifest in make_manifests(name.feed, name.start, period_s, sound(folder.records(ticks), log)):
        manifests.append(bounded(manifest))
        if len(manifests[-1].ticks) < len(manifest.ticks):
            too_many = len(manifest.ticks) - len(manifests[-1].ticks)
            log.warning("ticks_ignored manifest=%s ticks=%d: more than there can be", manifest.file_name, too_many)
    folders.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folders.folder) as spool:
        earlier = _read_earlier(path, spool, log)
        if earlier:
            bodies += earlier.bodies
            manifests += earlier.manifests
        if not bodies and not manifests:
            return None
        # order: list the files, write the bundle, commit its message, then delete the listed files
        if publications or ticks:
            folder.list_members(revision, [*publications, *ticks])
        return save_bundle(path, bodies, manifests, name.format, level)


def _read_earlier(path: Path, spool: BinaryIO, log: logging.Logger) -> Contents | None:
    """Return the contents of the bundle that an earlier try left, if it is undamaged."""
    try:
        with path.open("rb") as file:
            return read_bundle(file, spool)
    except FileNotFoundError:
        return None
    except BadBundle as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        log.warning("damaged bundle=%s reason=%s: made again; it is kept as %s", path.name, error, aside.name)
        return None


def read_back(path: Path, name: BundleName, revision: int, written: Written) -> Revision:
    """Read the bundle that was just written. Raises Retry when it differs, and BadBundle when it is damaged."""
    built = read_revision(path, name, revision)
    if (built.contents_id, built.sha256) != (written.contents_id, written.sha256):
        raise Retry(f"{path.name}: what was read back is not what was written")
    return built


def read_revision(path: Path, name: BundleName, revision: int) -> Revision:
    """Read a bundle. Raises BadBundle when it is damaged."""
    with path.open("rb") as file:
        contents = read_bundle(file)
    size = path.stat().st_size
    return Revision(path, name, revision, size, hash_file(path), contents.contents_id, len(contents.publications))


def find_revisions(folders: FeedFolders) -> Iterator[tuple[Path, BundleName, int]]:
    """Yield every local bundle: its file, its name and the number of its revision."""
    for path in sorted(folders.bundles.rglob("*.tar.*")):
        with suppress(ValueError):
            yield path, *parse_revision(path.relative_to(folders.bundles).as_posix())
