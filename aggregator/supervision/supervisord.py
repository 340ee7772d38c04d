"""supervisord as `aggregator run` starts it: told to end, it ends all workers at once, and then the processes.

The original ends one program after the other, and looks once a second: ten seconds for a dozen programs. Workers need
no order among themselves, as what one has sent waits in its queue; but they commit what they have in hand, so our
Redis ends behind them.

The original also dies of a terminal that was closed, as it can show nothing there any more, and leaves Redis and other
programs behind.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import supervisord
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates

from aggregator.config.instance import Instance
from aggregator.errors import EXIT_CONFIG
from aggregator.supervision.ownconf import why_not_ours


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


class Options(ServerOptions):  # type: ignore[misc]
    """The original, but for the end of a terminal."""

    on_terminal = False

    def get_signal(self) -> int | None:
        """Return the next signal. Started from a terminal, the one for its end asks for ours; else to start anew."""
        number: int | None = super().get_signal()
        return signal.SIGTERM if number == signal.SIGHUP and self.on_terminal else number


class Screen(io.FileIO):
    """A standard stream: what cannot be shown there, on a terminal that is gone, is in our log all the same."""

    def write(self, data: Any) -> int:
        """Write what can be written."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def main() -> None:
    """Supervise, and start anew for as long as one is told to restart."""
    Options.on_terminal = any(os.isatty(number) for number in (0, 1, 2))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.BufferedWriter(Screen(number, "w", closefd=False)), errors="backslashreplace")
        for number in (1, 2)
    )
    first = True
    while True:
        options = Options()
        options.realize(doc=supervisord.__doc__)
        _look_at_sockets(Instance(Path(os.path.dirname(os.path.realpath(options.configfile)))))
        options.first, options.test = first, False
        with suppress(ExitNow):
            Supervisor(options).main()
        first = False
        options.close_httpservers()
        options.close_logger()
        if options.mood < SupervisorStates.RESTARTING:
            return


def _look_at_sockets(instance: Instance) -> None:
    """End when this is the configuration of another folder, or the folder of the sockets is somebody else's."""
    # what lies in /tmp may have been removed since the build
    with suppress(OSError):
        instance.sockets.mkdir(mode=0o700)
    if words := why_not_ours(instance):
        print(f"event=refused {words}", file=sys.stderr, flush=True)
        sys.exit(EXIT_CONFIG)
