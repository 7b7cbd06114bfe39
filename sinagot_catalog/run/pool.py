"""The pool: runs rows in worker processes (`Pool`), or one after the other in this process (`MainProcess`).

A thread per worker slot takes batches of about a quarter of a second from a shared `BatchQueue` and runs them on
its worker (see `worker_slot`). It puts results into an inbox. The thread that called `execute` reads the inbox,
passes the results on and receives interrupts. When the queue is empty and a worker waits, a busy worker gives back
the tasks that it has not begun.
"""

import contextlib
import itertools
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol, Self, TypeAlias

from sinagot_catalog.journal import Group, Result, Row, RunSpec, StorageOptions, Task, tasks_of
from sinagot_catalog.run.worker_slot import PoolState, WorkerSlot, cancelled
from sinagot_catalog.scripts import MainOutput
from sinagot_catalog.worker import JobRunner, MainInterrupts, clear_staging, staging_path

__all__ = ["MainProcess", "Pool", "Runner", "open_runner"]

OnResults: TypeAlias = Callable[[list[Result]], None]
_Inbox: TypeAlias = "SimpleQueue[list[Result] | BaseException | None]"

_BATCH_SECONDS = 0.25
_FIRST_BATCH = 8
_MOST_A_BATCH = 5_000
_LUMP = 10_000
_SIGNAL_CHECK = 0.25
"""The longest wait in seconds: with Polars' SIGINT handler, an endless wait would go on after Ctrl-C."""


class Runner(Protocol):
    """Runs the rows of a run."""

    @property
    def width(self) -> int:
        """Number of batches that can run at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def execute(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups; `on_results` is called from this thread.

        An interrupt ends running scripts, cancels the other rows and is raised again.
        """

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups one after the other and wait for them; callable from many threads."""

    def stop(self) -> None:
        """End running scripts now and cancel the other rows."""


def open_runner(
    spec: RunSpec,
    mode: Literal["processes", "main_process"],
    workers: int = 1,
    sys_path: Sequence[str] | None = None,
    *,
    console: logging.Logger | None = None,
    pool: "Pool | None" = None,
    options: StorageOptions | None = None,
    provenance: Mapping[int, str] | None = None,
) -> Runner:
    """Open the runner of a mode.

    Args:
        spec: The spec of the run.
        mode: `processes`, or `main_process`: in this process, without time-outs or protection from crashes.
        workers: Number of processes.
        sys_path: The import path of scripts; by default the one of this process.
        console: Receives what scripts log in `main_process`.
        pool: A pool whose workers were started before the run was known.
        options: fsspec options of the parts in buckets; workers get them over their pipe.
        provenance: What rows made before, by row number; workers get it with the rows.
    """
    if mode == "main_process":
        return MainProcess(spec, console=console, options=options, provenance=provenance)
    if pool is None:
        pool = Pool(workers, sys_path=sys_path, threads_per_worker=spec.threads_per_worker)
    pool.begin(spec, options, provenance=provenance)
    return pool


class MainProcess:
    """Runs rows in this process: without time-outs or protection from crashes, but a debugger works.

    Args:
        spec: The spec of the run; with `debug`, an exception of a script is raised here, after its event.
        console: Receives what scripts log.
        options: fsspec options of the parts in buckets.
        provenance: What rows made before, by row number.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        console: logging.Logger | None = None,
        options: StorageOptions | None = None,
        provenance: Mapping[int, str] | None = None,
    ) -> None:
        self._spec = spec
        self.width = 1
        self._interrupts = MainInterrupts()
        self._output = None if spec.debug else MainOutput()  # a debugger needs the real streams
        self._jobs = JobRunner(
            spec,
            "main",
            output=self._output,
            console=console,
            options=options,
            raising=spec.debug,
            provenance=dict(provenance or {}),
            interrupts=self._interrupts,
        )
        self._lock = threading.Lock()
        self._stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._jobs.journal.sync()
        self._jobs.close()
        spec = self._spec
        clear_staging(staging_path(spec.log, spec.run_id), spec.outputs, spec.dataset)

    def execute(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups; calls `on_results` after each row."""
        left = iter(groups)
        group: Group = []
        done = 0
        self._interrupts.listen()
        try:
            for group in left:  # an interrupt cancels the rest of it below
                done = 0
                for result in self._run(group):
                    done += 1
                    on_results([result])
                    self._interrupts.check()
        except KeyboardInterrupt:
            self._stopping = True
            for rest in itertools.chain([group[done:]], left):
                on_results(cancelled(rest))
            raise
        finally:
            self._interrupts.unlisten()

    def _run(self, group: Group) -> Iterator[Result]:
        done = 0
        if not self._stopping:
            with self._output or contextlib.nullcontext():
                for result in self._jobs.run((group, [], {})):
                    done += 1
                    yield result
                    if self._stopping:
                        break
        yield from cancelled(group[done:])

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups; a lock admits a single thread at a time."""
        with self._lock:
            return [result for group in groups for result in self._run(group)]

    def stop(self) -> None:
        """Begin no further row; the running row ends by itself."""
        self._stopping = True


class Pool:
    """Worker processes that run rows.

    Args:
        workers: The most workers; each starts when it gets a batch, or by `start_workers`.
        sys_path: The import path of scripts; by default the one of this process.
        threads_per_worker: The thread limit of numeric libraries in a worker.
    """

    def __init__(
        self, workers: int, *, sys_path: Sequence[str] | None = None, threads_per_worker: int = 1
    ) -> None:
        self.workers = max(1, workers)
        self._crew = PoolState(sys.path if sys_path is None else sys_path, threads_per_worker)
        self._seats = [WorkerSlot(self._crew) for _ in range(self.workers)]
        self._free = list(self._seats)
        self._freed = threading.Condition()
        self._is_closed = False

    def start_workers(self, workers: int | None = None) -> Self:
        """Start workers early, so that they are ready when the rows are claimed and grouped."""
        for seat in self._seats[::-1][:workers]:
            seat.start_workers()
        return self

    def begin(
        self,
        spec: RunSpec,
        options: StorageOptions | None = None,
        prefix: str = "",
        provenance: Mapping[int, str] | None = None,
    ) -> None:
        """Set the run that the workers serve, and the options that open its buckets.

        Args:
            spec: The spec of the run.
            options: fsspec options by part.
            prefix: Prefix of the workers' names, if other pools serve the same run.
            provenance: What rows made before, by row number; see `journal.ownership`.
        """
        self._crew.begin(spec, options, prefix, provenance)

    def add_provenance(self, provenance: Mapping[int, str]) -> None:
        """Add the provenance of further rows."""
        self._crew.run.provenance.update(provenance)

    def recovered(self, rows: Iterable[Row], events: Iterable[Mapping[str, Any]]) -> list[Result]:
        """Read the results of ended rows from events of the run."""
        return self._crew.run.recovered({row[0]: row for row in rows}, events)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers and clear their processes, pipes and staging. Further calls do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if len(self._free) < len(self._seats):
            self.stop()
            with self._freed:
                self._freed.wait_for(lambda: len(self._free) == len(self._seats), timeout=10)
        for seat in self._seats:
            seat.say_end()
        for seat in self._seats:
            seat.close()
        self._crew.close()

    def stop(self) -> None:
        """End running scripts now and cancel the other rows; no row begins after this call."""
        self._crew.is_stopping = True
        for seat in self._seats:
            seat.terminate()

    @contextlib.contextmanager
    def _seat(self) -> Iterator[WorkerSlot]:
        with self._freed:
            self._freed.wait_for(lambda: self._free)
            seat = self._free.pop()
        try:
            yield seat
        finally:
            with self._freed:
                self._free.append(seat)
                self._freed.notify_all()

    @property
    def width(self) -> int:
        """Number of batches that can run at a time."""
        return self.workers

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups on a free worker and wait for them; callable from many threads."""
        return self.run_tasks(tasks_of(groups))

    def run_tasks(self, tasks: list[Task]) -> list[Result]:
        """Run tasks (the rest of some groups), as `run_batch` does."""
        results: list[Result] = []
        with self._seat() as seat:
            seat.run(tasks, results.extend)
        return results

    def execute(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups on all workers; `on_results` is called from this thread."""
        feed = BatchQueue(groups, self.workers)
        inbox: _Inbox = SimpleQueue()
        width = min(self.workers, feed.known) if feed.known is not None else self.workers
        threads = [
            threading.Thread(target=self._serve, args=(feed, inbox), name=f"worker-{n}", daemon=True)
            for n in range(width)
        ]
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                _relay(inbox, on_results)
        except BaseException as error:
            self.stop()
            feed.close()
            _join(threads)
            if isinstance(error, KeyboardInterrupt):
                self._cancel(feed, inbox, on_results)
            raise
        _join(threads)
        self._cancel(feed, inbox, on_results)

    def _serve(self, feed: "BatchQueue", inbox: _Inbox) -> None:
        """The main function of a worker's thread: runs batches from the queue, puts results into the inbox."""
        try:
            with self._seat() as seat:
                while not self._crew.is_stopping and (batch := feed.take()) is not None:
                    begun = time.monotonic()
                    seat.run(batch, inbox.put, feed)
                    feed.finished(len(batch), time.monotonic() - begun)
        except BaseException as error:  # noqa: BLE001 the thread in `execute` raises it
            inbox.put(error)
        finally:
            inbox.put(None)

    def _cancel(
        self,
        feed: "BatchQueue",
        inbox: _Inbox,
        on_results: OnResults,
    ) -> None:
        """Pass on the last results of the inbox, and a `cancelled` result for every row that never began."""
        while not inbox.empty():
            message = inbox.get()
            if isinstance(message, list):
                on_results(message)
        rows = (row for rows, _, _ in feed.rest() for row in rows)
        while lump := list(itertools.islice(rows, _LUMP)):
            on_results(cancelled(lump))


def _relay(inbox: _Inbox, on_results: OnResults) -> None:
    """Pass results on until a worker's thread has ended."""
    while True:
        try:
            message = inbox.get(timeout=_SIGNAL_CHECK)
        except Empty:
            continue
        if message is None:
            return
        if isinstance(message, BaseException):
            raise message
        if message:
            on_results(message)


def _join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        if thread.ident is not None:
            thread.join()


class BatchQueue:
    """The queue of waiting groups; gives them out in batches of about a quarter of a second.

    Args:
        groups: All groups; iterated lazily.
        workers: Number of workers that take batches.
    """

    def __init__(self, groups: Iterable[Group], workers: int) -> None:
        self.known = len(groups) if isinstance(groups, Sized) else None
        self._left = iter(groups)
        self._back: deque[Task] = deque()
        self._workers = workers
        self._size = _FIRST_BATCH
        self._busy = 0
        self._hungry = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_wanted(self) -> bool:
        """Whether a worker waits for something to do."""
        return self._hungry > 0

    def take(self) -> list[Task] | None:
        """The next batch, or None at the end; waits while a busy worker may still give tasks back."""
        with self._changed:
            while not self._is_closed:
                batch = list(itertools.islice(self._next(), self._next_size()))
                if batch:
                    self._busy += 1
                    return batch
                if not self._busy:
                    break
                self._hungry += 1
                self._changed.wait()
                self._hungry -= 1
            self._changed.notify_all()
            return None

    def _next(self) -> Iterator[Task]:
        while self._back:
            yield self._back.popleft()
        for group in self._left:
            if self.known is not None:
                self.known -= 1
            yield group, [], {}

    def _next_size(self) -> int:
        if self.known is None:
            return self._size
        # Towards the end the batches shrink, so that no worker gets all the remaining rows.
        return max(1, min(self._size, (self.known + len(self._back)) // (2 * self._workers)))

    def give_back(self, tasks: list[Task]) -> None:
        """Take back tasks that a worker has not begun, for other workers."""
        with self._changed:
            self._back.extend(tasks)
            self._size = 1
            self._changed.notify_all()

    def finished(self, tasks: int, seconds: float) -> None:
        """Record that a batch has ended and how long it took; this adapts the batch size."""
        with self._changed:
            self._busy -= 1
            fitting = int(_BATCH_SECONDS * tasks / max(seconds, 1e-6))
            self._size = max(1, min(fitting, 4 * self._size, _MOST_A_BATCH))
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no more batches."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def rest(self) -> Iterator[Task]:
        """The tasks that no worker took."""
        return self._next()
