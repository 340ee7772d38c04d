"""A fuse: the kernel kills this process at a given moment, also while the process is stopped.

A process that is stopped (SIGSTOP, a debugger, a frozen group) closes no connection, and no signal but SIGKILL has an
effect on it. So a timer of the kernel sends that one, unless the process puts it off in time. Python has no call for
such timers. Source: timer_create(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_MONOTONIC = 1
"""CLOCK_MONOTONIC, by which `time.monotonic` goes too."""
_ABSOLUTE = 1
"""TIMER_ABSTIME"""


class _Event(ctypes.Structure):
    """struct sigevent, which has 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Setting(ctypes.Structure):
    """struct itimerspec"""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Fuse:
    """One timer of this process. Without Linux it does nothing."""

    def __init__(self) -> None:
        """Raises OSError when the kernel has no timer left, or no library has a call for timers."""
        self._library = _timers() if sys.platform == "linux" else None
        self._timer = ctypes.c_void_p()
        event = _Event(signal=signal.SIGKILL)
        if self._library is not None and self._library.timer_create(
            _MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)
        ):
            raise _failure()

    def burn_at(self, moment: float) -> None:
        """Have the process killed at a moment of `time.monotonic`, in place of the moment that was said before."""
        self._set(max(moment, 1e-9))

    def put_out(self) -> None:
        """Let the process live."""
        self._set(0.0)

    def _set(self, moment: float) -> None:
        if self._library is not None:
            seconds = int(moment)
            setting = _Setting(0, 0, seconds, max(int((moment - seconds) * 1e9), 1 if moment else 0))
            if self._library.timer_settime(self._timer, _ABSOLUTE, ctypes.byref(setting), None):
                raise _failure()


def _timers() -> ctypes.CDLL:
    """Return the library with the calls for timers: glibc has them itself from 2.34 on, in librt before."""
    found = ctypes.CDLL(None, use_errno=True)
    return found if hasattr(found, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"no timer: {os.strerror(number)}")
