"""Signals: Ctrl-C and SIGTERM end a command; workers are stopped, and rows are released."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Interrupts"]

_MOMENT = 0.005
"""Seconds until an interrupt at an unsafe moment is raised again."""
_PATIENCE = 2.0
"""Seconds after which an interrupt is no longer delayed: Polars may be waiting for the user's own code."""


class Interrupts:
    """Context manager: both signals raise KeyboardInterrupt in the main thread, but not within Polars.

    Polars calls some of its Python code from Rust, and treats an exception there as an internal error: a panic
    with a long backtrace. Such a call is short, so the interrupt is delayed until the call is over.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._since: float | None = None
        self._again: threading.Timer | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._came)
            if (
                signal.getsignal(signal.SIGINT) is signal.default_int_handler
            ):  # not if ignored, as in a background job of a shell
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._again is not None:
            self._again.cancel()

    def _came(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        since = now if self._since is None else self._since
        if self._again is not None:
            self._again.cancel()  # merge that interrupt with this one
        if not _is_in_polars(frame) or now - since > _PATIENCE:
            self._since = None
            raise KeyboardInterrupt
        self._since = since
        # Send it to this thread: a signal to another thread does not end a sleep of this one.
        self._again = threading.Timer(_MOMENT, signal.pthread_kill, [threading.get_ident(), number])
        self._again.daemon = True
        self._again.start()


def _is_in_polars(frame: FrameType | None) -> bool:
    """Whether this library waits for Polars; frames of this module do not count, because signals can nest."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in ("polars", "sinagot_catalog") and frame.f_globals is not globals():
            return package == "polars"
        frame = frame.f_back
    return False
