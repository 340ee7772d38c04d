"""Notice that Redis holds another state than before: it was emptied, or another Redis or namespace is used."""

from __future__ import annotations

from aggregator.durable import write_durably
from aggregator.instance import read_line
from aggregator.runtime.stage import Context


def note_state(context: Context) -> None:
    """Compare the state in Redis with the one that this instance worked with last, and report when it is another."""
    path = context.path("data/state")
    known = read_line(path)
    if known == context.state_id:
        return
    if known is not None:
        context.report(
            "another_state",
            f"Redis holds another state ({context.state_id}) than this instance worked with before ({known}): "
            "positions and messages of before are not known here, so what was done before may be done again",
            "if this was not meant, stop, and give the instance the Redis or namespace it had; "
            "`run/aggregator state list` shows what is where",
            lasting=True,
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, f"{context.state_id}\n".encode("ascii"))
    except OSError as error:
        # a worker of another user may not: another one notes it
        context.log.warning("state_not_noted path=%s reason=%s", path, error.strerror)
