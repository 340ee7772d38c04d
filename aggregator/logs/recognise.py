"""Which file is which: finding followed files again beside their path, and telling new rotated logs from known ones.

A file is where its device and inode are, as long as it still begins with what was read from it. One that is not found
so was compressed, copied by copytruncate, or brought back: then a file with the same first bytes is it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aggregator.logs.followed import Followed
from aggregator.logs.openfile import OpenFile, key_of
from aggregator.logs.position import HEAD_BYTES
from aggregator.logs.rotation import BeingRenamed, Beside, Entry, Folders, open_entry


def locate(files: Sequence[Followed], beside: Beside, folders: Folders) -> list[Followed]:
    """Find every file that is not open, and open those that may have more lines. Returns those that are nowhere."""
    claimed = {each.key for each in files if each.file is not None}
    homeless = []
    for each in files:
        if each.file is not None:
            continue
        entry = beside.find(each.key)
        if entry is not None and entry.key not in claimed and _is_same(each, entry, folders):
            claimed.add(entry.key)
            _settle(each, entry)
        else:
            homeless.append(each)
    lost, likely = [], [*beside.rotated, *beside.own]
    for each in homeless:
        found = next((entry for entry in likely if entry.key not in claimed and _is_twin(each, entry, folders)), None)
        if found is None:
            lost.append(each)
        else:
            claimed.add(found.key)
            _settle(each, found)
    return lost


def unknown(files: Sequence[Followed], rotated: Iterable[Entry], after: float, folders: Folders) -> list[Entry]:
    """Return the rotated logs that are none of the files nor a copy of one, if they changed `after` (Unix seconds)."""
    claimed = {each.key for each in files if not each.position.gone}
    return [
        entry
        for entry in rotated
        if entry.size
        and entry.key not in claimed
        and entry.mtime >= after
        and not any(_is_copy(each, entry, folders) for each in files)
    ]


def named_by(files: Sequence[Followed], file: OpenFile | None) -> Followed | None:
    """Return the one of these that the open file is."""
    if file is None:
        return None
    key = key_of(file)
    return next((each for each in files if each.key == key and not each.position.gone), None)


def untaken(
    files: Sequence[Followed], live: OpenFile | None, rotated: Sequence[Entry], folders: Folders
) -> list[Followed]:
    """Return the files nothing was taken from, where they are found again as new ones.

    They may have been copied and truncated since, so that others come before them: they are better forgotten.
    """
    named = named_by(files, live)
    return [
        each
        for each in files
        if not each.position.hashed
        and (each is named or any(entry.key == each.key or _is_copy(each, entry, folders) for entry in rotated))
    ]


def _settle(each: Followed, entry: Entry) -> None:
    position = each.position
    if position.done:
        position.dev, position.ino = entry.key
        position.gone = 0.0
    elif entry.compressed or entry.size > position.offset or position.gone or entry.key != each.key:
        file = open_entry(entry)
        if position.hashed and not position.fits(file.read_at(position.start, position.hashed)):
            file.close()
            raise BeingRenamed  # another file by now that has its name and its inode
        each.attach(file)


def _is_same(each: Followed, entry: Entry, folders: Folders) -> bool:
    position = each.position
    if entry.compressed != bool(position.codec):
        return False
    if not entry.compressed and entry.size < position.offset:
        return False
    return not position.hashed or position.fits(folders.head(entry, position.start))


def _is_twin(each: Followed, entry: Entry, folders: Folders) -> bool:
    position = each.position
    if position.gone and position.hashed < HEAD_BYTES:
        return False  # a short beginning may be anybody's, and the file was missed before
    if not entry.compressed and entry.size < position.offset:
        return False
    return position.fits(folders.head(entry, position.start))


def _is_copy(each: Followed, entry: Entry, folders: Folders) -> bool:
    """True when the file begins as the known one does; a short one must hold nothing else either."""
    position = each.position
    head = folders.head(entry, position.start)
    if each.file is not None and not position.codec:
        return bool(head) and each.file.read_at(position.start, HEAD_BYTES) == head
    return position.fits(head) and position.hashed in (HEAD_BYTES, len(head))
