"""An active run: the state of a running flow run in this process, shared by its flow, task runs and handle.

A flow and its task runs have JSON parameters only. They find their active run in a context variable: the thread
that drives the flow sets it, and Prefect runs task runs in copies of the flow's context.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from sys import intern
from typing import Any, Literal, TypeAlias

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from sinagot_catalog.config import count_of
from sinagot_catalog.flows.batches import BatchSizer
from sinagot_catalog.journal import Group, Result
from sinagot_catalog.run import ClaimedRun, Executor
from sinagot_catalog.schema import FAILED_OUTCOMES

Logger: TypeAlias = logging.Logger | logging.LoggerAdapter[Any]

_MOST_LOGGERS = 20_000
_DONE = ("done", "already_done")


@dataclass
class ActiveRun:
    """A run that is running in this process, shared by the flow, its task runs and the handle.

    Attributes:
        claimed: The claimed run.
        stop: Set to end the run early.
        executor: The executor of its rows.
        error: The error of the run itself, not of a row.
        is_fed: Whether the executor has started, so that rows can run.
        batch_sizer: Sizes the batches, and learns from their times.
        waiting: Number of batches that wait for a retry, and for a slot of the concurrency limit.
        started: Callback; the flow calls it with the id of its flow run when it starts.
    """

    claimed: ClaimedRun
    executor: Executor
    stop: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    started: Callable[[str], None] = lambda _: None
    is_fed: bool = False
    waiting: Counter[Literal["retry", "slot"]] = field(default_factory=Counter)
    batch_sizer: BatchSizer = field(default_factory=lambda: BatchSizer(0))
    _outcomes: list[str | None] = field(init=False)
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loggers: dict[str, Logger] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._outcomes = [None] * self.claimed.plan.rows.height

    @property
    def done(self) -> int:
        """Number of rows that have ended."""
        return sum(self._counts.values()) - self._counts["cancelled"]

    @property
    def is_cancelled(self) -> bool:
        """Whether the user, or an error of the run itself, ended it early."""
        return self.stop.is_set() and self.claimed.failure_limit.sentence is None

    @property
    def failed(self) -> int:
        """Number of rows that failed so far."""
        return sum(self._counts[outcome] for outcome in FAILED_OUTCOMES)

    def note(self, results: list[Result]) -> None:
        """Record the results of a batch; callable from any thread. The latest result of a row counts."""
        self.claimed.note(results)
        if self.claimed.failure_limit.sentence is not None:
            self.stop.set()  # submit no further batch
        with self._lock:
            for result in results:
                if (before := self._outcomes[result.row]) is not None:
                    self._counts[before] -= 1
                self._outcomes[result.row] = intern(result.outcome)  # results hold a text each
                self._counts[result.outcome] += 1

    def log_to(self, logger: Logger, groups: Sequence[Group]) -> None:
        """Send the log lines of a batch to the logger of its task run; only the latest rows are kept in memory."""
        cells = self.claimed.spec.cells
        with self._lock:
            for group in groups:
                for _, number, record in group:
                    self._loggers[f"{record} | {cells[number].full_name}"] = logger
            for oldest in list(islice(self._loggers, max(len(self._loggers) - _MOST_LOGGERS, 0))):
                del self._loggers[oldest]

    def logger_of(self, line: str) -> Logger | None:
        """The logger of the task run that a log line `record | step | text` belongs to."""
        return self._loggers.get(" | ".join(line.split(" | ", 2)[:2]))

    def unfinished(self, groups: Sequence[Group]) -> list[Group]:
        """The rows of some groups that are not done: a retry of a batch leaves out the rows that are done."""
        unfinished = [[row for row in group if self._outcomes[row[0]] not in _DONE] for group in groups]
        return [group for group in unfinished if group]

    def outcomes(self, groups: Sequence[Group]) -> list[tuple[int, str]]:
        """The outcomes of the rows of some groups; of a row without a result, `cancelled`."""
        return [(row[0], self._outcomes[row[0]] or "cancelled") for group in groups for row in group]

    def counts(self, groups: Sequence[Group]) -> Counter[str]:
        """Number of rows of some groups per outcome."""
        return Counter(outcome for _, outcome in self.outcomes(groups))

    def rest(self, seconds: float) -> None:
        """Wait before a retry of a batch; other batches may run meanwhile, and a cancel ends the wait."""
        with self.waiting_for("retry"):
            self.stop.wait(seconds)

    @contextmanager
    def waiting_for(self, what: Literal["retry", "slot"]) -> Iterator[None]:
        """Count a batch as waiting."""
        with self._lock:
            self.waiting[what] += 1
        try:
            yield
        finally:
            with self._lock:
                self.waiting[what] -= 1

    def fail(self, error: Exception) -> None:
        """End the run with an error of the run itself, not of a row."""
        with self._lock:
            self.error = self.error or error
        self.cancel()

    def cancel(self) -> None:
        """Feed no more rows and end the scripts that run."""
        self.stop.set()
        self.executor.stop()


_CURRENT: ContextVar[ActiveRun | None] = ContextVar("sinagot_active_run", default=None)


def current(run_id: str | None) -> ActiveRun | None:
    """The active run of this context, if it has that name: a flow within the flow of another run finds nothing."""
    active = _CURRENT.get()
    return active if active is not None and active.claimed.run_id == run_id else None


@contextmanager
def as_current(active: ActiveRun) -> Iterator[None]:
    """Make a run the active run of this context."""
    token = _CURRENT.set(active)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def state_of(counts: Mapping[str, int], *, cancelled: bool) -> State[Any]:
    """Make the final state, without data: Prefect prints the data of a Failed state into the log."""
    total = sum(counts.values())
    failed = sum(counts.get(outcome, 0) for outcome in FAILED_OUTCOMES)
    if cancelled:
        done = counts.get("done", 0)
        return Cancelled(
            message=f"{done} of {count_of(total, 'row')} done" + (f", {failed} failed" if failed else "")
        )
    if failed:
        return Failed(message=f"{failed} of {count_of(total, 'row')} failed")
    if left := counts.get("cancelled", 0):
        return Failed(message=f"{left} of {count_of(total, 'row')} were not run")  # nobody cancelled them
    done = counts.get("done", 0)
    others = [f"{n} {name.replace('_', ' ')}" for name, n in sorted(counts.items()) if n and name != "done"]
    return Completed(message=", ".join([f"{count_of(done, 'row')} done", *others]))
