"""The signal state: which signal handlers, blocked signals and timers a script changed, and their restoring."""

import signal
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

_SIGNALS = tuple(
    int(number)
    for number in (
        *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGVTALRM),
        *(signal.SIGPROF, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2),
    )
)
_NO_TIMER = (0.0, 0.0)
_TIMER_PRECISION = 0.1
"""Seconds by which a timer that nobody changed may differ from what is expected of it."""
_raw_handler: Callable[[int], Any] = import_module("_signal").getsignal
"""`signal.getsignal` converts its result to an Enum, which costs ten times as much."""
_raw_mask: Callable[..., set[int]] = import_module("_signal").pthread_sigmask


class SignalState:
    """Restores handlers, mask and timers of the main thread to their state before a row."""

    def __init__(self) -> None:
        self._mask = _raw_mask(signal.SIG_BLOCK, ())
        self._is_main = False
        self._handlers: list[Any] = []
        self._timer = _NO_TIMER
        self._since = 0.0

    def note(self) -> None:
        """Record the present handlers, and the timer of the program around the run."""
        self._is_main = threading.current_thread() is threading.main_thread()
        self._handlers = list(map(_raw_handler, _SIGNALS))
        self._timer, self._since = signal.getitimer(signal.ITIMER_REAL), time.monotonic()

    def _wanted_timer(self) -> tuple[float, float]:
        """The timer as it would be now without the row: stopped, or what is left of the program's own."""
        left, interval = self._timer
        left -= time.monotonic() - self._since
        if left <= 0:
            return (left % interval or interval, interval) if interval else _NO_TIMER
        return left, interval

    def _is_timer_changed(self) -> bool:
        now = signal.getitimer(signal.ITIMER_REAL)
        if self._timer == _NO_TIMER:
            return now != _NO_TIMER
        left, interval = self._wanted_timer()
        return now[1] != interval or abs(now[0] - left) > _TIMER_PRECISION

    def is_changed(self) -> bool:
        """Whether a handler, the mask or the timer is another one."""
        return self._is_main and (
            self._is_timer_changed()
            or _raw_mask(signal.SIG_BLOCK, ()) != self._mask
            or list(map(_raw_handler, _SIGNALS)) != self._handlers
        )

    def undo(self) -> None:
        """Restore the handlers, the mask and the timer, and stop other timers."""
        if not self._is_main:
            return
        if self._is_timer_changed():
            signal.setitimer(signal.ITIMER_REAL, *self._wanted_timer())
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        handlers = list(map(_raw_handler, _SIGNALS))
        if handlers == self._handlers:
            return
        for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        for number, before, now in zip(_SIGNALS, self._handlers, handlers, strict=True):
            if now != before and before is not None:  # None: the handler was not installed from Python
                signal.signal(number, before)
