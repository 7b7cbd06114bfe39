"""Execution of a run on this machine, in its four stages; a flow has the same stages (see `flows.flow`).

1. Plan: `planning.planner` decides for each selected row whether it runs. Nothing is written yet.
2. Claim: `claim` takes the rows that no live run holds (see `claimed_runs`, and `journal.claims`). From now on a
   thread renews the lease of the claim.
3. Run: an executor runs the rows phase by phase. Workers write the journal and publish outputs; results come back
   to `note`.
4. Report: at its end the claimed run reports, and gives the rows back.

If the lease is lost and another run takes the rows, the executor stops.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeAlias

from sinagot_catalog.journal import RunReport
from sinagot_catalog.run.claimed_runs.claimed_run import claim
from sinagot_catalog.run.main_process import MainProcess
from sinagot_catalog.run.planning.request import plan
from sinagot_catalog.run.workers.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sinagot_catalog.catalog import Query, Session
    from sinagot_catalog.journal import Result
    from sinagot_catalog.run.claimed_runs.claimed_run import ClaimedRun
    from sinagot_catalog.run.executor import Executor
    from sinagot_catalog.run.options import RunOptions

    Observer: TypeAlias = Callable[[ClaimedRun, Executor], AbstractContextManager[None]]


def run(
    source: Session,
    query: Query,
    options: RunOptions,
    *,
    progress: bool | None = None,
    watch: Callable[[list[Result]], None] | None = None,
    observer: Observer | None = None,
) -> RunReport:
    """Plan, claim and run the steps of a selection in this process and its workers.

    If the listing is too large to hold, the run goes through ranges of records, and each range is a run of its own.

    Args:
        source: The session of the workspace.
        query: The selection.
        options: The options of the run.
        progress: Whether to show a bar; see `open_progress`.
        watch: Receives results as they come.
        observer: Opens a context around the running rows; it may stop the executor.
    """
    if not source.ranges:
        return _run_at_once(source, query, options, progress=progress, watch=watch, observer=observer)
    reports: list[RunReport] = []
    for session in source.ranges.sessions(query, is_fresh=True):
        report = _run_at_once(session, query, options, progress=progress, watch=watch, observer=observer)
        reports.append(report)
        options = options.after(len(report))
        if options.limit == 0 or report.counts().get("cancelled"):
            break
    source.refresh()
    return RunReport.joined(reports)


def _run_at_once(
    source: Session,
    query: Query,
    options: RunOptions,
    *,
    progress: bool | None,
    watch: Callable[[list[Result]], None] | None,
    observer: Observer | None,
) -> RunReport:
    """Plan, claim and run steps that one look holds."""
    run_plan = plan(source, query, options)
    executor = local_executor(source, options)
    try:
        if isinstance(executor, Pool) and not run_plan.needs:  # else each row decides what its worker is like
            executor.start_workers(run_plan.n_run)  # they start while the rows are claimed
        with claim(source, query, run_plan, options) as claimed:
            claimed.use(executor)
            if claimed.n_rows:
                with nullcontext() if observer is None else observer(claimed, executor):
                    _run(claimed, executor, progress=progress, watch=watch)
    finally:
        executor.close()  # also if the claim failed
    claimed.check_held()
    return claimed.finish()


def local_executor(source: Session, options: RunOptions, most: int | None = None) -> Pool | MainProcess:
    """The executor of a run on this machine.

    Args:
        source: The session of the workspace.
        options: The options of the run.
        most: The largest number of workers that is of use.
    """
    config = source.config
    if options.local_mode(config) == "main_process":
        return MainProcess()
    workers = options.most_workers(config)
    return Pool(
        workers if most is None else min(workers, most), threads_per_worker=config.run.threads_per_worker
    )


def _run(
    claimed: ClaimedRun,
    executor: Pool | MainProcess,
    *,
    progress: bool | None,
    watch: Callable[[list[Result]], None] | None,
) -> None:
    """Run the claimed rows, and show the progress."""
    from sinagot_catalog.run.progress import open_progress

    with open_progress(claimed, claimed.source.config, progress=progress) as bar:

        def note(results: list[Result]) -> None:
            claimed.note(results)
            bar.note(results)
            if watch is not None:
                watch(results)

        with executor.start(claimed.setup(bar.console)):
            for phase in claimed.phases_in_turn(note):
                executor.run(phase, note)
