"""Tell a demo program when to end."""

import os
import signal
from types import FrameType


class StopRequest:
    """A callable that says whether to stop: after SIGTERM or SIGINT, or when the process that started us is gone.

    A supervisord that is killed leaves its programs behind, and the next one starts them again: two replays would
    rotate one file, and the second tracker would find its port taken.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._signalled = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def __call__(self) -> bool:
        return self._signalled or os.getppid() != self._parent
