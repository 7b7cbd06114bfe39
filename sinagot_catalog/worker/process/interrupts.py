"""The interrupt guard: makes the user's Ctrl-C and SIGTERM end a command or a run in order, and remembers them.

A command enters a guard for its whole duration. A run in the main process enters a guard of its own inside it, to
tell the user's interrupts from those of scripts (see `row_interrupts`); its handler calls the handler before.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

_MOMENT = 0.005
"""Seconds until an interrupt at an unsafe moment is raised again."""
_PATIENCE = 2.0
"""Seconds after which an interrupt is no longer delayed: Polars may be waiting for the user's own code."""


class InterruptGuard:
    """Context manager: interrupts raise in the main thread, but not within Polars.

    Polars calls some of its Python code from Rust, and treats an exception there as an internal error: a panic
    with a long backtrace. Such a call is short, so the interrupt is delayed until the call is over.

    Args:
        terminates: Whether SIGTERM raises KeyboardInterrupt, too. Else it does what the program decided before.

    Attributes:
        has_signal: Whether a signal interrupted.
    """

    def __init__(self, *, terminates: bool = False) -> None:
        self.has_signal = False
        self._terminates = terminates
        self._before: dict[int, Any] = {}
        self._since: float | None = None
        self._again: threading.Timer | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                # SIGINT stays ignored where it is ignored, as in a background job of a shell.
                if callable(handler) or (number == signal.SIGTERM and self._terminates):
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._again is not None:
            self._again.cancel()

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if an interrupt came and a script caught the exception."""
        if self.has_signal:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: "FrameType | None") -> None:
        now = time.monotonic()
        since = now if self._since is None else self._since
        if self._again is not None:
            self._again.cancel()  # merge that interrupt with this one
        if not _is_in_polars(frame) or now - since > _PATIENCE:
            self._since = None
            self._raise(number, frame)
            return
        self._since = since
        # Send it to this thread: a signal to another thread does not end a sleep of this one.
        self._again = threading.Timer(_MOMENT, signal.pthread_kill, [threading.get_ident(), number])
        self._again.daemon = True
        self._again.start()

    def _raise(self, number: int, frame: "FrameType | None") -> None:
        """Call the handler before, which may raise or not; without one, raise."""
        before = self._before.get(number)
        handler = before if callable(before) else signal.default_int_handler
        try:
            handler(number, frame)
        except BaseException:
            self.has_signal = True
            raise


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Deliver an interrupt only after the block, such as one that takes over results or writes the report of a run.

    A terminal's Ctrl-C and the SIGTERM of a Prefect runner reach the process of a flow run one after the other.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    kept = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in kept:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _is_in_polars(frame: "FrameType | None") -> bool:
    """Whether this library waits for Polars; frames of this module do not count, because signals can nest."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in ("polars", "sinagot_catalog") and frame.f_globals is not globals():
            return package == "polars"
        frame = frame.f_back
    return False
