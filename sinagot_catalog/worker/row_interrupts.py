"""`KeyboardInterrupt` while a row's script runs: an error of its row, or the user's interrupt of the run.

The two must not be mixed up: a script that raises it, or calls `_thread.interrupt_main`, fails its own row, and a
user who presses Ctrl-C ends the run.
"""

import _thread
import signal
import threading
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MainInterrupts", "RowInterrupts", "WorkerInterrupts"]


class RowInterrupts(Protocol):
    """Entered while a script is at work."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def is_from_user(self, error: BaseException) -> bool:
        """Whether this exception is the user's interrupt of the run."""


class WorkerInterrupts:
    """In a worker process each interrupt is the script's: the user's reaches the parent, which ends its workers.

    One that comes when no script is at work, from a thread that a script left behind, has no effect.
    """

    def __init__(self) -> None:
        self._is_at_work = False
        signal.signal(signal.SIGINT, self._came)

    def __enter__(self) -> None:
        self._is_at_work = True

    def __exit__(self, *_: object) -> None:
        self._is_at_work = False

    def _came(self, *_: object) -> None:
        if self._is_at_work:
            raise KeyboardInterrupt

    def is_from_user(self, error: BaseException) -> bool:  # noqa: ARG002 part of the protocol
        """Never."""
        return False


class MainInterrupts:
    """In the main process an interrupt is the user's where a signal came; `listen` for them around the run.

    A script's own call of `_thread.interrupt_main` reaches the thread that runs the script, without a signal.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._has_come = False
        self._thread = 0
        self._interrupt_main: Any = None
        self._is_pending = False

    # -- the run ------------------------------------------------------------------------------------------

    def listen(self) -> Self:
        """Take note of signals until `unlisten`; what handled them before still does."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._came)
        return self

    def unlisten(self) -> None:
        """Let signals go where they went before."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _came(self, number: int, frame: Any) -> None:
        try:
            self._before[number](number, frame)
        except BaseException:
            self._has_come = True
            raise

    def check(self) -> None:
        """Raise `KeyboardInterrupt` where a signal came and a script kept it to itself."""
        if self._has_come:
            raise KeyboardInterrupt

    def is_from_user(self, error: BaseException) -> bool:
        """Whether a signal came; Polars takes it itself while it computes, and raises from its own code."""
        return isinstance(error, KeyboardInterrupt) and (self._has_come or _is_raised_by_polars(error))

    # -- a row --------------------------------------------------------------------------------------------

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self._interrupt_main = _thread.interrupt_main
        _thread.interrupt_main = self._interrupt_row

    def __exit__(self, *_: object) -> None:
        _thread.interrupt_main = self._interrupt_main
        if self._is_pending:
            self._is_pending = False
            _raise_in(self._thread, None)  # it came too late for its row

    def _interrupt_row(self, signum: int = signal.SIGINT, /) -> None:
        if signum != signal.SIGINT:
            self._interrupt_main(signum)
            return
        self._is_pending = True
        _raise_in(self._thread, KeyboardInterrupt)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception in a thread at its next step; None takes back one that is not raised yet."""
    import ctypes

    given = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), given)


def _is_raised_by_polars(error: BaseException) -> bool:
    trace: TracebackType | None = error.__traceback__
    name = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        trace = trace.tb_next
    return name.partition(".")[0] == "polars"
