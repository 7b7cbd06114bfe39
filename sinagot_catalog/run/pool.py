"""The pool: the executor that runs rows in worker processes.

A thread per worker slot takes batches of about a quarter of a second from a shared `BatchQueue` and runs them on
its worker (see `worker_slot`). It puts results into an inbox. The thread that called `run` reads the inbox,
passes the results on and receives interrupts. When the queue is empty and a worker waits, a busy worker gives back
the tasks that it has not begun.
"""

import contextlib
import itertools
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeAlias

from sinagot_catalog.journal import Group, Result, Row, RunSpec, StorageOptions, Task, tasks_of
from sinagot_catalog.run.executor import OnResults, RunSetup, WaitingGroups, passing_on
from sinagot_catalog.run.run_context import cancelled
from sinagot_catalog.run.worker_slot import PoolState, WorkerSlot

__all__ = ["BatchQueue", "Pool"]

_Inbox: TypeAlias = "SimpleQueue[list[Result] | BaseException | None]"

_BATCH_SECONDS = 0.25
_FIRST_BATCH = 8
_MOST_A_BATCH = 5_000
_LUMP = 10_000
_SIGNAL_CHECK = 0.25
"""The longest wait in seconds: with Polars' SIGINT handler, an endless wait would go on after Ctrl-C."""


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
        self._state = PoolState(sys.path if sys_path is None else sys_path, threads_per_worker)
        self._slots = [WorkerSlot(self._state) for _ in range(self.workers)]
        self._free = list(self._slots)
        self._freed = threading.Condition()
        self._is_closed = False

    def start_workers(self, workers: int) -> Self:
        """Start some workers early, so that they are ready when the rows are claimed and grouped."""
        for slot in self._slots[::-1][:workers]:
            slot.start()
        return self

    def start(self, setup: RunSetup) -> Self:
        """Take a run, and start workers for its rows; a second call for the same run does nothing."""
        if not self._state.has_begun(setup.spec.run_id):
            self.begin(setup.spec, setup.options, provenance=setup.provenance)
            self.start_workers(setup.n_rows)
        return self

    def wait_started(self) -> None:
        """Do nothing: workers get their batches when they are ready."""

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
        self._state.begin(spec, options, prefix, provenance)

    def add_provenance(self, provenance: Mapping[int, str]) -> None:
        """Add the provenance of further rows."""
        self._state.context.provenance.update(provenance)

    def recovered(self, rows: Iterable[Row], events: Iterable[Mapping[str, Any]]) -> list[Result]:
        """Read the results of ended rows from events of the run."""
        return self._state.context.recovered({row[0]: row for row in rows}, events)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers and clear their processes, pipes and staging. Further calls do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if len(self._free) < len(self._slots):
            self.stop()
            with self._freed:
                self._freed.wait_for(lambda: len(self._free) == len(self._slots), timeout=10)
        for slot in self._slots:
            slot.send_end()
        for slot in self._slots:
            slot.close()
        self._state.close()

    def stop(self) -> None:
        """End running scripts now and cancel the other rows; no row begins after this call."""
        self._state.is_stopping = True
        for slot in self._slots:
            slot.terminate()

    @contextlib.contextmanager
    def _slot(self) -> Iterator[WorkerSlot]:
        with self._freed:
            self._freed.wait_for(lambda: self._free)
            slot = self._free.pop()
        try:
            yield slot
        finally:
            with self._freed:
                self._free.append(slot)
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
        with self._slot() as slot:
            slot.run(tasks, results.extend)
        return results

    def run(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups on all workers; `on_results` is called from this thread."""
        queue = BatchQueue(groups, self.workers)
        on_results = queue.told_of(passing_on(groups, on_results))
        inbox: _Inbox = SimpleQueue()
        width = min(self.workers, queue.known) if queue.known is not None else self.workers
        threads = [
            threading.Thread(target=self._serve, args=(queue, inbox), name=f"worker-{n}", daemon=True)
            for n in range(width)
        ]
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                _relay(inbox, on_results)
        except BaseException as error:
            self.stop()
            queue.close()
            _join(threads)
            if isinstance(error, KeyboardInterrupt):
                self._cancel(queue, inbox, on_results)
            raise
        _join(threads)
        self._cancel(queue, inbox, on_results)

    def _serve(self, queue: "BatchQueue", inbox: _Inbox) -> None:
        """The main function of a worker's thread: runs batches from the queue, puts results into the inbox."""
        try:
            with self._slot() as slot:
                while not self._state.is_stopping and (batch := queue.take()) is not None:
                    begun = time.monotonic()
                    slot.run(batch, inbox.put, queue)
                    queue.finished(len(batch), time.monotonic() - begun)
        except BaseException as error:  # noqa: BLE001 the thread in `run` raises it
            inbox.put(error)
        finally:
            inbox.put(None)

    def _cancel(
        self,
        queue: "BatchQueue",
        inbox: _Inbox,
        on_results: OnResults,
    ) -> None:
        """Pass on the last results of the inbox, and a `cancelled` result for every row that never began."""
        while not inbox.empty():
            message = inbox.get()
            if isinstance(message, list):
                on_results(message)
        while lump := [row for rows, _, _ in itertools.islice(queue.rest(), _LUMP) for row in rows]:
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
        groups: All groups; iterated lazily. Groups of a phase may wait for rows of other groups.
        workers: Number of workers that take batches.
    """

    def __init__(self, groups: Iterable[Group], workers: int) -> None:
        self.known = len(groups) if isinstance(groups, Sized) else None
        self._phase = groups if isinstance(groups, WaitingGroups) else None
        self._left = iter(groups) if self._phase is None else self._phase
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
        """The next batch, or None at the end; waits while groups wait or a busy worker may give tasks back."""
        with self._changed:
            while not self._is_closed:
                is_waiting = self._phase is not None and self._phase.is_waiting
                batch = list(itertools.islice(self._next(), self._next_size()))
                if batch:
                    self._busy += 1
                    return batch
                if not (self._busy or is_waiting):
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

    def told_of(self, on_results: OnResults) -> OnResults:
        """A function that passes results on to another one, which may release groups for waiting workers."""
        if self._phase is None:
            return on_results

        def pass_on(results: list[Result]) -> None:
            on_results(results)
            with self._changed:
                self._changed.notify_all()

        return pass_on

    def close(self) -> None:
        """Give out no more batches."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def rest(self) -> Iterator[Task]:
        """The tasks that no worker took."""
        return self._next()
