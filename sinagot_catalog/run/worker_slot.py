"""A worker slot of the pool: sends batches to a worker process; when it dies, resolves its unfinished rows.

Recovery after a death, in this order:

- The results that the worker sent, and the events in its journal, tell which rows it finished.
- The row that the worker announced last in the shared status caused the death, or ran past its time-out. If it
  published in a single step and its outputs are in place, the parent writes `done` for it. If it has attempts left,
  it is tried again. Else the parent writes its error. (When the pool is stopping, the row is cancelled instead.)
- A new process in the slot gets the other rows.

Only the parent writes events for a dead worker, into its own journal file: no journal file has two writers.
"""

import contextlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from sinagot_catalog.errors import PatternError, SinagotError
from sinagot_catalog.journal import (
    FAILED,
    JournalWriter,
    Outcome,
    Result,
    Row,
    RunSpec,
    StorageOptions,
    Task,
    UnitStepLines,
    journal_path,
    read_lines,
)
from sinagot_catalog.patterns import IdPattern
from sinagot_catalog.run.worker_process import WorkerProcess
from sinagot_catalog.storage import is_url, open_store
from sinagot_catalog.worker import CLOSED, clear_staging, staging_path, told_back

__all__ = ["Emit", "PoolState", "RunContext", "WorkerSlot", "cancelled"]

Emit: TypeAlias = Callable[[list[Result]], None]

_RECALL_AFTER = 1.0
_TICK = 0.1
_FRUITLESS = 4
_SEVERAL = 2
_START_SECONDS = 60.0


class TaskSource(Protocol):
    """Takes back tasks that a worker has not begun."""

    @property
    def is_wanted(self) -> bool:
        """Whether a worker waits for something to do."""

    def give_back(self, tasks: list[Task]) -> None:
        """Take tasks back for another worker."""


def cancelled(rows: Iterable[Row]) -> list[Result]:
    """Results of rows that will not run any more."""
    return [Result(row[0], "cancelled") for row in rows]


class RunContext:
    """What the worker slots of a run share in the parent: the spec, worker names, the parent's journal.

    Args:
        spec: The spec of the run.
        options: fsspec options by part.
        prefix: Prefix of the names of this parent's processes, if the run has several parents.
        provenance: What rows made before, by row number; see `journal.ownership`.
    """

    def __init__(
        self,
        spec: RunSpec,
        options: StorageOptions | None = None,
        prefix: str = "",
        provenance: Mapping[int, str] | None = None,
    ) -> None:
        self.spec = spec
        self.prefix = prefix
        self.provenance = dict(provenance or {})
        self.options: StorageOptions = options or {}
        self.has_timeouts = any(cell.timeout is not None for cell in spec.cells)
        self.ids = IdPattern(spec.id_pattern)
        self._journal = JournalWriter(
            journal_path(spec.log, spec.run_id, f"{prefix}main"),
            run_id=spec.run_id,
            claim=spec.claim,
            workspace_version=spec.workspace_version,
        )
        self._lock = threading.Lock()
        self._names = (f"{prefix}w{number:02}" for number in itertools.count(1))

    def provenance_of(self, tasks: Iterable[Task]) -> dict[int, str]:
        """The provenance of the rows of some tasks; only rows that have one."""
        known = self.provenance
        if not known:
            return {}
        return {row[0]: known[row[0]] for rows, _, _ in tasks for row in rows if row[0] in known}

    def name(self) -> str:
        """A new worker name: each worker writes its own journal file, so no name is used twice in a run."""
        with self._lock:
            return next(self._names)

    @contextlib.contextmanager
    def lines(self, row: Row) -> Iterator[UnitStepLines]:
        """Writes events for a row's step into the parent's journal; ignores a disk error."""
        with self._lock, contextlib.suppress(OSError):
            yield self._journal.cell(self.spec.cells[row[1]])

    def outputs(self, row: Row) -> set[str]:
        """The relative paths of the declared outputs of a row."""
        values = self.ids.known_values(row[2])
        if values is None:
            return set()
        try:
            return {port.template.format(values) for port in self.spec.cells[row[1]].outputs}
        except PatternError:
            return set()  # the id gives no valid path

    def is_published(self, row: Row) -> bool:
        """Whether a row that began has all its outputs in place.

        False for a row that is run again (`force`, `redo`): its outputs in place may be old.
        """
        if self.spec.force or row[0] in self.spec.redo:
            return False
        outputs = self.outputs(row)
        if not outputs or not is_url(self.spec.outputs):
            return bool(outputs) and all(Path(self.spec.outputs, output).exists() for output in outputs)
        with contextlib.suppress(SinagotError):
            store = open_store(self.spec.outputs, self.options.get("outputs"))
            return all(store.exists(output) for output in outputs)
        return False

    def recovered(
        self, open_rows: Mapping[int, Row], events: Iterable[Mapping[str, Any]]
    ) -> tuple[list[Result], dict[int, list[str]]]:
        """Read from events of this run what happened to rows whose results never arrived.

        Returns:
            The results of rows that ended, and the paths of rows that were publishing.
        """
        numbers: dict[tuple[Any, ...], int] = {
            (*self._key(row), row[2]): number for number, row in open_rows.items()
        }
        ended: dict[int, Result] = {}
        publishing: dict[int, list[str]] = {}
        for event in events:
            key = (event.get("task"), event.get("modality"), event.get("step_label"), event.get("record_id"))
            number = numbers.get(key)
            if number is None:
                continue
            if event["event"] == "start":
                publishing.pop(number, None)
                ended.pop(number, None)
            elif event["event"] == "publishing":
                publishing[number] = event["paths"]
                self._note_publishing(number, event)
            elif event["event"] in ("done", "error", "not_available"):
                declared = self.outputs(open_rows[number])
                extras = [path for path in publishing.get(number, ()) if path not in declared]
                ended[number] = _from_event(number, event, extras)
        return list(ended.values()), publishing

    def _note_publishing(self, number: int, event: Mapping[str, Any]) -> None:
        """Add what a dead process may have published to the row's provenance, so that a retry may replace it."""
        told = json.loads(self.provenance.get(number, "{}"))
        told["publishing"] = event.get("made")  # the event includes what was recorded before
        told["paths"] = [*(told.get("paths") or ()), *event["paths"]]
        self.provenance[number] = json.dumps(told)

    def _key(self, row: Row) -> tuple[str | None, str | None, str]:
        cell = self.spec.cells[row[1]]
        return cell.task, cell.modality, cell.step

    def close(self) -> None:
        """Close the parent's journal and clear the staging of its processes."""
        self._journal.close()
        staging = staging_path(self.spec.log, self.spec.run_id)
        if not self.prefix:
            clear_staging(staging, self.spec.outputs, self.spec.dataset)
            return
        for folder in Path(staging).glob(f"{self.prefix}*"):  # other parents of this run may still be working
            clear_staging(str(folder), self.spec.outputs, self.spec.dataset)


class PoolState:
    """What the worker slots of a pool share.

    Args:
        sys_path: The import path of scripts.
        threads: The thread limit of numeric libraries in a worker.
    """

    def __init__(self, sys_path: Sequence[str], threads: int) -> None:
        self.sys_path = list(sys_path)
        self.threads = threads
        self.is_stopping = False
        self._run: RunContext | None = None

    def begin(
        self,
        spec: RunSpec,
        options: StorageOptions | None = None,
        prefix: str = "",
        provenance: Mapping[int, str] | None = None,
    ) -> None:
        """Set the run that the workers serve."""
        self._run = RunContext(spec, options, prefix, provenance)

    @property
    def run(self) -> RunContext:
        """The run that the workers serve.

        Raises:
            RuntimeError: Before `begin`.
        """
        if self._run is None:
            raise RuntimeError("Pool.begin(spec) comes before any row")
        return self._run

    def close(self) -> None:
        """Close the run, if it has begun."""
        if self._run is not None:
            self._run.close()


class _Batch:
    """The parent's record of a batch on a worker."""

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.outcomes: dict[int, str] = {}
        self.given: set[int] = set()
        self.timed_out: int | None = None
        self.is_recalled = False
        self.is_idle = False
        self.since = time.monotonic()
        self._rows: dict[int, Row] | None = None

    @property
    def rows(self) -> dict[int, Row]:
        """Its rows by number; made on first use, because most batches never need it."""
        if self._rows is None:
            self._rows = {row[0]: row for rows, _, _ in self.tasks for row in rows}
        return self._rows


class _Death(NamedTuple):
    """How a worker process ended, and which attempt it was running."""

    name: str
    code: int
    number: int
    attempt: int
    seconds: float
    output: str | None
    was_late: bool
    was_ready: bool
    back: list[str]


class WorkerSlot:
    """A slot for a worker process; a new process replaces one that died."""

    def __init__(self, crew: PoolState) -> None:
        self._crew = crew
        self._process: WorkerProcess | None = None
        self._is_known = False
        self._fruitless = 0
        self._starting = threading.Lock()

    def start_workers(self) -> None:
        """Start its process; callable from any thread."""
        with self._starting:
            if self._process is None:
                self._is_known = False
                self._process = WorkerProcess(self._crew.threads)

    def terminate(self) -> None:
        """Ask its process to end; callable from any thread."""
        process = self._process
        if process is not None:
            process.terminate()

    def say_end(self) -> None:
        """Tell its process that there is no more work."""
        if self._process is not None:
            self._process.end()

    def close(self) -> int | None:
        """Wait for the end of its process and clean up; return the exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        code = process.reap()
        process.close()
        return code

    def run(self, tasks: list[Task], emit: Emit, source: TaskSource | None = None) -> None:
        """Run a batch to its end, with as many processes as it takes.

        Args:
            tasks: The batch.
            emit: Receives results as they arrive.
            source: Takes back tasks that have not begun, when another worker has nothing to do.

        Raises:
            SinagotError: When no worker can be started.
        """
        while tasks:
            if self._crew.is_stopping:
                emit(cancelled(row for rows, _, _ in tasks for row in rows))
                break
            batch = _Batch(tasks)
            try:
                process = self._ready()
                process.send("batch", tasks, self._crew.run.provenance_of(tasks))
                self._watch(process, batch, emit, source)
                is_gone = False
            except EOFError:
                is_gone = True
            tasks = self._after_death(batch, emit) if is_gone else []
            if batch.outcomes:
                self._fruitless = 0

    def _ready(self) -> WorkerProcess:
        self.start_workers()
        process = self._process
        if process is None:
            raise EOFError
        if not self._is_known:
            run = self._crew.run
            process.hello(run.spec, run.name(), self._crew.sys_path, run.options)
            self._is_known = True
        return process

    # -- while the worker runs ----------------------------------------------------------------------------

    def _watch(
        self,
        process: WorkerProcess,
        batch: _Batch,
        emit: Emit,
        source: TaskSource | None,
    ) -> None:
        """Receive messages until the batch has ended.

        Raises:
            EOFError: When the process has ended, by itself or because this slot ended it.
        """
        while not batch.is_idle or batch.is_recalled:
            match process.receive(_TICK):
                case ("results", results):
                    _note(batch, results, emit)
                case ("idle", results):
                    _note(batch, results, emit)
                    batch.is_idle = True
                case ("returned", tasks):
                    batch.is_recalled = False
                    if source is not None:
                        batch.given.update(row[0] for rows, _, _ in tasks for row in rows)
                        source.give_back(tasks)
                    source = None
            self._check(process, batch, source)

    def _check(self, process: WorkerProcess, batch: _Batch, source: TaskSource | None) -> None:
        process.bound_output()
        if self._crew.is_stopping or batch.timed_out is not None:
            process.terminate()
        elif not process.is_ready:
            if time.monotonic() - process.started > _START_SECONDS:
                process.terminate()
        elif self._crew.run.has_timeouts:
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

    def _overdue(self, process: WorkerProcess, batch: _Batch) -> int | None:
        """The number of the running row if it is past its time-out, else None."""
        seconds, number, _, _ = process.at_work()
        row = None if number in batch.outcomes else batch.rows.get(number)
        timeout = None if row is None else self._crew.run.spec.cells[row[1]].timeout
        return None if timeout is None or seconds <= timeout else number

    # -- after the worker died ----------------------------------------------------------------------------

    def _after_death(self, batch: _Batch, emit: Emit) -> list[Task]:
        """Resolve the rows of a dead worker (see the module docstring); return the tasks still to do."""
        process = self._process
        if process is None:
            return batch.tasks
        death = self._collect_exit(process, batch, emit)
        settled = batch.given.union(batch.outcomes)
        open_rows = {number: row for number, row in batch.rows.items() if number not in settled}
        found, publishing = self._recovered(death.name, open_rows)
        _note(batch, found, emit)
        culprit = None if death.number in batch.outcomes else open_rows.get(death.number)
        paths = publishing.get(death.number, [])
        # On a disk, publishing a folder is a single rename. In a bucket, each of its files is an upload.
        is_one_step = len(paths) < _SEVERAL and not (paths and is_url(self._crew.run.spec.outputs))
        tried: dict[int, int] = {}
        if self._crew.is_stopping:
            if culprit is not None and death.number not in publishing:
                with self._crew.run.lines(culprit) as lines:
                    lines.cancelled(culprit[2])
        elif culprit is None:
            self._count_fruitless(death)
        elif is_one_step and self._crew.run.is_published(culprit):
            # The worker died after the only step of publishing, before it wrote `done`. With several outputs this
            # is not certain: some of them may be old.
            _note(batch, [self._finish(culprit, death)], emit)
        elif death.attempt <= self._crew.run.spec.cells[culprit[1]].retries:
            tried[death.number] = death.attempt
        else:
            _note(batch, [self._attribute_failure(culprit, death, publishing.get(death.number))], emit)
        return _remaining(batch, tried)

    def _collect_exit(self, process: WorkerProcess, batch: _Batch, emit: Emit) -> _Death:
        """Read the last messages and the state of a dead process, then remove its pipes and staging."""
        code = process.reap()
        with contextlib.suppress(EOFError):
            while message := process.receive(0):
                if message[0] in ("results", "idle"):
                    _note(batch, message[1], emit)
        seconds, number, attempt, mark = process.at_work()
        was_late = batch.timed_out is not None
        if batch.timed_out is not None and batch.timed_out != number:
            number, attempt = batch.timed_out, 1
        output = process.output(mark if number >= 0 else 0)
        name = process.name
        self.close()
        back: list[str] = []
        if name:
            spec = self._crew.run.spec
            back = clear_staging(staging_path(spec.log, spec.run_id, name), spec.outputs, spec.dataset)
            if spec.remote is not None:
                spool = spec.remote.spool
                clear_staging(staging_path(spool, spec.run_id, name), spool, spec.dataset)
        return _Death(name, code, number, attempt, seconds, output, was_late, process.is_ready, back)

    def _recovered(self, name: str, open_rows: dict[int, Row]) -> tuple[list[Result], dict[int, list[str]]]:
        """Read from the journal of a dead worker what happened to rows whose results never arrived."""
        run = self._crew.run
        return run.recovered(open_rows, read_lines(journal_path(run.spec.log, run.spec.run_id, name)))

    def _count_fruitless(self, death: _Death) -> None:
        """Count a death that no row explains; raise after several such deaths in a row."""
        self._fruitless += 1
        if self._fruitless < _FRUITLESS:
            return
        what = "a worker process dies between rows" if death.was_ready else "a worker process cannot start"
        said = (death.output or "").strip().splitlines()
        raise SinagotError(
            f"{what}: it {_how_it_ended(death.code)}" + (f"; it said: {said[-1]}" if said else ""),
            "mode='main_process' runs the rows without worker processes.",
        )

    def _finish(self, row: Row, death: _Death) -> Result:
        """Write `done` for the row of a dead worker."""
        run = self._crew.run
        with run.lines(row) as lines:
            unknown = [None] * len(run.spec.cells[row[1]].inputs)
            lines.done(
                row[2], seconds=death.seconds, attempts=death.attempt, inputs=unknown, output=death.output
            )
        return Result(row[0], "done", death.seconds, death.attempt)

    def _attribute_failure(self, row: Row, death: _Death, paths: list[str] | None) -> Result:
        """Write the error of the row that caused the death of a worker or passed its time-out; return it."""
        run = self._crew.run
        outcome: Outcome
        if death.was_late:
            outcome, error_type = "timeout", "Timeout"
            message = f"ran past its TIMEOUT of {run.spec.cells[row[1]].timeout:g} s"
        else:
            outcome, error_type, message = "error", "WorkerDied", _how_it_ended(death.code)
        message += told_back(death.back)
        with run.lines(row) as lines:
            lines.error(
                row[2],
                message,
                error_type=error_type,
                seconds=death.seconds,
                attempts=death.attempt,
                output=death.output,
                paths=paths,
            )
        return Result(row[0], outcome, death.seconds, death.attempt, error_type, message)


def _note(batch: _Batch, results: list[Result], emit: Emit) -> None:
    if results:
        batch.outcomes.update((result.row, result.outcome) for result in results)
        emit(results)


def _remaining(batch: _Batch, tried: dict[int, int]) -> list[Task]:
    """The tasks of a batch that are still to do, each with the failed rows of its group."""
    outcomes = batch.outcomes
    tasks: list[Task] = []
    for rows, failed, used in batch.tasks:
        left = [row for row in rows if row[0] not in outcomes and row[0] not in batch.given]
        if left:
            failed_now = [row for row in rows if outcomes.get(row[0]) in FAILED]
            tasks.append((left, failed + failed_now, {**used, **tried}))
    return tasks


def _from_event(number: int, event: Mapping[str, Any], extras: list[str]) -> Result:
    return Result(
        number,
        event["event"],
        event.get("seconds", 0.0),
        event.get("attempts", 0),
        event.get("error_type"),
        None if event["event"] == "done" else event.get("message"),
        tuple(extras),
    )


def _how_it_ended(code: int) -> str:
    """Describe the end of a process in a clause.

    Example:
        >>> _how_it_ended(3)
        'ended its process with exit code 3'
    """
    if code == CLOSED:
        return "closed files of its process that it did not open"
    if code >= 0:
        return f"ended its process with exit code {code}"
    name = (signal.strsignal(-code) or "unknown").lower()
    hint = "; the system does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"killed its process (signal {-code}, {name}{hint})"
