"""The process state guard: undoes after each row what a script changed in the process.

It restores: the working directory, environment, umask, signal handlers, mask and timers, `sys.path`, `sys.argv`,
hooks and the recursion limit, the standard streams, logging, warnings, the locale, resource limits, and the start
method of multiprocessing. It closes figures of matplotlib that the row left open.
It imports no module for that: the state of a module that is not loaded cannot have changed.

Nearly every row changes nothing: the guard reads the state once after each row, and restores it if it differs.
"""

# A `Path` costs a few microseconds, and every row pays them.
# ruff: noqa: PTH109

import gc
import logging
import os
import resource
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

from sinagot_catalog.scripts import USER_SCRIPTS
from sinagot_catalog.worker.process.signal_state import SignalState

_raw_locale: Callable[[int], str] = import_module("_locale").setlocale
_ALL: int = import_module("_locale").LC_ALL
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS)
"""The resource limits that a script may lower: open files, file size, memory."""
_STREAMS = ("stdin", "stdout", "stderr")


class ProcessStateGuard:
    """Restores the process to its state before the script; `close` it after the last row.

    Args:
        is_shared: Whether other code than scripts runs in this process between two rows, and may change its state.
    """

    def __init__(self, *, is_shared: bool = True) -> None:
        self._is_shared = is_shared
        self._process = os.getpid()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._folder = os.getcwd()
        self._environ = os.environ
        self._descriptors = _Descriptors()
        self._limits = [resource.getrlimit(kind) for kind in _LIMITS]
        self._at_start: tuple[Any, ...] = ()
        with suppress(ValueError):  # a stream that is detached: each row restores all
            self._at_start = self._fixed()
        self._warnings = warnings.catch_warnings()
        self._signals = SignalState()
        self._is_main = False
        self._figures: list[int] = []
        self._method: str | None = None
        self._noted = _look()
        self._is_noted = False
        self._undoing = (
            self._undo_signals,
            self._undo_folder,
            self._undo_environment,
            self._undo_sys,
            self._undo_hooks,
            self._undo_figures,
            self._undo_logging,
            self._undo_warnings,
            self._undo_locale,
            self._undo_start_method,
            self._undo_limits,
        )

    def forget(self) -> None:
        """Note the state anew before the next script: an import may have changed it."""
        self._is_noted = False

    def __enter__(self) -> None:
        if self._descriptors.were_changed:
            # A thread that took the number of a closed stream may have closed it again after it was restored.
            self._descriptors.undo()
        if self._is_shared or not self._is_noted:
            self._note()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()

    def _note(self) -> None:
        self._is_main = threading.get_ident() == threading.main_thread().ident
        if self._is_main:
            self._signals.note()
        self._noted, self._is_noted = _look(), True
        self._figures = _figures()
        self._method = _start_method()
        if self._method is not None:
            # The program around the run may have set it; a script may set it as in a new process.
            sys.modules["multiprocessing"].set_start_method(None, force=True)

    def __exit__(self, kind: object, *_: object) -> None:
        if os.getpid() != self._process:
            # A child that the script forked returned from run(): it must not continue as a second worker.
            os._exit(0 if kind is None else 1)
        try:
            if not self._is_changed():
                self._undo_warnings()
                return
        except Exception:  # noqa: BLE001, S110 - a script may replace or remove anything
            pass
        for undo in self._undoing:
            try:
                undo()
            except Exception:  # noqa: BLE001, S112 - one failure must not keep the rest from being restored
                continue
        self.forget()

    def _is_changed(self) -> bool:
        return (
            self._fixed() != self._at_start
            or not self._noted.is_present()
            or (self._is_main and self._signals.are_changed())
            or _start_method() != self._method
            or _figures() != self._figures
        )

    def _fixed(self) -> tuple[Any, ...]:
        """The state that stays as it was when the process started; sets the umask back."""
        return (
            os.umask(self._umask),
            os.getcwd(),
            os.environ is self._environ,
            self._descriptors.now(),
            getattr(sys.stdin, "closed", False),
            getattr(sys.stdout, "closed", False),
            getattr(sys.stderr, "closed", False),
            [resource.getrlimit(kind) for kind in _LIMITS],
        )

    def close(self) -> None:
        """Close the copies of the standard streams."""
        self._descriptors.close()

    def _undo_signals(self) -> None:
        if self._is_main:
            self._signals.undo()

    def _undo_folder(self) -> None:
        os.umask(self._umask)
        os.chdir(self._folder)

    def _undo_environment(self) -> None:
        os.environ = self._environ  # noqa: B003 - the original object, not a new environment
        wanted = {os.fsdecode(name): os.fsdecode(value) for name, value in self._noted.environment.items()}
        for name in set(os.environ) - set(wanted):
            del os.environ[name]
        os.environ.update(wanted)

    def _undo_sys(self) -> None:
        self._descriptors.undo()
        before = self._noted
        for name, stream in zip(_STREAMS, before.streams, strict=True):
            setattr(sys, name, stream)
            if stream is not None and _is_closed(stream):
                self._descriptors.reopen(name, stream)
        sys.path[:], sys.argv[:] = before.path, before.argv
        sys.setrecursionlimit(before.recursion_limit)

    def _undo_hooks(self) -> None:
        if _hooks() != self._noted.hooks:
            sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, *more = (
                self._noted.hooks
            )
            sys.settrace(more[0])
            sys.setprofile(more[1])
            gc.enable() if more[2] else gc.disable()

    def _undo_logging(self) -> None:
        _undo_logging(self._noted)

    def _undo_warnings(self) -> None:
        self._warnings.__exit__(None, None, None)

    def _undo_locale(self) -> None:
        if self._noted.locale is not None:
            import locale

            locale.setlocale(locale.LC_ALL, self._noted.locale)

    def _undo_start_method(self) -> None:
        """Reset the start method: multiprocessing allows a script to set it only once in a process."""
        if _start_method() != self._method:
            sys.modules["multiprocessing"].set_start_method(self._method, force=True)

    def _undo_limits(self) -> None:
        for kind, (soft, _) in zip(_LIMITS, self._limits, strict=True):
            resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))

    def _undo_figures(self) -> None:
        """Close figures that the row left open: the next row would draw into them."""
        left = [number for number in _figures() if number not in self._figures]
        for number in left:
            with suppress(Exception):
                sys.modules["matplotlib.pyplot"].close(number)


class _Descriptors:
    """Standard input, output and error as they were when the process started."""

    def __init__(self) -> None:
        import fcntl

        self.were_changed = False
        self._kept: dict[int, tuple[int, _File]] = {}
        for fd in (0, 1, 2):
            with suppress(OSError):
                self._kept[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3), _file_of(fd)

    def now(self) -> list["_File"]:
        """The files that they are now."""
        return [os.fstat(fd)[1:3] for fd in self._kept]

    def undo(self) -> None:
        for fd, (copy, wanted) in self._kept.items():
            with suppress(OSError):
                if _file_of(fd) == wanted:
                    continue
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


_File = tuple[int, int]


def _file_of(fd: int) -> _File:
    """The inode and the device of an open file."""
    return os.fstat(fd)[1:3]


_Logger = tuple[logging.Logger, int, bool, bool, list[Any], list[Any]]
"""A logger with its level, whether it is disabled and propagates, its handlers and its filters."""


class _Noted(NamedTuple):
    """The state that imports and the program around a run may change, too."""

    environment: dict[bytes, bytes]
    path: list[str]
    argv: list[str]
    streams: tuple[Any, ...]
    recursion_limit: int
    hooks: tuple[Any, ...]
    locale: str | None
    disabled: int
    captures: bool
    names: dict[str, Any]
    loggers: list[_Logger]

    def is_present(self) -> bool:
        """Whether this is still the state; compares it in place, as copies of it would cost every row more."""
        return bool(
            os.environ._data == self.environment  # type: ignore[attr-defined]  # noqa: SLF001
            and sys.path == self.path
            and sys.argv == self.argv
            and (sys.stdin, sys.stdout, sys.stderr) == self.streams
            and sys.getrecursionlimit() == self.recursion_limit
            and _hooks() == self.hooks
            and _locale() == self.locale
            and logging.root.manager.disable == self.disabled
            and _captures() == self.captures
            and logging.root.manager.loggerDict == self.names
            and all(
                logger.level == level
                and logger.disabled == disabled
                and logger.propagate == propagate
                and logger.handlers == handlers
                and logger.filters == filters
                for logger, level, disabled, propagate, handlers, filters in self.loggers
            )
        )


def _look() -> _Noted:
    """The present state.

    It has the dict inside `os.environ`: copying and comparing `os.environ` itself would decode every value.
    """
    return _Noted(
        os.environ._data.copy(),  # type: ignore[attr-defined]  # noqa: SLF001
        sys.path.copy(),
        sys.argv.copy(),
        (sys.stdin, sys.stdout, sys.stderr),
        sys.getrecursionlimit(),
        _hooks(),
        _locale(),
        logging.root.manager.disable,
        _captures(),
        logging.root.manager.loggerDict.copy(),
        [
            (logger, logger.level, logger.disabled, logger.propagate, [*logger.handlers], [*logger.filters])
            for logger in (logging.root, *logging.root.manager.loggerDict.values())
            if isinstance(logger, logging.Logger)
        ],
    )


def _undo_logging(noted: _Noted) -> None:
    """Restore all loggers; a logger that a library created on import keeps its state."""
    now = _look()
    logging.disable(noted.disabled)
    if now.captures != noted.captures:
        logging.captureWarnings(noted.captures)
    before = {logger[0]: logger for logger in noted.loggers}
    for state in now.loggers:
        logger = state[0]
        if logger not in before and _is_of_library(logger.name):
            continue
        old = before.get(logger, (logger, logging.NOTSET, False, True, [], []))
        if state != old:
            _, level, logger.disabled, logger.propagate, handlers, filters = old
            logger.handlers[:], logger.filters[:] = handlers, filters
            logger.setLevel(level)


def _is_of_library(name: str) -> bool:
    """Whether a logger is named after a module of a library, or below one."""
    top = name.partition(".")[0]
    return top in sys.modules and top != "__main__" and not name.startswith(USER_SCRIPTS)


def _hooks() -> tuple[Any, ...]:
    hooks = getattr(sys, "excepthook", None), getattr(sys, "displayhook", None), sys.unraisablehook
    return *hooks, threading.excepthook, sys.gettrace(), sys.getprofile(), gc.isenabled()


def _captures() -> bool:
    """Whether warnings go to a logger."""
    return getattr(logging, "_warnings_showwarning", None) is not None


def _locale() -> str | None:
    """The locale; None if the process has not loaded the module that sets it."""
    if "locale" not in sys.modules:
        return None
    try:
        return _raw_locale(_ALL)
    except Exception:  # noqa: BLE001 - a script may break it
        return None


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
