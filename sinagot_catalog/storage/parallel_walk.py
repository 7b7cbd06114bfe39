"""Helping hands for a long look at a local tree: further processes that list and stat.

Python lists and stats with one core. Where a look takes longer than it takes to start a process, processes take
over what would come last, one for each further core; and several for each core where most of the time goes into
waiting, as on a file system that lies elsewhere or a disk that nobody has read yet. Threads would not do: a listing
hands the interpreter from one to the next at every name.

A process is told what to do, then does it with each work that it is sent. Standard library only, for it has to be
there in no time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from sinagot_catalog.storage.pipe_messages import read_message, write_message
from sinagot_catalog.storage.protocol import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Future", "HelperPool"]

_MOST, _WAITING = 16, 4
"""How many look at a time at most; and how many on each core, where most of the time goes into waiting."""
_TICK = 0.2
_TELLS_WAITS = hasattr(resource, "RUSAGE_THREAD")
_BEGIN = (
    "import sys; sys.path.append(sys.argv[1]); from sinagot_catalog.storage.parallel_walk import main; main()"
)


class Future:
    """Some work that was given to a hand.

    Args:
        work: What the hand's function is called with.
    """

    def __init__(self, work: Any) -> None:
        self.work = work
        self._ended = threading.Event()
        self._result: Any = None

    def end(self, result: Any = None) -> None:
        """Say what came of it; None where it was not done."""
        self._result = result
        self._ended.set()

    def result(self) -> Any:
        """Wait for what came of it; None where it has to be done by oneself."""
        while not self._ended.wait(_TICK):
            pass  # in turns, so that an interrupt gets through
        return self._result


class HelperPool:
    """Who takes over work of a long look. Nobody is asked before the look is a long one.

    Args:
        function: What is done with each work; can be pickled.
        patience: After how many seconds a look is a long one.
        number: How many to begin; None: as many as get on with it.
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
        """How many were begun."""

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
        """Whether one of them waits for work.

        Args:
            done: How many things were looked at so far.
        """
        if self.number == 0 and time.monotonic() - self._begun > self._patience:
            self._begin(done)
        return bool(self._free)

    def give(self, work: Any) -> Future:
        """Give work to one that is free."""
        self._free.pop()
        given = Future(work)
        self._work.put(given)
        return given

    def _begin(self, done: int) -> None:
        """Begin as many as get on with it; none of them is waited for."""
        if self._wanted is None:
            is_waiting = _waits() - self._waited > done / 4
            self._wanted = min(_WAITING * _cores() if is_waiting else _cores(), _MOST) - 1
        with suppress(RuntimeError):  # there may be no more threads, as there may be no more processes
            for _ in range(self._wanted):
                thread = threading.Thread(target=self._serve, daemon=True)
                thread.start()
                self._threads.append(thread)
        self.number = len(self._threads)
        if self.number == 0:
            self._patience = float("inf")  # nobody is asked again

    def _serve(self) -> None:
        with self._lock:
            if self._is_over:
                return
            try:
                process = _started()
            except (OSError, RuntimeError):
                return
            self._processes.append(process)
        with process:
            try:
                self._serve_by(process)
            finally:
                process.kill()

    def _serve_by(self, process: subprocess.Popen[bytes]) -> None:
        try:
            if not _call(process, (sys.getfilesystemencoding(), self._function)):
                return
        except BaseException:  # noqa: BLE001 - whatever a process that is gone, or none of ours, is known by
            return
        for given in self._given():
            try:
                given.end(_call(process, given.work))
            except BaseException:  # noqa: BLE001 - the same; or its answer is too large for us
                given.end()
                return

    def _given(self) -> Iterator[Future]:
        while True:
            self._free.append(None)
            given = self._work.get()
            if given is None:
                return
            yield given


def _started() -> subprocess.Popen[bytes]:
    """A process of our own, in a session of its own: what interrupts us ends it by the end of its pipe."""
    how = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}"]
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, *how, "-c", _BEGIN, str(Path(__file__).parents[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )


def _call(process: subprocess.Popen[bytes], message: object) -> Any:
    """Say something to a process and wait for its answer."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
    write_message(process.stdin.fileno(), message)
    return read_message(process.stdout.fileno())


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _waits() -> int:
    """How often this thread waited for something other than a core."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw if _TELLS_WAITS else 0


def main() -> None:
    """Serve the process that began this one, until it is gone."""
    into, out = os.dup(0), os.dup(1)
    try:
        encoding, function = read_message(into)
        is_alike = encoding == sys.getfilesystemencoding()  # or names would be read as others
        write_message(out, is_alike)
        while is_alike:
            work = read_message(into)
            result = None
            with suppress(Exception):  # whoever gave it meets it, too
                result = function(work)
            write_message(out, result)
    except (OSError, EOFError):
        os._exit(0)
