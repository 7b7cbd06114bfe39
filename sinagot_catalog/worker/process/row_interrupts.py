"""Interrupts while a script runs: tells a script's `KeyboardInterrupt` from the user's Ctrl-C.

A script that raises `KeyboardInterrupt`, or calls `_thread.interrupt_main`, fails its own row. A user who presses
Ctrl-C ends the run.
"""

import _thread
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

from sinagot_catalog.worker.process.interrupts import InterruptGuard

if TYPE_CHECKING:
    from types import TracebackType


class WorkerInterrupts:
    """Interrupts in a worker process, as a context around a script: each comes from the script.

    The user's interrupt reaches the parent, which ends its workers. An interrupt between scripts, which a thread of
    an earlier script may raise, has no effect.

    Attributes:
        is_shared: Whether other code than scripts runs in this process.
    """

    is_shared = False

    def __init__(self) -> None:
        self._is_running = False
        signal.signal(signal.SIGINT, self._on_signal)

    def __enter__(self) -> None:
        self._is_running = True

    def __exit__(self, *_: object) -> None:
        self._is_running = False

    def _on_signal(self, *_: object) -> None:
        if self._is_running:
            raise KeyboardInterrupt

    def is_from_user(self, error: BaseException) -> bool:  # noqa: ARG002 as `MainInterrupts` has it
        """False: only the parent gets the user's interrupts."""
        return False


class MainInterrupts:
    """Interrupts in the main process: an interrupt comes from the user if the guard of the run got a signal.

    The run enters `guard` before its first row. A script's call of `_thread.interrupt_main` is redirected to the
    thread that runs the script, without a signal.
    """

    is_shared = True

    def __init__(self) -> None:
        self.guard = InterruptGuard()
        self._thread = 0
        self._interrupt_main: Any = None
        self._is_pending = False

    def is_from_user(self, error: BaseException) -> bool:
        """Whether a signal arrived. While Polars computes, it handles the signal and raises from its own code."""
        return isinstance(error, KeyboardInterrupt) and (self.guard.has_signal or _is_raised_by_polars(error))

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self._interrupt_main = _thread.interrupt_main
        _thread.interrupt_main = self._interrupt_row

    def __exit__(self, *_: object) -> None:
        _thread.interrupt_main = self._interrupt_main
        if self._is_pending:
            self._is_pending = False
            _raise_in(self._thread, None)  # the row ended before the interrupt was raised

    def _interrupt_row(self, signum: int = signal.SIGINT, /) -> None:
        if signum != signal.SIGINT:
            self._interrupt_main(signum)
            return
        self._is_pending = True
        _raise_in(self._thread, KeyboardInterrupt)


RowInterrupts: TypeAlias = WorkerInterrupts | MainInterrupts


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception in a thread at its next bytecode; None withdraws a pending exception."""
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
