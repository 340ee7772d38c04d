"""Fetch complete bundles from a store into a folder DIR, check their hashes, and skip bundles fetched before.

    DIR/NAME/yyyy-mm-ddThhmmssZ/PUBLICATION              layout folders: a folder for each bundle
    DIR/PUBLICATION                                      layout flat: all files in one folder
    DIR/yyyy-mm-dd/hh/NAME-yyyy-mm-ddThhmmssZ.tar.EXT    layout packed: the bundles themselves

`DIR/.retrieved` records which files came from which objects. A file appears outside `.retrieved` only after it was
checked. Nothing outside DIR is touched, even if an archive, a link in DIR or a record is hostile.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aggregator.errors import AggregatorError
from aggregator.feeds.query.catalogue import READERS, Archived, read_current
from aggregator.feeds.query.retrieveone import Layout, Retrieval, Retrieved
from aggregator.feeds.query.retrieverecord import OWN, WORK
from aggregator.stores.store import Store

_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors that concern one bundle only: something else in DIR has a name that the bundle needs."""


def retrieve(store: Store, bundles: Sequence[Archived], folder: Path, layout: Layout) -> Iterator[Retrieved]:
    """Fetch bundles, several at a time, and yield the result of each when it is done.

    A bundle that cannot be fetched or is damaged is a problem in its own result; a full disk ends everything (OSError).
    Raises AggregatorError while another process retrieves into the folder.
    """
    with _own(folder):
        # delete the work folder that a killed process left
        shutil.rmtree(folder / OWN / WORK, ignore_errors=True)
        readers = ThreadPoolExecutor(READERS)
        try:
            tasks = [readers.submit(_retrieve, store, bundle, folder, layout) for bundle in bundles]
            for task in as_completed(tasks):
                yield task.result()
        finally:
            readers.shutdown(cancel_futures=True)
            shutil.rmtree(folder / OWN / WORK, ignore_errors=True)


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes that retrieve into it; the lock of a killed process ends with it."""
    if (folder / OWN).is_symlink():
        raise AggregatorError(f"{folder / OWN} leads out of {folder}: remove the link")
    (folder / OWN).mkdir(parents=True, exist_ok=True)
    with _open_lock(folder / OWN / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AggregatorError(f"another `feeds retrieve` is at work in {folder}") from error
        yield


def _open_lock(path: Path) -> BinaryIO:
    try:
        return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644), "ab")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise AggregatorError(f"{path} is a link: remove it") from error


def _retrieve(store: Store, bundle: Archived, folder: Path, layout: Layout) -> Retrieved:
    try:
        return read_current(store, bundle, lambda current: Retrieval(store, current, folder, layout).run())
    except AggregatorError as error:
        return Retrieved(bundle, 0, False, (str(error),))
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        return Retrieved(bundle, 0, False, (f"{error.filename2 or error.filename}: {error.strerror}",))
