"""The pool: the executor that runs rows in worker processes.

A thread per worker slot takes batches of about a quarter of a second from a shared queue (see `batch_queue`) and
runs them on its worker (see `worker_slot`). It puts results into an inbox. The thread that called `run` reads the
inbox, passes the results on and receives interrupts. When a worker has nothing to do, a busy worker gives back the
tasks that it has not begun.
"""

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from socket import gethostname
from typing import Any, Self, TypeAlias

from sinagot_catalog.journal import Group, Result, Task, tasks_of
from sinagot_catalog.run.executor import OnResults, RunSetup, passing_on
from sinagot_catalog.run.machine import this_machine
from sinagot_catalog.run.resources import Allocator, Grant, check_fits, limits
from sinagot_catalog.run.run_context import RunContext, cancelled
from sinagot_catalog.run.workers.batch_queue import BatchQueue, ResourceQueue
from sinagot_catalog.run.workers.recovery import Batch
from sinagot_catalog.run.workers.worker_slot import PoolState, WorkerSlot
from sinagot_catalog.worker import interrupts_deferred

_Message: TypeAlias = "list[Result] | BaseException | None"

_LUMP = 10_000
_SIGNAL_CHECK = 0.25
"""The longest wait in seconds, after which an interrupt is delivered."""


class Pool:
    """Worker processes that run rows.

    Args:
        workers: The most workers; each starts when it gets a batch, or by `start_workers`.
        threads_per_worker: The thread limit of numeric libraries in a worker.
    """

    def __init__(self, workers: int, *, threads_per_worker: int = 1) -> None:
        self.width = max(1, workers)
        self._state = PoolState(threads_per_worker)
        self._slots = [WorkerSlot(self._state) for _ in range(self.width)]
        self._free = list(self._slots)
        self._freed = threading.Condition()
        self._seats = threading.Semaphore(self.width)
        self._allocator: Allocator | None = None
        self._is_started = False
        self._is_closed = False

    def start_workers(self, workers: int) -> Self:
        """Start some workers early, so that they are ready when the rows are claimed and grouped."""
        for slot in self._slots[::-1][:workers]:
            slot.start()
        return self

    def start(self, setup: RunSetup, prefix: str = "") -> Self:
        """Take a run, and start workers for its rows; a second call does nothing.

        Args:
            setup: The run.
            prefix: Prefix of the workers' names, if other pools serve the same run. Then a scheduler elsewhere
                decides what starts, and the pool gives out only GPUs.
        """
        if self._is_started:
            return self
        spec, needs, there = setup.spec, [*setup.needs.values()], None
        if needs:
            there = this_machine()
            check_fits(setup.needs, limits(there), "this machine")
        else:
            # These rows need nothing, but hold the GPUs of other steps back from them.
            needs = [cell.resources for cell in spec.cells if any(cell.resources)]
        self._is_started = True
        self._state.context = RunContext(setup, prefix)
        if needs:
            self._allocator = Allocator(spec, needs, there, threads=self._state.kind.threads)
        if there is None:
            self.start_workers(setup.n_rows)
        return self

    def see_gpus(self, names: Sequence[str]) -> None:
        """Give out these GPUs to the rows that come; idle workers with others end."""
        if self._allocator is None:
            return
        with self._freed:
            for slot in self._free:
                if slot.kind is not None and not {*(slot.kind.gpus or ())} <= {*names}:
                    slot.become(self._state.kind)
        self._allocator.see_gpus(names)

    def add_provenance(self, provenance: Mapping[int, str]) -> None:
        """Add the provenance of further rows."""
        self._state.context.provenance.update(provenance)

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
        if self._is_started:
            self._state.context.close()

    def stop(self) -> None:
        """End running scripts now and cancel the other rows; no row begins after this call."""
        self._state.is_stopping = True
        if self._allocator is not None:
            self._allocator.close()
        for slot in self._slots:
            slot.terminate()

    @contextlib.contextmanager
    def _slot(self, grant: Grant | None = None) -> Iterator[WorkerSlot]:
        """A free slot, whose worker has what a grant says."""
        kind = self._state.kind
        if self._allocator is not None and grant is not None:
            kind = self._allocator.kind_of(grant)
        with self._freed:
            self._freed.wait_for(lambda: self._free)
            slot = min(reversed(self._free), key=lambda slot: (slot.kind != kind, slot.kind is not None))
            self._free.remove(slot)
            # An idle process may still hold memory of a GPU.
            rivals = [
                slot for slot in self._free if slot.kind and {*(slot.kind.gpus or ())} & {*(kind.gpus or ())}
            ]
            for rival in rivals:
                rival.become(kind)
        slot.become(kind)
        try:
            yield slot
        finally:
            with self._freed:
                self._free.append(slot)
                self._freed.notify_all()

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups on a free worker and wait for them; callable from many threads."""
        return self._run_tasks(tasks_of(groups))

    def resume_batch(self, groups: Sequence[Group], events: Iterable[Mapping[str, Any]]) -> list[Result]:
        """Run what a lost process left of some groups: events of the run tell which of their rows have ended."""
        batch = Batch(tasks_of(groups))
        results: list[Result] = []
        batch.note(self._state.context.recovered(batch.rows, events)[0], results.extend)
        return results + self._run_tasks(batch.remaining({}))

    def _run_tasks(self, tasks: list[Task]) -> list[Result]:
        results: list[Result] = []
        if self._allocator is not None:
            self._run_granted(deque(tasks), results, self._allocator)
        else:
            with self._slot() as slot:
                slot.run(tasks, results.extend)
        return results

    def _run_granted(self, tasks: deque[Task], results: list[Result], allocator: Allocator) -> None:
        """Run tasks one after the other, each when its resources are free."""
        while tasks:
            task = allocator.splitter.begin(tasks.popleft())
            need = allocator.splitter.need_of(task[0][0])
            step = self._state.context.spec.cells[task[0][0][1]].step
            check_fits(
                {step: need}, {"gpus": allocator.n_gpus}, gethostname()
            )  # a scheduler may believe in more
            with self._seats:
                grant = allocator.acquire(need)
                ended = cancelled(task[0]) if grant is None else []
                if grant is not None:
                    try:
                        with self._slot(grant) as slot:
                            slot.run([task], ended.extend)
                    finally:
                        allocator.give_back(grant)
            results += ended
            tasks.extendleft(allocator.splitter.note(ended))

    def run(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups on all workers; `on_results` is called from this thread.

        An interrupt ends running scripts, cancels the other rows and is raised again.
        """
        queue = BatchQueue(groups, self.width)
        if self._allocator is not None:
            queue = ResourceQueue(groups, self.width, self._allocator)
        on_results = passing_on(groups, on_results, queue.wake)
        inbox: SimpleQueue[_Message] = SimpleQueue()
        width = min(self.width, queue.known) if queue.known is not None else self.width
        threads = [
            threading.Thread(target=self._serve, args=(queue, inbox), name=f"worker-{n}", daemon=True)
            for n in range(width)
        ]
        try:
            for thread in threads:
                thread.start()
            _relay(inbox, on_results, len(threads))
        except BaseException as error:
            self.stop()
            queue.close()
            _join(threads)
            if isinstance(error, KeyboardInterrupt):
                self._cancel(queue, inbox, on_results)
            raise
        _join(threads)
        self._cancel(queue, inbox, on_results)

    def _serve(self, queue: BatchQueue, inbox: SimpleQueue[_Message]) -> None:
        """The main function of a worker's thread: runs batches from the queue, puts results into the inbox."""

        def emit(results: list[Result]) -> None:
            queue.note(results)
            inbox.put(results)

        try:
            while not self._state.is_stopping and (batch := queue.take()) is not None:
                with self._slot(batch.grant) as slot:
                    begun = time.monotonic()
                    slot.run(batch.tasks, emit, queue)
                queue.finished(batch, time.monotonic() - begun)
        except BaseException as error:  # noqa: BLE001 the thread in `run` raises it
            inbox.put(error)
        finally:
            inbox.put(None)

    def _cancel(self, queue: BatchQueue, inbox: SimpleQueue[_Message], on_results: OnResults) -> None:
        """Pass on the last results of the inbox, and a `cancelled` result for every row that never began."""
        while not inbox.empty():
            if isinstance(message := inbox.get(), list):
                on_results(message)
        while lump := [row for rows, _, _ in itertools.islice(queue.rest(), _LUMP) for row in rows]:
            on_results(cancelled(lump))


def _relay(inbox: SimpleQueue[_Message], on_results: OnResults, threads: int) -> None:
    """Pass results on until the workers' threads have ended; an interrupt loses no message: it comes in between."""
    while threads:
        with interrupts_deferred(), contextlib.suppress(Empty):
            match inbox.get(timeout=_SIGNAL_CHECK):
                case None:
                    threads -= 1
                case BaseException() as error:
                    raise error
                case results:
                    on_results(results)


def _join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        if thread.ident is not None:
            thread.join()
