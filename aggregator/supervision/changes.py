"""Carry out what a build changes: all of it, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from aggregator.files.durable import part_of, write_part

Link = Callable[[str, Path], None]


class Action(NamedTuple):
    """One step: `line` is what the user sees of it."""

    kind: Literal["mkdir", "write", "mode", "link", "remove"]
    path: Path
    line: str
    text: str = ""
    mode: int = 0


class Before(NamedTuple):
    """What a path was before it was changed: a link's target, a file's bytes, or nothing."""

    path: Path
    target: str | None
    data: bytes | None
    mode: int


def link_target(path: Path) -> str:
    """Return what the link of workers_enabled named `path` points to."""
    return f"../workers_available/{path.name}"


def carry_out(actions: Iterable[Action], symlink: Link = lambda target, path: os.symlink(target, path)) -> None:
    """Take every step, in order. Where links are impossible, copies take their place.

    Raises OSError when one fails; what was changed before it is then as it was. Everything that needs room on the
    disk is written before anything is changed.
    """
    actions = list(actions)
    for action in actions:
        if action.kind == "mkdir":
            action.path.mkdir(mode=action.mode, parents=True, exist_ok=True)
    parts = {action.path: part_of(action.path) for action in actions if action.kind == "write"}
    done: list[Before] = []
    try:
        for action in actions:
            if action.kind == "write":
                _write(parts[action.path], action)
        for action in actions:
            if action.kind != "mkdir":
                done.append(_look(action.path))
                _take(action, parts, symlink)
    except OSError:
        _undo(done)
        raise
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _take(action: Action, parts: dict[Path, Path], symlink: Link) -> None:
    if action.kind == "write":
        parts[action.path].rename(action.path)
    elif action.kind == "mode":
        action.path.chmod(action.mode)
    elif action.kind == "link":
        _link(action, symlink)
    else:
        action.path.unlink(missing_ok=True)


def _write(part: Path, action: Action) -> None:
    write_part(part, action.text.encode(errors="surrogateescape"), action.mode)


def parts_left(places: dict[Path, str]) -> Iterator[Path]:
    """Yield the half-written files that killed builds left, by folder and pattern of the names they were to get."""
    for folder, name in places.items():
        yield from folder.glob(f".{name}.[0-9]*.part")


def _link(action: Action, symlink: Link) -> None:
    try:
        symlink(link_target(action.path), action.path)
    except FileExistsError:
        return
    except OSError:
        # a file system without links, such as vfat
        part = part_of(action.path)
        _write(part, action)
        part.rename(action.path)


def _look(path: Path) -> Before:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return Before(path, None, None, 0)
    if path.is_symlink():
        return Before(path, os.readlink(path), None, 0)
    return Before(path, None, path.read_bytes(), found.st_mode & 0o777)


def _undo(done: list[Before]) -> None:
    """Put back what was there, the last change first; what cannot be put back, nothing has changed about."""
    for before in reversed(done):
        with suppress(OSError):
            if _look(before.path) == before:
                continue
            part = part_of(before.path)
            part.unlink(missing_ok=True)
            if before.target is not None:
                os.symlink(before.target, part)
            elif before.data is not None:
                write_part(part, before.data, before.mode)
            else:
                before.path.unlink(missing_ok=True)
                continue
            # order: what was there is written, then it takes the place: a full disk must not leave none of the two
            part.rename(before.path)
