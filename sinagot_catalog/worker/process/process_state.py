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
from typing import Any, Protocol

from sinagot_catalog.scripts import USER_SCRIPTS
from sinagot_catalog.worker.process.signal_state import SignalState

_raw_locale: Callable[[int], str] = import_module("_locale").setlocale
_ALL: int = import_module("_locale").LC_ALL
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS)
"""The resource limits that a script may lower: open files, file size, memory."""
_STREAMS = ("stdin", "stdout", "stderr")


class _Part(Protocol):
    """A part of the process state."""

    def note(self) -> None:
        """Remember the present state."""

    def is_changed(self) -> bool:
        """Whether the state is another one; an exception counts as yes."""

    def undo(self) -> None:
        """Restore the state."""


class _Values:
    """Parts of the process state that are one value each. Each row reads them, so they are read together.

    Args:
        ways: For each value, what returns it and what restores one.
    """

    def __init__(self, *ways: tuple[Callable[[], Any], Callable[[Any], object]]) -> None:
        self._reads = [read for read, _ in ways]
        self._writes = [write for _, write in ways]
        self._before: list[Any] = []

    def note(self) -> None:
        self._before = [read() for read in self._reads]

    def is_changed(self) -> bool:
        return [read() for read in self._reads] != self._before

    def undo(self) -> None:
        for write, value in zip(self._writes, self._before, strict=True):
            with suppress(Exception):  # one failure must not keep the rest from being restored
                write(value)


class ProcessStateGuard:
    """Restores the process to its state before the script; `close` it after the last row.

    Args:
        is_shared: Whether other code than scripts runs in this process between two rows, and may change its state.
    """

    def __init__(self, *, is_shared: bool = True) -> None:
        self._is_shared = is_shared
        self._process = os.getpid()
        self._environ = os.environ
        umask = os.umask(0o022)
        os.umask(umask)
        self._streams = _Streams()
        at_start = _Values(
            (lambda: (os.umask(umask) == umask, os.getcwd()), lambda before: os.chdir(before[1])),
            (lambda: [resource.getrlimit(kind) for kind in _LIMITS], _set_limits),
        )
        at_start.note()
        self._warnings = warnings.catch_warnings()
        values = _Values(
            (self._environment, self._set_environment),
            (lambda: (sys.path.copy(), sys.argv.copy()), _set_path_and_argv),
            (sys.getrecursionlimit, sys.setrecursionlimit),
            (_hooks, _set_hooks),
            (_figures, _close_other_figures),
            (lambda: logging.root.manager.disable, logging.disable),
            (_captures, logging.captureWarnings),
            (_loggers, _set_loggers),
            (_locale, _set_locale),
            (_start_method, _set_start_method),
        )
        self._noted: tuple[_Part, ...] = (SignalState(), self._streams, values)
        self._parts = (at_start, *self._noted)
        self._is_noted = False

    def forget(self) -> None:
        """Note the state anew before the next script: an import may have changed it."""
        self._is_noted = False

    def __enter__(self) -> None:
        if self._streams.were_replaced:
            # A thread that took the number of a closed stream may have closed it again after it was restored.
            self._streams.restore_descriptors()
        if self._is_shared or not self._is_noted:
            self._note()
            if _start_method() is not None:
                # The program around the run may have set it; a script may set it as in a new process.
                _set_start_method(None)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()

    def _note(self) -> None:
        for part in self._noted:
            part.note()
        self._is_noted = True

    def __exit__(self, kind: object, *_: object) -> None:
        if os.getpid() != self._process:
            # A child that the script forked returned from run(): it must not continue as a second worker.
            os._exit(0 if kind is None else 1)
        try:
            is_changed = any(part.is_changed() for part in self._parts)
        except Exception:  # noqa: BLE001 - a script may replace or remove anything
            is_changed = True
        if is_changed:
            for part in self._parts:
                with suppress(Exception):
                    part.undo()
            self.forget()
        with suppress(Exception):  # after logging, which captures warnings, is restored
            self._warnings.__exit__(None, None, None)

    def close(self) -> None:
        """Close the copies of the standard streams."""
        self._streams.close()

    def _environment(self) -> tuple[bool, dict[bytes, bytes]]:
        """The dict inside `os.environ`: copying and comparing `os.environ` itself would decode every value."""
        return os.environ is self._environ, os.environ._data.copy()  # type: ignore[attr-defined]  # noqa: SLF001

    def _set_environment(self, before: tuple[bool, dict[bytes, bytes]]) -> None:
        os.environ = self._environ  # noqa: B003 - the original object, not a new environment
        wanted = {os.fsdecode(name): os.fsdecode(value) for name, value in before[1].items()}
        for name in set(os.environ) - set(wanted):
            del os.environ[name]
        os.environ.update(wanted)


class _Streams:
    """The standard streams, and the files behind their descriptors as they were when the process started.

    A file is known by its inode and device.

    Attributes:
        were_replaced: Whether a script ever replaced such a file.
    """

    def __init__(self) -> None:
        import fcntl

        self.were_replaced = False
        self._files: dict[int, int] = {}
        for fd in (0, 1, 2):
            with suppress(OSError):
                self._files[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        self._wanted = [os.fstat(fd)[1:3] for fd in self._files]
        self.note()

    def note(self) -> None:
        self._before = sys.stdin, sys.stdout, sys.stderr
        self._closed = list(map(_is_closed, self._before))

    def is_changed(self) -> bool:
        streams = sys.stdin, sys.stdout, sys.stderr
        return (
            streams != self._before
            or [getattr(stream, "closed", False) for stream in streams] != self._closed
            or [os.fstat(fd)[1:3] for fd in self._files] != self._wanted
        )

    def undo(self) -> None:
        self.restore_descriptors()
        for name, stream in zip(_STREAMS, self._before, strict=True):
            setattr(sys, name, stream)
            if _is_closed(stream):
                self._reopen(name, stream)

    def restore_descriptors(self) -> None:
        for (fd, copy), wanted in zip(self._files.items(), self._wanted, strict=True):
            with suppress(OSError):
                if os.fstat(fd)[1:3] == wanted:
                    continue
            self.were_replaced = True
            with suppress(OSError):
                os.dup2(copy, fd)

    def _reopen(self, name: str, stream: Any) -> None:
        """Replace a standard stream that a script closed, if it was the process' original one."""
        fd = _STREAMS.index(name)
        if stream is not getattr(sys, f"__{name}__") or fd not in self._files:
            return
        anew = open(  # noqa: SIM115 - it stays open
            fd, "w" if fd else "r", encoding=stream.encoding, errors=stream.errors, closefd=False
        )
        anew.reconfigure(line_buffering=stream.line_buffering, write_through=stream.write_through)
        setattr(sys, name, anew)
        setattr(sys, f"__{name}__", anew)

    def close(self) -> None:
        """Close the copies of the descriptors."""
        for copy in self._files.values():
            with suppress(OSError):
                os.close(copy)
        self._files.clear()
        self._wanted.clear()


def _is_closed(stream: Any) -> bool:
    """Whether a stream cannot be printed to; `closed` of a detached stream raises ValueError."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:
        return True


def _set_path_and_argv(before: tuple[list[str], list[str]]) -> None:
    sys.path[:], sys.argv[:] = before


def _set_limits(before: list[tuple[int, int]]) -> None:
    for kind, (soft, _) in zip(_LIMITS, before, strict=True):
        resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))


def _hooks() -> tuple[Any, ...]:
    hooks = getattr(sys, "excepthook", None), getattr(sys, "displayhook", None), sys.unraisablehook
    return *hooks, threading.excepthook, sys.gettrace(), sys.getprofile(), gc.isenabled()


def _set_hooks(before: tuple[Any, ...]) -> None:
    sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, trace, profile, collects = (
        before
    )
    if (sys.gettrace(), sys.getprofile()) != (trace, profile):  # a debugger warns of each call
        sys.settrace(trace)
        sys.setprofile(profile)
    gc.enable() if collects else gc.disable()


def _captures() -> bool:
    """Whether warnings go to a logger."""
    return getattr(logging, "_warnings_showwarning", None) is not None


def _loggers() -> dict[logging.Logger, tuple[Any, ...]]:
    """Each logger's level, whether it is disabled and propagates, its handlers and its filters."""
    return {
        logger: (logger.level, logger.disabled, logger.propagate, [*logger.handlers], [*logger.filters])
        for logger in (logging.root, *logging.root.manager.loggerDict.values())
        if isinstance(logger, logging.Logger)
    }


def _set_loggers(before: dict[logging.Logger, tuple[Any, ...]]) -> None:
    """Restore all loggers; a logger that a library created on import keeps its state."""
    for logger, state in _loggers().items():
        if logger not in before and _is_of_library(logger.name):
            continue
        wanted = before.get(logger, (logging.NOTSET, False, True, [], []))
        if state != wanted:
            level, logger.disabled, logger.propagate, logger.handlers[:], logger.filters[:] = wanted
            logger.setLevel(level)


def _is_of_library(name: str) -> bool:
    """Whether a logger is named after a module of a library, or below one."""
    top = name.partition(".")[0]
    return top in sys.modules and top != "__main__" and not name.startswith(USER_SCRIPTS)


def _locale() -> str | None:
    """The locale; None if the process has not loaded the module that sets it."""
    if "locale" not in sys.modules:
        return None
    try:
        return _raw_locale(_ALL)
    except Exception:  # noqa: BLE001 - a script may break it
        return None


def _set_locale(before: str | None) -> None:
    if before is not None:
        import locale

        locale.setlocale(locale.LC_ALL, before)


def _start_method() -> str | None:
    """The start method of multiprocessing; None if no script set it."""
    module = sys.modules.get("multiprocessing")
    return None if module is None else module.get_start_method(allow_none=True)


def _set_start_method(before: str | None) -> None:
    """Set the start method: multiprocessing allows a script to set it only once in a process."""
    if _start_method() != before:
        sys.modules["multiprocessing"].set_start_method(before, force=True)


def _figures() -> list[int]:
    """The open figures of matplotlib; empty if it is not loaded."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    with suppress(Exception):
        return list(pyplot.get_fignums())
    return []


def _close_other_figures(before: list[int]) -> None:
    """Close figures that the row left open: the next row would draw into them."""
    for number in set(_figures()) - set(before):
        with suppress(Exception):
            sys.modules["matplotlib.pyplot"].close(number)
