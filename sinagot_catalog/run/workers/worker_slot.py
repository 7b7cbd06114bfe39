"""A worker slot of the pool: sends batches to a worker process, watches it, and replaces it when it dies.

A batch in a slot, step by step (`worker.__main__` tells the messages on the pipe):

1. The slot starts a process if it has none, and sends the run (`hello`) before its first batch.
2. It sends the batch, with what its rows made before, and receives results until the worker is idle.
3. Meanwhile it ends the process when a row runs past its time-out, when the process does not start in time, or when
   the pool stops. When another worker waits, it recalls the tasks that its worker has not begun.
4. If the process dies, `recovery` resolves the rows it was running, and a new process gets the other rows. After
   several deaths in a row that no row explains, the slot raises an error.
"""

import contextlib
import threading
import time

from sinagot_catalog.errors import SinagotError
from sinagot_catalog.journal import Task
from sinagot_catalog.run.resources import WorkerKind
from sinagot_catalog.run.run_context import RunContext, cancelled
from sinagot_catalog.run.workers.batch_queue import BatchQueue
from sinagot_catalog.run.workers.recovery import Batch, Death, Emit, how_it_ended, resolve_rows
from sinagot_catalog.run.workers.worker_process import WorkerProcess
from sinagot_catalog.worker import clear_staging, staging_path

_RECALL_AFTER = 1.0
_TICK = 0.1
_MOST_UNEXPLAINED = 4
"""Number of deaths in a row, without a row that explains them, after which the slot gives up."""
_START_SECONDS = 60.0


class PoolState:
    """What the worker slots of a pool share.

    Args:
        threads: The thread limit of numeric libraries in a worker.

    Attributes:
        kind: What a worker has where no row asks for more.
        context: The run that the workers serve; set when it is known, before any row.
        is_stopping: Whether no further row may begin.
    """

    context: RunContext

    def __init__(self, threads: int) -> None:
        self.kind = WorkerKind(threads)
        self.is_stopping = False


class WorkerSlot:
    """A slot for a worker process; a new process replaces one that died."""

    def __init__(self, pool: PoolState) -> None:
        self._pool = pool
        self._process: WorkerProcess | None = None
        self._unexplained_deaths = 0
        self._starting = threading.Lock()
        self._wanted = pool.kind

    @property
    def kind(self) -> WorkerKind | None:
        """The kind of its process; None without a process."""
        process = self._process
        return None if process is None else process.kind

    def become(self, kind: WorkerKind) -> None:
        """Have processes of this kind from now on; ends a process of another kind, which must be idle."""
        with self._starting:  # another thread may be about to start a process
            self._wanted = kind
            is_other = self.kind not in (None, kind)
        if is_other:
            self.send_end()
            self.close()

    def start(self) -> None:
        """Start its process; callable from any thread."""
        with self._starting:
            if self._process is None:
                self._process = WorkerProcess(self._wanted)

    def terminate(self) -> None:
        """Ask its process to end; callable from any thread."""
        process = self._process
        if process is not None:
            process.terminate()

    def send_end(self) -> None:
        """Tell its process that there is no more work."""
        if self._process is not None:
            self._process.end()

    def close(self) -> None:
        """Wait for the end of its process and clean up."""
        process, self._process = self._process, None
        if process is not None:
            process.reap()
            process.close()

    def run(self, tasks: list[Task], emit: Emit, source: BatchQueue | None = None) -> None:
        """Run a batch to its end, with as many processes as it takes.

        Args:
            tasks: The batch.
            emit: Receives results as they arrive.
            source: Takes back tasks that have not begun, when another worker has nothing to do.

        Raises:
            SinagotError: When no worker can be started.
        """
        while tasks:
            if self._pool.is_stopping:
                emit(cancelled(row for rows, _, _ in tasks for row in rows))
                break
            batch = Batch(tasks)
            try:
                process = self._ready()
                process.send("batch", tasks, self._pool.context.provenance_of(tasks))
                self._watch(process, batch, emit, source)
                is_dead = False
            except EOFError:
                is_dead = True
            tasks = self._after_death(batch, emit) if is_dead else []
            if batch.outcomes:
                self._unexplained_deaths = 0

    def _ready(self) -> WorkerProcess:
        self.start()
        process = self._process
        if process is None:
            raise EOFError
        if not process.name:
            context = self._pool.context
            process.hello(context.spec, context.name(), context.options)
        return process

    # -- while the worker runs ----------------------------------------------------------------------------

    def _watch(self, process: WorkerProcess, batch: Batch, emit: Emit, source: BatchQueue | None) -> None:
        """Receive messages until the batch has ended.

        Raises:
            EOFError: When the process has ended, by itself or because this slot ended it.
        """
        while not batch.is_idle or batch.is_recalled:
            match process.receive(_TICK):
                case ("results", results):
                    batch.note(results, emit)
                case ("idle", results):
                    batch.note(results, emit)
                    batch.is_idle = True
                case ("returned", tasks):
                    batch.is_recalled = False
                    if source is not None:
                        batch.returned.update(row[0] for rows, _, _ in tasks for row in rows)
                        source.give_back(tasks)
                    source = None
            self._check(process, batch, source)

    def _check(self, process: WorkerProcess, batch: Batch, source: BatchQueue | None) -> None:
        process.bound_output()
        if self._pool.is_stopping or batch.timed_out is not None:
            process.terminate()
        elif not process.is_ready:
            if time.monotonic() - process.started > _START_SECONDS:
                process.terminate()
        elif self._pool.context.has_timeouts:
            batch.timed_out = self._overdue(process, batch)
        if (
            source is not None
            and source.is_wanted
            and not (batch.is_recalled or batch.is_idle)
            and len(batch.tasks) > 1
            and time.monotonic() - batch.since > _RECALL_AFTER
        ):
            process.send("recall")
            batch.is_recalled = True

    def _overdue(self, process: WorkerProcess, batch: Batch) -> int | None:
        """The number of the running row if it is past its time-out, else None."""
        seconds, number, _, _ = process.at_work()
        row = None if number in batch.outcomes else batch.rows.get(number)
        timeout = None if row is None else self._pool.context.spec.cells[row[1]].timeout
        return None if timeout is None or seconds <= timeout else number

    # -- after the worker died ----------------------------------------------------------------------------

    def _after_death(self, batch: Batch, emit: Emit) -> list[Task]:
        """Resolve the rows of a dead worker; return the tasks still to do."""
        process = self._process
        if process is None:
            return batch.tasks
        death = self._collect_exit(process, batch, emit)
        pool = self._pool
        tasks, is_explained = resolve_rows(pool.context, batch, death, emit, is_stopping=pool.is_stopping)
        if not is_explained:
            self._count_unexplained(death)
        return tasks

    def _collect_exit(self, process: WorkerProcess, batch: Batch, emit: Emit) -> Death:
        """Read the last messages and the state of a dead process, then remove its pipes and staging."""
        code = process.reap()
        with contextlib.suppress(EOFError):
            while message := process.receive(0):
                if message[0] in ("results", "idle"):
                    batch.note(message[1], emit)
        seconds, number, attempt, mark = process.at_work()
        was_late = batch.timed_out is not None
        if batch.timed_out is not None and batch.timed_out != number:
            number, attempt = batch.timed_out, 1
        output = process.output(mark if number >= 0 else 0)
        name = process.name
        self.close()
        moved: list[str] = []
        if name:
            spec = self._pool.context.spec
            moved = clear_staging(staging_path(spec.log, spec.run_id, name), spec.outputs, spec.dataset)
            if spec.remote is not None:
                spool = spec.remote.spool
                clear_staging(staging_path(spool, spec.run_id, name), spool, spec.dataset)
        return Death(name, code, number, attempt, seconds, output, was_late, process.is_ready, moved)

    def _count_unexplained(self, death: Death) -> None:
        """Count a death that no row explains; raise after several such deaths in a row."""
        self._unexplained_deaths += 1
        if self._unexplained_deaths < _MOST_UNEXPLAINED:
            return
        what = "a worker process dies between rows" if death.was_ready else "a worker process cannot start"
        lines = (death.output or "").strip().splitlines()
        raise SinagotError(
            f"{what}: it {how_it_ended(death.code)}" + (f"; it said: {lines[-1]}" if lines else ""),
            "mode='main_process' runs the rows without worker processes.",
        )
