"""Find followed files again beside their path, and tell new rotated logs from known ones.

A file is recognised by its device and inode, as long as the bytes that were read from it are still there: the first
bytes and the last ones. A file that is not found in this way was compressed, copied by copytruncate, or brought back:
then it is recognised in any file that holds these bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aggregator.files.fingerprint import HEAD_BYTES
from aggregator.logs.following.followedfile import FollowedFile
from aggregator.logs.following.listing import BeingRenamed, Beside, Entry, Folders, open_entry
from aggregator.logs.following.openfile import OpenFile, key_of, text_in
from aggregator.logs.following.position import TextAt


def locate(
    files: Sequence[FollowedFile], beside: Beside, folders: Folders, is_elsewhere: Callable[[Entry], bool]
) -> list[FollowedFile]:
    """Find every file that is not open, and open the files that may have more lines. Returns the files not found.

    `is_elsewhere` is true for a file that is followed under another path.
    """
    claimed = {each.key for each in files if each.file is not None}
    homeless = []
    # The bytes read from one file may be the beginning of another: the file with most bytes read chooses first.
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
            # `HEAD_BYTES` are enough to recognise the file under whatever name
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
    """Return the rotated logs that are neither one of the files nor a copy of one."""
    claimed = {each.key for each in files if not each.position.gone}
    return [
        entry
        for entry in beside.rotated
        if entry.size and entry.key not in claimed and not any(_is_copy(each, entry, beside, folders) for each in files)
    ]


def named_by(files: Sequence[FollowedFile], file: OpenFile | None) -> FollowedFile | None:
    """Return the followed file that the open file is; None when it is none of them."""
    if file is None:
        return None
    key = key_of(file)
    return next((each for each in files if each.key == key and not each.position.gone), None)


def untaken(
    files: Sequence[FollowedFile], live: OpenFile | None, beside: Beside, folders: Folders
) -> list[FollowedFile]:
    """Return the files from which nothing was taken, as far as they will be found again as new files.

    Such a file may have been copied and truncated since, so that other files come before it. Forgetting it and finding
    it anew puts the files in the right order.
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
            raise BeingRenamed  # another file has the name and the inode by now
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
        return each.position.begins(text(each.position.start))  # a compressed file never changes: its head is enough
    return each.position.fits(text)


def _is_twin(each: FollowedFile, entry: Entry, folders: Folders) -> bool:
    position = each.position
    if position.gone and position.hashed < HEAD_BYTES:
        return False  # a short beginning may be that of any file, and this file was missed before
    if not entry.compressed and entry.size < position.offset:
        return False
    return position.fits(folders.text(entry))


def _is_copy(each: FollowedFile, entry: Entry, beside: Beside, folders: Folders) -> bool:
    """True when the entry holds the text of the known file, or only its beginning, as a copy made some time ago does.

    A short beginning alone is no proof: then the known file must hold nothing else either.
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
    """True for a copy that replaced a removed file and has grown longer than that file."""
    if each.file is None or each.file.stat().st_nlink:
        return False
    at, last = folders.end(entry) if entry.compressed else (entry.size, b"")
    return at + len(last) > each.file.stat().st_size


def _known_text(each: FollowedFile, beside: Beside, folders: Folders) -> TextAt | None:
    """Return a function that reads the text of a followed file; None when the file is not at hand."""
    if each.file is not None:
        return text_in(each.file)
    entry = None if each.position.gone else beside.find(each.key)
    return None if entry is None else folders.text(entry)
