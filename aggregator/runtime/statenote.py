"""Notice when Redis holds another state than before, or an older version of the same state.

`data/state` has the id of the state that this instance worked with last, and the newest token that a worker had then.
Tokens follow the clock in microseconds.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple

from aggregator.config.instance import read_line
from aggregator.files.durable import write_durably
from aggregator.runtime.context import Context


class StateNote(NamedTuple):
    """What the disk says about the state in Redis."""

    state_id: str
    newest: int


def read_note(context: Context) -> StateNote | None:
    """Return the note. Call this before a worker starts, because the start makes a newer token."""
    words = (read_line(context.path("data/state")) or "").split()
    if not words:
        return None
    return StateNote(words[0], int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0)


def note_state(context: Context, before: StateNote | None, newest_before: int, token: str) -> None:
    """Report when the state in Redis is not the noted state, or is older, and note the state that is there.

    `before` is the result of `read_note`, `newest_before` the newest token in Redis then, `token` the worker's own.
    """
    if before is not None and before.state_id != context.state_id:
        context.report(
            "another_state",
            f"Redis holds another state ({context.state_id}) than this instance worked with before "
            f"({before.state_id}): positions and messages of before are not known here, so what was done before may "
            "be done again",
            "if this was not meant, stop, and give the instance the Redis or namespace it had; "
            "`run/aggregator state list` shows what is where",
            lasting=True,
        )
    elif before is not None and newest_before < before.newest:
        known = _shown(newest_before) if newest_before else "none"
        context.report(
            "older_state",
            f"Redis came back older than it was: the last start of a worker that it knows is {known}, and there was "
            f"one at {_shown(before.newest)}; what was done in between may be done again",
            "look whether its data were restored from a backup, or lost by a power cut",
            lasting=True,
        )
    _write(context, before, int(token))


def _shown(token: int) -> str:
    return f"{datetime.fromtimestamp(token / 1e6, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _write(context: Context, before: StateNote | None, newest: int) -> None:
    path = context.path("data/state")
    if before is not None and before.state_id == context.state_id:
        newest = max(newest, before.newest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, f"{context.state_id} {newest}\n".encode("ascii"))
    except OSError as error:
        # a worker of another user may not write here: another worker notes the state
        context.log.warning("state_not_noted path=%s reason=%s", path, error.strerror)
