"""The process state guard: undoes after each row what a script changed in the process.

It restores: the working directory, environment, umask, signal handlers, mask and timers, `sys.path`, `sys.argv`,
hooks and the recursion limit, the standard streams, logging, warnings, the locale, resource limits, and the start
method of multiprocessing. It closes figures of matplotlib that the row left open.
It imports no module for that: the state of a module that is not loaded cannot have changed.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH109

import gc
import logging
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from sinagot_catalog.scripts import USER_SCRIPTS

_SIGNALS = tuple(
    int(number)
    for number in (
        *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGVTALRM),
        *(signal.SIGPROF, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2),
    )
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_NO_TIMER = (0.0, 0.0)
_raw_handler: Callable[[int], Any] = import_module("_signal").getsignal
"""`signal.getsignal` converts its result to an Enum, which costs ten times as much."""
_raw_mask: Callable[..., set[int]] = import_module("_signal").pthread_sigmask
_STREAMS = ("stdin", "stdout", "stderr")


class ProcessStateGuard:
    """Restores the process to its state before the script; `close` it after the last row."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._folder = os.getcwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._environ = os.environ
        self._descriptors = _Descriptors()
        self._logging = _Logging()
        self._warnings = warnings.catch_warnings()
        self._before: dict[bytes, bytes] = {}
        self._path: list[str] = []
        self._argv: list[str] = []
        self._streams: tuple[Any, ...] = ()
        self._signals = _Signals()
        self._is_main = False
        self._limit = 0
        self._hooks: tuple[Any, ...] = ()
        self._locale: str | None = None
        self._figures: list[int] = []
        self._method: str | None = None
        self._limits = _limits()
        self._undoing = (
            self._undo_signals,
            self._undo_folder,
            self._undo_environment,
            self._undo_sys,
            self._undo_hooks,
            self._undo_figures,
            self._logging.undo,
            self._undo_warnings,
            self._undo_locale,
            self._undo_start_method,
            self._undo_limits,
        )

    def __enter__(self) -> None:
        if self._descriptors.were_changed:
            # A thread that took the number of a closed stream may have closed it again after it was restored.
            self._descriptors.undo()
        self._before = _environment().copy()
        self._path, self._argv = sys.path.copy(), sys.argv.copy()
        self._limit = sys.getrecursionlimit()
        self._hooks = _hooks()
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._is_main = threading.get_ident() == threading.main_thread().ident
        if self._is_main:
            self._signals.note()
        self._logging.note()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        self._locale = _locale()
        self._figures = _figures()
        self._method = _start_method()
        if self._method is not None:
            # The program around the run may have set it; a script may set it as in a new process.
            sys.modules["multiprocessing"].set_start_method(None, force=True)

    def __exit__(self, kind: object, *_: object) -> None:
        if os.getpid() != self._process:
            # A child that the script forked returned from run(): it must not continue as a second worker.
            os._exit(0 if kind is None else 1)
        for undo in self._undoing:
            try:
                undo()
            except Exception:  # noqa: BLE001, S112 - one failure must not keep the rest from being restored
                continue

    def close(self) -> None:
        """Close the copies of the standard streams."""
        self._descriptors.close()

    def _undo_signals(self) -> None:
        if self._is_main:
            self._signals.undo()

    def _undo_folder(self) -> None:
        os.umask(self._umask)
        if not _is_folder(self._folder):
            with suppress(OSError):
                os.chdir(self._folder)

    def _undo_environment(self) -> None:
        if os.environ is not self._environ:
            os.environ = self._environ  # noqa: B003 - the original object, not a new environment
        if _environment() != self._before:
            wanted = {os.fsdecode(name): os.fsdecode(value) for name, value in self._before.items()}
            for name in set(os.environ) - set(wanted):
                del os.environ[name]
            os.environ.update(wanted)

    def _undo_sys(self) -> None:
        self._descriptors.undo()
        for name, stream in zip(_STREAMS, self._streams, strict=True):
            if getattr(sys, name, None) is not stream:
                setattr(sys, name, stream)
            if stream is not None and _is_closed(stream):
                self._descriptors.reopen(name, stream)
        if sys.path != self._path:
            sys.path[:] = self._path
        if sys.argv != self._argv:
            sys.argv[:] = self._argv
        if sys.getrecursionlimit() != self._limit:
            sys.setrecursionlimit(self._limit)

    def _undo_hooks(self) -> None:
        if _hooks() != self._hooks:
            sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, *more = self._hooks
            sys.settrace(more[0])
            sys.setprofile(more[1])
            gc.enable() if more[2] else gc.disable()

    def _undo_warnings(self) -> None:
        self._warnings.__exit__(None, None, None)

    def _undo_locale(self) -> None:
        if self._locale is not None and _locale() != self._locale:
            import locale

            locale.setlocale(locale.LC_ALL, self._locale)

    def _undo_start_method(self) -> None:
        """Reset the start method: multiprocessing allows a script to set it only once in a process."""
        if _start_method() != self._method:
            sys.modules["multiprocessing"].set_start_method(self._method, force=True)

    def _undo_limits(self) -> None:
        for limit, before in self._limits.items():
            soft, hard = resource.getrlimit(limit)
            if soft != before:
                resource.setrlimit(limit, (before, hard))

    def _undo_figures(self) -> None:
        """Close figures that the row left open: the next row would draw into them."""
        left = [number for number in _figures() if number not in self._figures]
        for number in left:
            with suppress(Exception):
                sys.modules["matplotlib.pyplot"].close(number)


class _Signals:
    """Handlers, mask and timers of the main thread."""

    def __init__(self) -> None:
        self._mask = _raw_mask(signal.SIG_BLOCK, ())
        self._handlers: list[Any] = []

    def note(self) -> None:
        """Record the present handlers."""
        self._handlers = list(map(_raw_handler, _SIGNALS))

    def undo(self) -> None:
        """Restore the handlers and the mask, and stop timers."""
        if signal.getitimer(signal.ITIMER_REAL) != _NO_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if _raw_mask(signal.SIG_BLOCK, ()) != self._mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        handlers = list(map(_raw_handler, _SIGNALS))
        if handlers == self._handlers:
            return
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, before, now in zip(_SIGNALS, self._handlers, handlers, strict=True):
            if now != before and before is not None:  # None: the handler was not installed from Python
                signal.signal(number, before)


class _Descriptors:
    """Standard input, output and error as they were when the process started."""

    def __init__(self) -> None:
        import fcntl

        self.were_changed = False
        self._kept: dict[int, tuple[int, tuple[int, int]]] = {}
        for fd in (0, 1, 2):
            with suppress(OSError):
                found = os.fstat(fd)
                copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
                self._kept[fd] = copy, (found.st_dev, found.st_ino)

    def undo(self) -> None:
        for fd, (copy, wanted) in self._kept.items():
            try:
                found = os.fstat(fd)
                is_same = (found.st_dev, found.st_ino) == wanted
            except OSError:
                is_same = False
            if not is_same:
                self.were_changed = True
                with suppress(OSError):
                    os.dup2(copy, fd)

    def reopen(self, name: str, stream: Any) -> None:
        """Replace a standard stream that a script closed, if it was the process' original one."""
        fd = _STREAMS.index(name)
        if stream is not getattr(sys, f"__{name}__") or fd not in self._kept:
            return
        anew = open(  # noqa: SIM115 - it stays open
            fd, "w" if fd else "r", encoding=stream.encoding, errors=stream.errors, closefd=False
        )
        anew.reconfigure(line_buffering=stream.line_buffering, write_through=stream.write_through)
        setattr(sys, name, anew)
        setattr(sys, f"__{name}__", anew)

    def close(self) -> None:
        for copy, _ in self._kept.values():
            with suppress(OSError):
                os.close(copy)
        self._kept.clear()


def _is_closed(stream: Any) -> bool:
    """Whether a stream cannot be printed to; `closed` of a detached stream raises ValueError."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:
        return True


_State = tuple[int, bool, bool, tuple[Any, ...], tuple[Any, ...]]


class _Logging:
    """Level, handlers and filters of all loggers of the process."""

    def __init__(self) -> None:
        self._before: dict[logging.Logger, _State] = {}
        self._disabled = 0
        self._captures = False

    def note(self) -> None:
        """Record their present state."""
        self._disabled = logging.root.manager.disable
        self._captures = _captures_warnings()
        self._before = {logger: _state(logger) for logger in _loggers()}

    def undo(self) -> None:
        """Restore them; a logger that a library created on import keeps its state."""
        if logging.root.manager.disable != self._disabled:
            logging.disable(self._disabled)
        if _captures_warnings() != self._captures:
            logging.captureWarnings(self._captures)
        for logger in _loggers():
            before = self._before.get(logger)
            if before is None:
                if _is_of_library(logger.name):
                    continue
                before = (logging.NOTSET, False, True, (), ())
            if _state(logger) != before:
                level, logger.disabled, logger.propagate, handlers, filters = before
                logger.handlers[:], logger.filters[:] = handlers, filters
                logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(one for one in named if isinstance(one, logging.Logger))]


def _state(logger: logging.Logger) -> _State:
    return logger.level, logger.disabled, logger.propagate, tuple(logger.handlers), tuple(logger.filters)


def _is_of_library(name: str) -> bool:
    """Whether a logger is named after a module of a library, or below one."""
    top = name.partition(".")[0]
    return top in sys.modules and top != "__main__" and not name.startswith(USER_SCRIPTS)


def _captures_warnings() -> bool:
    return getattr(logging, "_warnings_showwarning", None) is not None


def _hooks() -> tuple[Any, ...]:
    hooks = getattr(sys, "excepthook", None), getattr(sys, "displayhook", None), sys.unraisablehook
    return *hooks, threading.excepthook, sys.gettrace(), sys.getprofile(), gc.isenabled()


def _is_folder(folder: str) -> bool:
    try:
        return os.getcwd() == folder
    except OSError:
        return False


def _environment() -> dict[bytes, bytes]:
    """The dict inside `os.environ`: copying and comparing `os.environ` itself would decode every value, per row."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001


def _locale() -> str | None:
    """The locale; None if the process has not loaded the module that sets it."""
    module = sys.modules.get("locale")
    if module is None:
        return None
    with suppress(Exception):
        return str(module.setlocale(module.LC_ALL))
    return None


def _limits() -> dict[int, int]:
    """The resource limits that a script may lower: open files, file size, memory."""
    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS)
    return {kind: resource.getrlimit(kind)[0] for kind in kinds}


def _start_method() -> str | None:
    """The start method of multiprocessing; None if no script set it."""
    module = sys.modules.get("multiprocessing")
    return None if module is None else module.get_start_method(allow_none=True)


def _figures() -> list[int]:
    """The open figures of matplotlib; empty if it is not loaded."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    with suppress(Exception):
        return list(pyplot.get_fignums())
    return []
