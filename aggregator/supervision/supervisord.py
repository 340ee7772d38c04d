"""supervisord as `aggregator run` starts it: told to end, it ends all workers at once, and then the processes.

The original ends one program after the other, and looks once a second: ten seconds for a dozen programs. Workers need
no order among themselves, as what one has sent waits in its queue; but they commit what they have in hand, so our
Redis ends behind them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from supervisor import supervisord
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates


class Supervisor(supervisord.Supervisor):  # type: ignore[misc]
    """The original, but for the order of its end."""

    stop_groups: list[Any] | None

    def ordered_stop_groups_phase_1(self) -> None:
        """Stop what is to end now. Called again and again until nothing runs."""
        waiting = self.stop_groups or []
        workers = [group for group in waiting if not group.config.name.startswith("process_")]
        for group in workers or waiting:
            group.stop_all()

    def ordered_stop_groups_phase_2(self) -> None:
        """Note what has ended."""
        self.stop_groups = [group for group in self.stop_groups or () if group.get_unstopped_processes()]


def main() -> None:
    """Supervise, and start anew for as long as one is told to restart."""
    first = True
    while True:
        options = ServerOptions()
        options.realize(doc=supervisord.__doc__)
        options.first, options.test = first, False
        with suppress(ExitNow):
            Supervisor(options).main()
        first = False
        options.close_httpservers()
        options.close_logger()
        if options.mood < SupervisorStates.RESTARTING:
            return


if __name__ == "__main__":
    main()
