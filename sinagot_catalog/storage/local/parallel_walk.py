"""Helper processes: list and stat parts of a local tree in parallel when a listing takes long.

Python lists and stats with one core. If a listing takes longer than the start of a process, helper processes take
over the last parts of the work. There is one for each further core, or several for each core if most of the time is
spent waiting, as on a network file system or a disk that is not cached yet. Threads would not help: a listing
releases the interpreter lock at every name.

A helper first receives a function, then calls it with each piece of work that it receives. Standard library only,
so that a helper starts quickly.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from sinagot_catalog.storage.pipe_messages import read_message, write_message
from sinagot_catalog.storage.protocol import PATIENCE

_MOST, _WAITING = 16, 4
"""The most processes at a time; and how many per core if most of the time is spent waiting."""
_TICK = 0.2
_TELLS_WAITS = hasattr(resource, "RUSAGE_THREAD")
_SERVE = "from sinagot_catalog.storage.pipe_messages import serve; serve()"
_BEGIN = f"import sys; sys.path.append(sys.argv[1]); {_SERVE}"


class Future:
    """A piece of work that was given to a helper.

    Args:
        work: The argument of the helper's function.
    """

    def __init__(self, work: Any) -> None:
        self.work = work
        self._ended = threading.Event()
        self._result: Any = None

    def end(self, result: Any = None) -> None:
        """Set the result; None if the work was not done."""
        self._result = result
        self._ended.set()

    def result(self) -> Any:
        """Wait for the result; None if the caller has to do the work itself."""
        while not self._ended.wait(_TICK):
            pass  # short waits, so that an interrupt gets through
        return self._result


class HelperPool:
    """Helpers that take over work of a long listing. They start only when the listing takes long.

    Args:
        function: The function that is called with each piece of work; it can be pickled.
        patience: After how many seconds a listing counts as long.
        number: How many helpers to start; None: as many as are useful.
    """

    def __init__(
        self, function: Callable[[Any], Any], *, patience: float = PATIENCE, number: int | None = None
    ) -> None:
        self._function = function
        self._patience = patience
        self._wanted = number
        self._free: deque[None] = deque()
        self._work: SimpleQueue[Future | None] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_over = False
        self.number = 0
        """How many helpers were started."""

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._waited = _waits()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
        for _thread in self._threads:
            self._work.put(None)
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()

    def are_free(self, done: int) -> bool:
        """Whether a helper is free.

        Args:
            done: How many entries were processed so far.
        """
        if self.number == 0 and time.monotonic() - self._begun > self._patience:
            self._begin(done)
        return bool(self._free)

    def give(self, work: Any) -> Future:
        """Give work to a free helper."""
        self._free.pop()
        given = Future(work)
        self._work.put(given)
        return given

    def _begin(self, done: int) -> None:
        """Start as many helpers as are useful, without waiting for them."""
        if self._wanted is None:
            is_waiting = _waits() - self._waited > done / 4
            self._wanted = min(_WAITING * _cores() if is_waiting else _cores(), _MOST) - 1
        with suppress(RuntimeError):  # the system may allow no more threads or processes
            for _ in range(self._wanted):
                thread = threading.Thread(target=self._serve, daemon=True)
                thread.start()
                self._threads.append(thread)
        self.number = len(self._threads)
        if self.number == 0:
            self._patience = float("inf")  # do not try again

    def _serve(self) -> None:
        """Start a helper, and hand it one piece of work after the other."""
        with self._lock:
            if self._is_over:
                return
            try:
                process = _started()
            except (OSError, RuntimeError):
                return
            self._processes.append(process)
        given = None
        with process:
            try:
                is_ready = _call(process, (sys.getfilesystemencoding(), self._function))
                while is_ready:
                    self._free.append(None)
                    given = self._work.get()
                    if given is None:
                        break
                    given.end(_call(process, given.work))
            except BaseException:  # noqa: BLE001 - any sign that it died, speaks another protocol, or answers too much
                if given is not None:
                    given.end()
            finally:
                process.kill()


def _started() -> subprocess.Popen[bytes]:
    """Start a helper in a separate session: a signal to this process does not reach it; it ends with its pipe."""
    how = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}"]
    return subprocess.Popen(  # noqa: S603 - it runs this module
        [sys.executable, *how, "-c", _BEGIN, str(Path(__file__).parents[3])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )


def _call(process: subprocess.Popen[bytes], message: object) -> Any:
    """Send a message to a process and wait for its answer."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
    write_message(process.stdin.fileno(), message)
    return read_message(process.stdout.fileno())


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _waits() -> int:
    """How often this thread waited for something other than a core."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw if _TELLS_WAITS else 0
