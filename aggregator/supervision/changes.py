"""Carry out the changes of a build: all of them or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from aggregator.files.durable import part_of, write_part

Link = Callable[[str, Path], None]


class Action(NamedTuple):
    """One change on disk; `line` tells the user about it."""

    kind: Literal["mkdir", "write", "mode", "link", "remove"]
    path: Path
    line: str
    text: str = ""
    mode: int = 0


class Before(NamedTuple):
    """The state of a path before a change: a link's target, a file's bytes, or nothing."""

    path: Path
    target: str | None
    data: bytes | None
    mode: int


def link_target(path: Path) -> str:
    """Return the target of the link `path` in workers_enabled."""
    return f"../workers_available/{path.name}"


def carry_out(actions: Iterable[Action], symlink: Link = lambda target, path: os.symlink(target, path)) -> None:
    """Carry out all actions in order. Where links are impossible, copies are made instead.

    Raises OSError when an action fails, after undoing the actions before it; new folders stay. All new files are
    written under temporary names before anything is changed, so that a full disk is noticed in time.
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
    """Yield the half-written files that killed builds left; `places` is folder → pattern of the final names."""
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
    """Undo the changes, the last one first. A path that cannot be restored is one that could not be changed either."""
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
            # order: write the old content, then rename it: on a full disk, one of the two versions remains
            part.rename(before.path)
