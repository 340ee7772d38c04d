"""Which file is which: finding followed files again beside their path, and telling new rotated logs from known ones.

A file is where its device and inode are, as long as what was read from it is still there: the first bytes and the last
ones. One that is not found so was compressed, copied by copytruncate, or brought back: then a file with these bytes is
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.logs.following.followedfile import FollowedFile
from aggregator.logs.following.openfile import OpenFile, key_of, text_in
from aggregator.logs.following.position import TextAt
from aggregator.logs.following.rotation import BeingRenamed, Beside, Entry, Folders, open_entry


def locate(
    files: Sequence[FollowedFile], beside: Beside, folders: Folders, is_elsewhere: Callable[[Entry], bool]
) -> list[FollowedFile]:
    """Find every file that is not open, and open those that may have more lines. Returns those that are nowhere.

    `is_elsewhere` is true for a file that is followed under another path.
    """
    claimed = {each.key for each in files if each.file is not None}
    homeless = []
    # What was read of one file may be the beginning of another: the one of which most was read has the first choice.
    for each in sorted(files, key=lambda each: -each.position.offset):
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
        if found is None and not each.position.gone and each.position.hashed == HEAD_BYTES:
            # a long beginning is enough to know it under whatever name
            others = [entry for entry in folders.beginning(beside, each.position.hash) if not is_elsewhere(entry)]
            found = next(
                (entry for entry in others if entry.key not in claimed and _is_twin(each, entry, folders)), None
            )
        if found is None:
            lost.append(each)
        else:
            claimed.add(found.key)
            _settle(each, found)
    return lost


def unknown(files: Sequence[FollowedFile], beside: Beside, folders: Folders) -> list[Entry]:
    """Return the rotated logs that are none of the files nor a copy of one."""
    claimed = {each.key for each in files if not each.position.gone}
    return [
        entry
        for entry in beside.rotated
        if entry.size and entry.key not in claimed and not any(_is_copy(each, entry, beside, folders) for each in files)
    ]


def named_by(files: Sequence[FollowedFile], file: OpenFile | None) -> FollowedFile | None:
    """Return the one of these that the open file is."""
    if file is None:
        return None
    key = key_of(file)
    return next((each for each in files if each.key == key and not each.position.gone), None)


def untaken(
    files: Sequence[FollowedFile], live: OpenFile | None, beside: Beside, folders: Folders
) -> list[FollowedFile]:
    """Return the files nothing was taken from, where they are found again as new ones.

    They may have been copied and truncated since, so that others come before them: they are better forgotten.
    """
    named = named_by(files, live)
    return [
        each
        for each in files
        if not each.position.hashed
        and (
            each is named
            or any(entry.key == each.key or _is_copy(each, entry, beside, folders) for entry in beside.rotated)
        )
    ]


def _settle(each: FollowedFile, entry: Entry) -> None:
    position = each.position
    if position.done:
        position.dev, position.ino = entry.key
        position.gone = 0.0
    elif entry.compressed or entry.size > position.offset or position.gone or entry.key != each.key:
        file = open_entry(entry)
        if position.hashed and not _holds(entry, each, text_in(file)):
            file.close()
            raise BeingRenamed  # another file by now that has its name and its inode
        each.attach(file)


def _is_same(each: FollowedFile, entry: Entry, folders: Folders) -> bool:
    position = each.position
    if entry.compressed != bool(position.codec):
        return False
    if not entry.compressed and entry.size < position.offset:
        return False
    return not position.hashed or _holds(entry, each, folders.text(entry))


def _holds(entry: Entry, each: FollowedFile, text: TextAt) -> bool:
    """True when what was read from the followed file is in this text."""
    if entry.compressed and entry.key == each.key:
        return each.position.begins(text(each.position.start))  # never written anew: not worth unpacking it
    return each.position.fits(text)


def _is_twin(each: FollowedFile, entry: Entry, folders: Folders) -> bool:
    position = each.position
    if position.gone and position.hashed < HEAD_BYTES:
        return False  # a short beginning may be anybody's, and the file was missed before
    if not entry.compressed and entry.size < position.offset:
        return False
    return position.fits(folders.text(entry))


def _is_copy(each: FollowedFile, entry: Entry, beside: Beside, folders: Folders) -> bool:
    """True when the file holds what the known one does, or only a part of that: it was copied some time ago.

    A short beginning alone does not tell: then the known one must hold nothing else either.
    """
    position, file, text = each.position, each.file, folders.text(entry)
    if each.succeeded:
        return False  # its text is read in the copy that took its place
    head = text(position.start)
    if file is not None and not position.codec:
        begins = bool(head) and file.read_at(position.start, HEAD_BYTES) == head
    else:
        begins = position.begins(head) and position.hashed in (HEAD_BYTES, len(head))
    if not begins:
        return False
    last = text(position.last_at)
    if len(last) >= position.last_hashed:
        return position.reaches(last) and not _succeeds(each, entry, folders)
    known = _known_text(each, beside, folders)
    if known is None:
        return True
    at, last = folders.end(entry)
    return known(at)[: len(last)] == last


def _succeeds(each: FollowedFile, entry: Entry, folders: Folders) -> bool:
    """True for a copy that has taken the place of a removed file, and grew on."""
    if each.file is None or each.file.stat().st_nlink:
        return False
    at, last = folders.end(entry) if entry.compressed else (entry.size, b"")
    return at + len(last) > each.file.stat().st_size


def _known_text(each: FollowedFile, beside: Beside, folders: Folders) -> TextAt | None:
    """Return what reads the text of a followed file, if it is at hand."""
    if each.file is not None:
        return text_in(each.file)
    entry = None if each.position.gone else beside.find(each.key)
    return None if entry is None else folders.text(entry)
