"""A run that is under way in this process: shared by its flow, its task runs and its handle."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from sinagot_catalog._execution import Execution
from sinagot_catalog._pool import Runner
from sinagot_catalog._spec import Result
from sinagot_catalog.run_report import RunReport

__all__ = ["FAILED", "LIVE", "Live", "in_words", "known", "state_of"]

FAILED = ("error", "timeout", "blocked")


@dataclass
class Live:
    """A run that is under way in this process, shared by the flow, its task runs and the handle.

    Attributes:
        execution: What is run.
        stop: Set to end it early.
        runner: The pool, once it is open.
        report: How it ended, once it has.
        error: What went wrong with the run itself.
        is_fed: Whether the flow got as far as its rows.
        started: Called in the first lines of the flow.
    """

    execution: Execution
    stop: threading.Event = field(default_factory=threading.Event)
    runner: Runner | None = None
    report: RunReport | None = None
    error: Exception | None = None
    started: Callable[[], None] = lambda: None
    is_fed: bool = False
    done: int = 0
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, results: list[Result]) -> None:
        """Keep what a batch gave; any thread may call it."""
        self.execution.note(results)
        with self._lock:
            self.done += sum(result.outcome != "cancelled" for result in results)
            self.failed += sum(result.outcome in FAILED for result in results)

    def opened(self, runner: Runner) -> None:
        """Take the pool; a cancel that came before it counts."""
        self.runner, self.is_fed = runner, True
        if self.stop.is_set():
            runner.stop()

    def cancel(self) -> None:
        """Feed no more rows and end the scripts that run."""
        self.stop.set()
        if self.runner is not None:
            self.runner.stop()


LIVE: dict[str, Live] = {}
"""By run id: how a flow and its task runs find what was planned before the flow began."""


@contextmanager
def known(live: Live) -> Iterator[None]:
    LIVE[live.execution.run_id] = live
    try:
        yield
    finally:
        LIVE.pop(live.execution.run_id, None)


def state_of(counts: Mapping[str, int], *, cancelled: bool) -> State[Any]:
    """A state without data: what a Failed state carries is printed into the log."""
    total = sum(counts.values())
    failed = sum(counts.get(outcome, 0) for outcome in FAILED)
    if cancelled:
        done = counts.get("done", 0)
        return Cancelled(
            message=f"{done} of {in_words(total)} done" + (f", {failed} failed" if failed else "")
        )
    if failed:
        return Failed(message=f"{failed} of {in_words(total)} failed")
    done = counts.get("done", 0)
    others = [f"{n} {name.replace('_', ' ')}" for name, n in sorted(counts.items()) if n and name != "done"]
    return Completed(message=", ".join([f"{in_words(done)} done", *others]))


def in_words(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"
