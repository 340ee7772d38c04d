"""The positions and first looks that a section stored, found again however their paths are spelt now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aggregator.files.names import name_of, text_of
from aggregator.logs.following.pattern import Pattern
from aggregator.logs.following.position import Position, load_position

SINCE = "since "
"""How the names of cursors begin that hold when a pattern was first looked at."""


class TakenUp(NamedTuple):
    """The stored positions, by the names that the patterns have for their paths now."""

    positions: dict[str, list[Position]]
    left: list[Position]
    """Positions of paths that no pattern matches."""
    moved: dict[str, str | None]
    """Cursors to store because they have another name now; None deletes a cursor."""


def take_up(cursors: Mapping[str, str], patterns: Sequence[Pattern], root: Path) -> TakenUp:
    """Sort stored cursors by the patterns' names for their paths, and set when each pattern was first looked at."""
    found = TakenUp({}, [], _take_up_first_looks(cursors, patterns, root))
    spelt: dict[str, list[Position]] = {}
    for name, text in cursors.items():
        if not name.startswith(SINCE):
            position = load_position(text)
            spelt.setdefault(name_of(position.path), []).append(position)
    groups: dict[str, list[list[Position]]] = {}
    for name, positions in spelt.items():
        called = next((called for pattern in patterns if (called := pattern.respell(name)) is not None), None)
        if called is None:
            found.left.extend(positions)
        else:
            groups.setdefault(called, []).append(positions)
    for called, alternatives in groups.items():
        positions = _merge(alternatives)
        before = {each.name for alternative in alternatives for each in alternative}
        for each in positions:
            each.path = text_of(called)
        after = {each.name: each.store() for each in positions}
        found.moved.update(dict.fromkeys(before - after.keys()))
        found.moved.update({name: text for name, text in after.items() if cursors.get(name) != text})
        found.positions[called] = positions
    return found


def called_by(patterns: Sequence[Pattern], cursor: str, text: str, root: Path) -> str | None:
    """Return the patterns' name for the path that a cursor is about, or for the pattern; None when they have none."""
    if cursor.startswith(SINCE):
        looked = Pattern(cursor.removeprefix(SINCE), root)
        same = (pattern for pattern in patterns if looked.text == pattern.text or looked.real == pattern.real)
        return next((f"{SINCE}{pattern.real}" for pattern in same), None)
    name = name_of(load_position(text).path)
    return next((called for pattern in patterns if (called := pattern.respell(name)) is not None), None)


def is_kept_by(patterns: Sequence[Pattern], cursor: str, text: str, root: Path) -> bool:
    """True for a cursor about a path or pattern that these patterns match; a glob matches each of its paths."""
    path = cursor.removeprefix(SINCE)
    within = cursor != path and any(pattern.respell(path) is not None for pattern in patterns)
    return within or called_by(patterns, cursor, text, root) is not None


def _take_up_first_looks(cursors: Mapping[str, str], patterns: Iterable[Pattern], root: Path) -> dict[str, str | None]:
    moved: dict[str, str | None] = {}
    looks = {name.removeprefix(SINCE): float(text) for name, text in cursors.items() if name.startswith(SINCE)}
    real = {text: Pattern(text, root).real for text in looks}
    texts = {pattern.text for pattern in patterns}
    for pattern in patterns:
        same = [text for text in looks if text == pattern.text or real[text] == pattern.real]
        if not same:
            continue
        pattern.since = min(looks[text] for text in same)
        if pattern.text not in looks:
            moved[SINCE + pattern.text] = repr(pattern.since)
        moved |= {SINCE + text: None for text in same if text not in texts}
    return moved


def _merge(alternatives: Sequence[Sequence[Position]]) -> list[Position]:
    """Return the positions of one path, merged from those stored under several spellings.

    When the spellings agree about the files, a kill came while the positions were being stored under another name: of
    each file the furthest position counts. When they do not agree, an earlier version began anew under each spelling:
    the positions of the spelling that came furthest are the newest.
    """
    merged: dict[int, Position] = {}
    for positions in alternatives:
        for each in positions:
            other = merged.setdefault(each.serial, each)
            same = (each.dev, each.ino) == (other.dev, other.ino) or each.hash == other.hash
            if not same and each.hashed and other.hashed:
                return list(max(alternatives, key=_progress))
            if each.offset > other.offset:
                merged[each.serial] = each
    return list(merged.values())


def _progress(positions: Iterable[Position]) -> tuple[float, int, int]:
    """Return a sort key for the positions of one path: how far they came."""
    last = max(positions, key=lambda each: each.serial)
    return last.mtime, last.serial, last.offset
