"""Recovery: resolves the unfinished rows of a worker process that died.

In this order:

- The results that the worker sent, and the events in its journal, tell which rows it finished.
- The row that the worker announced last in the shared status caused the death, or ran past its time-out. If it
  published in a single step and its outputs are in place, the parent writes `done` for it. If it has attempts left,
  it is tried again. Else the parent writes its error. (When the pool is stopping, the row is cancelled instead.)
- The other rows are tasks for a new process.

Only the parent writes events for a dead worker, into its own journal file: no journal file has two writers.
"""

import signal
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from sinagot_catalog.journal import FAILED, Outcome, Result, Row, Task, journal_path, read_lines
from sinagot_catalog.run.run_context import RunContext
from sinagot_catalog.storage import is_url
from sinagot_catalog.worker import CLOSED, describe_moved_inputs

Emit: TypeAlias = Callable[[list[Result]], None]

_SEVERAL = 2


class Batch:
    """The parent's record of a batch on a worker.

    Args:
        tasks: The tasks of the batch.

    Attributes:
        outcomes: The outcomes of its ended rows, by row number.
        returned: The numbers of rows that the worker gave back before it began them.
        timed_out: The number of the row that ran past its time-out.
        is_recalled: Whether the worker was asked to give tasks back and has not answered.
        is_idle: Whether the worker has ended the batch.
    """

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.outcomes: dict[int, str] = {}
        self.returned: set[int] = set()
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

    def note(self, results: list[Result], emit: Emit) -> None:
        """Record results, and pass them on."""
        if results:
            self.outcomes.update((result.row, result.outcome) for result in results)
            emit(results)

    def remaining(self, used: dict[int, int]) -> list[Task]:
        """The tasks that are still to do, each with the failed rows of its group.

        Args:
            used: The number of attempts that rows have used, by row number.
        """
        outcomes = self.outcomes
        tasks: list[Task] = []
        for rows, failed, used_before in self.tasks:
            left = [row for row in rows if row[0] not in outcomes and row[0] not in self.returned]
            if left:
                failed_now = [row for row in rows if outcomes.get(row[0]) in FAILED]
                tasks.append((left, failed + failed_now, {**used_before, **used}))
        return tasks


class Death(NamedTuple):
    """How a worker process ended, and which attempt it was running."""

    name: str
    code: int
    number: int
    attempt: int
    seconds: float
    output: str | None
    was_late: bool
    was_ready: bool
    moved_inputs: list[str]


def resolve_rows(
    context: RunContext, batch: Batch, death: Death, emit: Emit, *, is_stopping: bool
) -> tuple[list[Task], bool]:
    """Resolve the rows of a dead worker; see the module docstring.

    Args:
        context: The run.
        batch: The batch that the worker had.
        death: How the worker ended.
        emit: Receives the results of resolved rows.
        is_stopping: Whether the pool is stopping.

    Returns:
        The tasks still to do, and whether a row explains the death.
    """
    settled = batch.returned.union(batch.outcomes)
    open_rows = {number: row for number, row in batch.rows.items() if number not in settled}
    journal = journal_path(context.spec.log, context.spec.run_id, death.name)
    ended, publishing = context.recovered(open_rows, read_lines(journal))
    batch.note(ended, emit)
    culprit = None if death.number in batch.outcomes else open_rows.get(death.number)
    paths = publishing.get(death.number, [])
    # On a disk, publishing a folder is a single rename. In a bucket, each of its files is an upload.
    is_one_step = len(paths) < _SEVERAL and not (paths and is_url(context.spec.outputs))
    used: dict[int, int] = {}
    if is_stopping:
        if culprit is not None and death.number not in publishing:
            context.write("cancelled", culprit)
    elif culprit is None:
        return batch.remaining(used), False
    elif is_one_step and context.is_published(culprit):
        # The worker died after the only step of publishing, before it wrote `done`. With several outputs this
        # is not certain: some of them may be old.
        batch.note([_finish(context, culprit, death)], emit)
    elif death.attempt <= context.spec.cells[culprit[1]].retries:
        used[death.number] = death.attempt
    else:
        failure = _attribute_failure(context, culprit, death, publishing.get(death.number))
        batch.note([failure], emit)
    return batch.remaining(used), True


def _finish(context: RunContext, row: Row, death: Death) -> Result:
    """Write `done` for the row of a dead worker."""
    unknown = [None] * len(context.spec.cells[row[1]].inputs)
    context.write(
        "done", row, seconds=death.seconds, attempts=death.attempt, inputs=unknown, output=death.output
    )
    return Result(row[0], "done", death.seconds, death.attempt)


def _attribute_failure(context: RunContext, row: Row, death: Death, paths: list[str] | None) -> Result:
    """Write the error of the row that caused the death of a worker or passed its time-out; return it."""
    outcome: Outcome
    if death.was_late:
        outcome, error_type = "timeout", "Timeout"
        message = f"ran past its TIMEOUT of {context.spec.cells[row[1]].timeout:g} s"
    else:
        outcome, error_type, message = "error", "WorkerDied", how_it_ended(death.code)
    return context.fail(
        row,
        outcome,
        message + describe_moved_inputs(death.moved_inputs),
        error_type=error_type,
        seconds=death.seconds,
        attempts=death.attempt,
        output=death.output,
        paths=paths,
    )


def how_it_ended(code: int) -> str:
    """Describe the end of a process in a clause.

    Example:
        >>> how_it_ended(3)
        'ended its process with exit code 3'
    """
    if code == CLOSED:
        return "closed files of its process that it did not open"
    if code >= 0:
        return f"ended its process with exit code {code}"
    name = (signal.strsignal(-code) or "unknown").lower()
    hint = "; the system does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"killed its process (signal {-code}, {name}{hint})"
