"""The supervisord that `aggregator run` starts: on shutdown it stops all workers at once, then all other processes.

The original supervisord stops one program after the other and looks once a second: ten seconds for a dozen programs.
Workers need no order among themselves, because sent messages wait in queues. But workers commit the messages that
they have in hand, so our Redis must stop after them.

The original also dies when its terminal is closed, because it cannot write to the terminal any more, and leaves Redis
and other programs running.
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
    """The original supervisord, with another order of stopping."""

    stop_groups: list[Any] | None

    def ordered_stop_groups_phase_1(self) -> None:
        """Stop all workers, or all other processes once no worker runs. Called again and again until nothing runs."""
        waiting = self.stop_groups or []
        workers = [group for group in waiting if not group.config.name.startswith("process_")]
        for group in workers or waiting:
            group.stop_all()

    def ordered_stop_groups_phase_2(self) -> None:
        """Forget the groups that have ended."""
        self.stop_groups = [group for group in self.stop_groups or () if group.get_unstopped_processes()]


class Options(ServerOptions):  # type: ignore[misc]
    """The original options, with another reaction to a closed terminal."""

    on_terminal = False

    def get_signal(self) -> int | None:
        """Return the next signal. SIGHUP means to end when we were started from a terminal, otherwise to restart."""
        number: int | None = super().get_signal()
        return signal.SIGTERM if number == signal.SIGHUP and self.on_terminal else number


class Screen(io.FileIO):
    """A standard stream that ignores errors of a closed terminal; our log holds the same text."""

    def write(self, data: Any) -> int:
        """Write data, and report success even when the stream is broken."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def main() -> None:
    """Run supervisord, and run it anew after each request to restart."""
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
    """Exit when the configuration was built for another folder, or somebody else owns the folder of the sockets."""
    # a folder in /tmp may have been removed since the build
    with suppress(OSError):
        instance.sockets.mkdir(mode=0o700)
    if words := why_not_ours(instance):
        print(f"event=refused {words}", file=sys.stderr, flush=True)
        sys.exit(EXIT_CONFIG)
