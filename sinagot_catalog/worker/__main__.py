"""The worker process, which runs rows: `python -m sinagot_catalog.worker BOARD PARENT`.

`run.workers.worker_process` starts it. BOARD is the descriptor of the shared status, PARENT the id of the parent
process.

The protocol of the worker pipe: a frame is a length and a pickle. Frames arrive on the original standard input and
leave on the original standard output:

    parent -> worker   ("hello", spec, name, sys_path, pythonpath, options)   once
                       ("batch", [task, ...], provenance)            answered by "results" and one "idle"
                       ("recall",)                                   return the tasks that have not started
                       ("end",)                                      no more batches follow
    worker -> parent   ("ready",)
                       ("results", [result, ...])                    ten times a second during a batch
                       ("returned", [task, ...])                     the answer to "recall"
                       ("idle", [result, ...])                       the batch is complete

Between frames the parent reads the `SharedStatus`: a few shared bytes that name the running attempt and the time of
its start. So a row costs no message. Standard library only, and as few modules as possible, because every run pays
for the start of its workers.
"""

import contextlib
import faulthandler
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
from collections import deque
from itertools import islice
from queue import SimpleQueue
from typing import Any

from sinagot_catalog.journal import JournalWriter, Result, RunSpec, StorageOptions, Task
from sinagot_catalog.scripts import NO_MAIN, OutputFile
from sinagot_catalog.storage import read_message, write_message
from sinagot_catalog.worker.job import PREFETCHED_ROWS, JobRunner
from sinagot_catalog.worker.process.row_interrupts import WorkerInterrupts

_ENTRY = struct.Struct("=dqqq")
BOARD_SIZE = 64
CLOSED = 79
"""The exit code of a worker whose script closed the pipes to its parent."""
_LUMP_SECONDS = 0.1
_ORPHAN_CHECK = 1.0


class SharedStatus:
    """A few bytes shared by a worker and its parent: time, row, attempt and output mark of the running attempt.

    Args:
        fd: A file of `BOARD_SIZE` bytes. The mapping stays valid after the caller closes the descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, BOARD_SIZE)
        # Items of memory views: each store is atomic, and costs less than a call that packs all of them.
        self._times = memoryview(self._map).cast("d")
        self._numbers = memoryview(self._map).cast("q")

    def show(self, row: int, attempt: int, mark: int) -> None:
        """Publish that an attempt starts now; row -1 means that no row runs."""
        # The row comes last: a reader in between sees a new time with the previous row, which is harmless.
        self._times[0] = time.monotonic()
        numbers = self._numbers
        numbers[2] = attempt
        numbers[3] = mark
        numbers[1] = row

    def read(self) -> tuple[float, int, int, int]:
        """The start time, the row, the attempt, and the offset at which its output begins."""
        entry: tuple[float, int, int, int] = _ENTRY.unpack_from(self._map)
        while (again := _ENTRY.unpack_from(self._map)) != entry:
            entry = again  # a write came in between: the first read may mix an old time and a new row
        return entry

    def close(self) -> None:
        """Unmap the shared bytes."""
        self._times.release()
        self._numbers.release()
        self._map.close()


class _Worker:
    """The three threads of a worker: the main thread runs rows, a second one reads frames and sends results.

    A third one syncs the journal to the disk after each batch, because a sync takes longer than many rows.
    """

    def __init__(self, frames_in: int, frames_out: int, board: SharedStatus, parent: int) -> None:
        self._in = frames_in
        self._out = frames_out
        self._board = board
        self._parent = parent
        self._pending: deque[Task] = deque()
        self._provenance: dict[int, str] = {}
        self._begun: SimpleQueue[bool] = SimpleQueue()
        self._done: deque[Result] = deque()
        self._sending = threading.Lock()
        self._sync_due = threading.Event()
        self._own = select.poll()
        for fd in (frames_in, frames_out):
            self._own.register(fd, 0)

    def serve(self, spec: RunSpec, name: str, options: StorageOptions) -> None:
        if spec.memory_limit is not None:
            _limit_memory(spec.memory_limit)
        jobs = JobRunner(
            spec,
            name,
            announce=self._board.show,
            output=OutputFile(2),
            options=options,
            after_run=self._check_self,
            provenance=self._provenance,
            interrupts=WorkerInterrupts(),
        )
        self._board.show(-1, 0, 0)
        threading.Thread(target=self._listen, name="frames", daemon=True).start()
        threading.Thread(target=self._sync, args=(jobs.journal,), name="sync", daemon=True).start()
        self._send("ready")
        while self._begun.get():
            self._batch(jobs)
        jobs.close()

    def _batch(self, jobs: JobRunner) -> None:
        try:
            while True:
                task = self._pending.popleft()
                self._done.extend(jobs.run(task, self._coming() if jobs.prefetches else ()))
        except IndexError:
            pass
        self._board.show(-1, 0, 0)
        with self._sending:
            write_message(self._out, ("idle", self._drain()))
        self._sync_due.set()

    def _coming(self) -> list[Task]:
        """The next tasks. Meanwhile the frames thread may return some of them to the parent."""
        return list(islice(self._pending, PREFETCHED_ROWS))

    def _sync(self, journal: JournalWriter) -> None:
        """Sync the journal to the disk whenever a batch is complete."""
        while self._sync_due.wait():
            self._sync_due.clear()
            with contextlib.suppress(OSError):
                journal.sync()

    def _drain(self) -> list[tuple[Any, ...]]:
        """The results that are not sent yet, as plain tuples, which pickle eight times as fast."""
        return [tuple(self._done.popleft()) for _ in range(len(self._done))]

    def _listen(self) -> None:
        """Read frames until the end. An error: the parent is gone, or a script closed the pipes."""
        try:
            poll = select.poll()
            poll.register(self._in, select.POLLIN)
            while True:
                if poll.poll(1000 * (_LUMP_SECONDS if self._pending or self._done else _ORPHAN_CHECK)):
                    if not self._take(read_message(self._in)):
                        return
                else:
                    self._end_if_orphaned()
                if self._done:
                    with self._sending:
                        write_message(self._out, ("results", self._drain()))
        except BaseException:  # noqa: BLE001 EOF, a broken pipe, a closed descriptor
            self._check_self()
            end_group()

    def _check_self(self) -> None:
        """End the process if the parent is gone, or if the script closed the pipes to it.

        The shared status still names the row then, so the parent can attribute the exit to it.
        """
        self._end_if_orphaned()
        for _, state in self._own.poll(0):
            if state & select.POLLNVAL:
                os._exit(CLOSED)

    def _end_if_orphaned(self) -> None:
        """End the process if the parent is gone: its rows are free, and another run may already process them."""
        if os.getppid() != self._parent:
            end_group()

    def _take(self, message: tuple[Any, ...]) -> bool:
        match message:
            case ("batch", tasks, provenance):
                self._provenance.update(provenance)
                self._pending.extend(tasks)
                self._begun.put(True)
            case ("recall",):
                returned: list[Task] = []
                with contextlib.suppress(IndexError):
                    while True:
                        returned.append(self._pending.pop())
                self._send("returned", returned[::-1])
            case ("end",):
                self._begun.put(False)
                return False
        return True

    def _send(self, *message: object) -> None:
        with self._sending:
            write_message(self._out, message)


def _limit_memory(limit: int) -> None:
    """Make allocations beyond a limit fail, in this process and in the processes that it starts."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def end_group() -> None:
    """End this process and all processes that its scripts left running."""
    with contextlib.suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def main(board_fd: int, parent: int) -> None:
    """Serve one parent until it sends "end" or is gone."""
    frames_in, frames_out = os.dup(0), os.dup(1)  # a script's children do not inherit the copies
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    board = SharedStatus(board_fd)
    os.close(board_fd)
    faulthandler.enable(2)
    try:
        _, spec, name, sys_path, pythonpath, options = read_message(frames_in)
    except (EOFError, ValueError):
        os._exit(0)
    sys.path[:] = sys_path
    if pythonpath is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = pythonpath
    sys.argv[:] = [""]
    # Processes that scripts start import `__main__` as a program; this module is not the user's program.
    sys.modules["sinagot_catalog.worker.__main__"] = sys.modules["__main__"]
    sys.modules["__main__"] = NO_MAIN
    _Worker(frames_in, frames_out, board, parent).serve(spec, name, options)
    # Not sys.exit: a thread that a script left behind would keep the process alive.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
