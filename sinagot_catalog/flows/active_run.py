"""An active run: the state of a running flow run in this process, shared by its flow, task runs and handle."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from sinagot_catalog.flows.batches import BatchSizer
from sinagot_catalog.journal import Group, Result, RunReport
from sinagot_catalog.run import Execution, Runner, in_words
from sinagot_catalog.schema import FAILED_OUTCOMES, OUTCOMES

__all__ = ["LIVE", "ActiveRun", "known", "state_of"]

_DONE = ("done", "already_done")
_OUTCOMES = (None, *OUTCOMES)
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}


@dataclass
class ActiveRun:
    """A run that is running in this process, shared by the flow, its task runs and the handle.

    Attributes:
        execution: The planned and claimed run.
        stop: Set to end the run early.
        runner: The runner, once it is open.
        report: The report, once the run has ended.
        error: The error of the run itself, not of a row.
        is_fed: Whether the flow has opened its runner, so that rows can run.
        cutter: Sizes the batches, and learns from their times.
        resting: Number of batches that wait for a retry.
        started: Callback; the flow calls it when it starts.
    """

    execution: Execution
    stop: threading.Event = field(default_factory=threading.Event)
    runner: Runner | None = None
    report: RunReport | None = None
    error: Exception | None = None
    started: Callable[[], None] = lambda: None
    is_fed: bool = False
    resting: int = 0
    cutter: BatchSizer = field(default_factory=lambda: BatchSizer(0))
    _codes: bytearray = field(init=False)  # a byte per row: a dict takes a hundred times the memory
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._codes = bytearray(self.execution.plan.rows.height)

    @property
    def width(self) -> int:
        """Number of batches that can run at a time."""
        return self.execution.workers if self.runner is None else self.runner.width

    @property
    def done(self) -> int:
        """Number of rows that have ended."""
        return sum(self._counts.values()) - self._counts["cancelled"]

    @property
    def failed(self) -> int:
        """Number of rows that failed so far."""
        return sum(self._counts[outcome] for outcome in FAILED_OUTCOMES)

    def note(self, results: list[Result]) -> None:
        """Record the results of a batch; callable from any thread. The latest result of a row counts."""
        self.execution.note(results)
        with self._lock:
            for one in results:
                if (before := self._outcome(one.row)) is not None:
                    self._counts[before] -= 1
                self._codes[one.row] = _CODES[one.outcome]
                self._counts[one.outcome] += 1

    def _outcome(self, row: int) -> str | None:
        return _OUTCOMES[self._codes[row]]

    def unfinished(self, groups: Sequence[Group]) -> list[Group]:
        """The rows of some groups that are not done: a retry of a batch leaves out the rows that are done."""
        kept = [[row for row in group if self._outcome(row[0]) not in _DONE] for group in groups]
        return [group for group in kept if group]

    def counts(self, groups: Sequence[Group]) -> Counter[str]:
        """Number of rows of some groups per outcome."""
        return Counter(self._outcome(row[0]) or "cancelled" for group in groups for row in group)

    def rest(self, seconds: float) -> None:
        """Wait before a retry of a batch; other batches may run meanwhile, and a cancel ends the wait."""
        with self._lock:
            self.resting += 1
        self.stop.wait(seconds)
        with self._lock:
            self.resting -= 1

    def opened(self, runner: Runner) -> None:
        """Set the runner; stop it at once if the run was cancelled before."""
        self.runner, self.is_fed = runner, True
        if self.stop.is_set():
            runner.stop()

    def fail(self, error: Exception) -> None:
        """End the run with an error of the run itself, not of a row."""
        with self._lock:
            self.error = self.error or error
        self.cancel()

    def cancel(self) -> None:
        """Feed no more rows and end the scripts that run."""
        self.stop.set()
        if self.runner is not None:
            self.runner.stop()


LIVE: dict[str, ActiveRun] = {}
"""Active runs by run id: here a flow and its task runs find the run that was planned before the flow began."""


@contextmanager
def known(live: ActiveRun) -> Iterator[None]:
    """Register an active run while its flow is running."""
    LIVE[live.execution.run_id] = live
    try:
        yield
    finally:
        LIVE.pop(live.execution.run_id, None)


def state_of(counts: Mapping[str, int], *, cancelled: bool) -> State[Any]:
    """Make the final state, without data: Prefect prints the data of a Failed state into the log."""
    total = sum(counts.values())
    failed = sum(counts.get(outcome, 0) for outcome in FAILED_OUTCOMES)
    if cancelled:
        done = counts.get("done", 0)
        return Cancelled(
            message=f"{done} of {in_words(total)} done" + (f", {failed} failed" if failed else "")
        )
    if failed:
        return Failed(message=f"{failed} of {in_words(total)} failed")
    if left := counts.get("cancelled", 0):
        return Failed(message=f"{left} of {in_words(total)} were not run")  # nobody cancelled them
    done = counts.get("done", 0)
    others = [f"{n} {name.replace('_', ' ')}" for name, n in sorted(counts.items()) if n and name != "done"]
    return Completed(message=", ".join([f"{in_words(done)} done", *others]))
