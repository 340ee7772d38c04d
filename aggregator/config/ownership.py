"""Find users who could make an instance's programs do what they like: owners of its files, or anybody who may write.

The configuration names commands, and plugins are Python: whoever writes to one of these files acts as the user who
runs the instance. So commands that execute something (`config check`, `config build`, `run`, workers) refuse files of
somebody else, and commands that only look import nothing and say so.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

TRUST = "AGGREGATOR_TRUST"
"""The variable of the environment that names further users whose files may be executed: names or ids, * for all."""
ROOT = 0
_EVERYBODY, _GROUP = 0o002, 0o020
_SOURCES = (".py", "__pycache__")


class Doubt(NamedTuple):
    """Why a file or folder is not trusted. A doubt without `refused` is merely unusual, and prevents nothing."""

    refused: bool
    text: str


def doubts(root: Path, file: Path, files: Mapping[Path, str], *, executing: bool) -> list[Doubt]:
    """Look for doubts about an instance's folder, the files in it that are executed, and its configuration.

    `files` are further files that the configuration names, each with what a writer of the file could do.

    With `executing` the folder's owner is a stranger unless he is the user himself, root or trusted by `TRUST`; without
    it the owner is trusted.
    """
    trusted = _trusted()
    if trusted is None or (owner := _owner(root)) is None:
        return []
    found = []
    if executing and owner not in trusted:
        found.append(_foreign_root(root, owner))
    places = [root, root / "run", root / "workers_available", root / "workers_enabled", file]
    places += [path for folder in (root, root / "plugins") for path in _sources(folder)]
    for path in dict.fromkeys(places):
        found += _doubts_of(path, trusted | {owner}, "what stands in it is executed")
    for path in _built(root / "run/built"):
        # a copy that is merely unusual is so because its original is
        found += [each for each in _doubts_of(path, trusted | {owner}, "what stands in it is executed") if each.refused]
    for path, power in files.items():
        for doubt in _doubts_of(path, trusted | {owner}, power):
            # the file may well be written by another user's program
            found.append(doubt if _is_open(path) else doubt._replace(refused=False))
    return found


def is_foreign(root: Path) -> bool:
    """True when an instance's folder belongs to a user whom we do not trust."""
    trusted, owner = _trusted(), _owner(root)
    return trusted is not None and owner is not None and owner not in trusted


def user(uid: int) -> str:
    """Return a user's name, or his number where he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _trusted() -> frozenset[int] | None:
    """Return the users whose files we execute; None for all users."""
    trusted = {ROOT, os.geteuid()}
    for word in os.environ.get(TRUST, "").replace(",", " ").split():
        if word == "*":
            return None
        try:
            trusted.add(int(word) if word.isdecimal() else pwd.getpwnam(word).pw_uid)
        except KeyError:
            continue  # a user whom nobody knows owns nothing here
    return frozenset(trusted)


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _foreign_root(root: Path, owner: int) -> Doubt:
    name, me = user(owner), user(os.geteuid())
    if _is_outside(owner):
        return Doubt(
            False, f"{root} belongs to a user outside this container; whoever that is can run programs as {me}"
        )
    if os.geteuid() != ROOT and os.access(root, os.W_OK):
        return Doubt(False, f"{root} belongs to {name} and is shared with {me}: {name} can run programs as {me}")
    advice = f"run this as {name}, or give the folder to {me} with chown, or set {TRUST}={owner} if {name} may do that"
    return Doubt(True, f"{root} belongs to {name}, who could have {me} execute anything by what stands in it; {advice}")


def _sources(folder: Path) -> Iterator[Path]:
    """Yield a folder of modules, if it is there, and the entries in it that Python would execute."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(_SOURCES)]
    except OSError:
        return
    yield folder
    yield from (folder / name for name in sorted(names))


def _built(folder: Path) -> Iterator[Path]:
    """Yield the folder of builds, which workers run in place of the configuration, and everything in it."""
    yield folder
    yield from sorted((*folder.glob("*"), *folder.glob("*/*")))


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & _EVERYBODY)


def _doubts_of(path: Path, trusted: Iterable[int], reason: str) -> Iterator[Doubt]:
    try:
        found = path.stat()
    except OSError:
        return
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in trusted and not _is_outside(found.st_uid):
        name = user(found.st_uid)
        advice = f"chown it, or set {TRUST}={found.st_uid} if {name} may do what you may"
        yield Doubt(True, f"{path} belongs to {name}, and {reason}; {advice}")
    if mode & _EVERYBODY:
        yield Doubt(True, f"{path} can be written to by everybody (mode {mode:04o}), and {reason}; chmod o-w it")
    elif mode & _GROUP and not _is_private(found.st_gid, found.st_uid):
        group = _group(found.st_gid)
        words = f"can be written to by the group {group} (mode {mode:04o}), and {reason}"
        yield Doubt(False, f"{path} {words}; chmod g-w it unless its members may do what you may")


def _is_private(gid: int, uid: int) -> bool:
    """True for a user's own group, which many systems make for each user, and for root's group."""
    return gid in (uid, ROOT) or _group(gid) == user(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_outside(uid: int) -> bool:
    """True for the number that stands for all users outside a container that numbers its own users."""
    try:
        whole = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return whole != ["0", "0", "4294967295"] and uid == overflow
