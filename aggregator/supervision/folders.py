"""Check and make the folders that a build needs, all of them or none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from aggregator.errors import ConfigError
from aggregator.supervision.changes import Action


def obstacle(folder: Path) -> str | None:
    """Return why a folder cannot be made; None when the folder exists or no obstacle is known."""
    for path in (folder, *folder.parents):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return error.strerror
        if not path.is_dir():
            return f"{path} is no folder"
        return None if path == folder or _writable(path) else f"{path} may not be written to"
    return None


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def check_writable(*files: Path) -> None:
    """Raise ConfigError that lists all existing folders of these files that may not be written to."""
    folders = dict.fromkeys(file.parent for file in files)
    closed = [folder for folder in folders if folder.is_dir() and not _writable(folder)]
    if closed:
        raise ConfigError(*(f"{folder}/ may not be written to" for folder in closed))


def make_folders(planned: Iterable[Action]) -> tuple[Action, ...]:
    """Make the folders of a plan, all of them or none, and return their actions."""
    actions = tuple(action for action in planned if action.kind == "mkdir")
    made: list[Path] = []
    for action in actions:
        try:
            for path in reversed([action.path, *action.path.parents]):
                if not path.is_dir():
                    # the folder may exist by now, made by another build
                    path.mkdir(mode=action.mode if path == action.path else 0o777, exist_ok=True)
                    made.append(path)
        except OSError as error:
            for path in reversed(made):
                path.rmdir()
            raise ConfigError(f"{action.path}: cannot be made: {error.strerror}") from error
    return actions


def check_private(folder: Path) -> None:
    """Raise ConfigError for a folder of sockets that somebody else made or has access to."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if folder.is_symlink() or not folder.is_dir() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{folder}: not a folder of our own with mode 0700; remove it")
