"""The flow over the rows of a workspace, and its task runs, which run batches of rows.

The course of a flow run:

1. Plan and claim. A run of this process was planned before (`submission`), and the flow finds it in its context
   (`active_run.current`). Any other flow run plans itself (`prepare`): it checks that the worker may run the
   workspace, and stores its rows in `LOG`, so that a retry has the same rows.
2. Announce. `store_report(ended=False)` stores an empty report with the run's name in `LOG`, so that other
   processes find the claim of the flow run (see `remote_run`, `lost_runs`).
3. Run. The flow hands each phase as batches to its executor (`prepare.executor_of`: the local pool, this process,
   or a cluster); each batch is a task run (`run_rows`). A retry of a task run leaves out the rows that are done. A
   thread (`monitor.monitored`) looks for a cancel on the page, shows the progress and relays log lines.
4. Report. `ClaimedRun.finish` reports and releases the rows, `store_report(ended=True)` stores the report, and the
   flow returns a state: Completed, Failed or Cancelled.
"""

import json
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, cast

import prefect
from prefect import flow, get_client, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from sinagot_catalog.catalog import Session
from sinagot_catalog.errors import RunError, ServerError, SinagotError, UsageError
from sinagot_catalog.flows.active_run import ActiveRun, as_current, current, state_of
from sinagot_catalog.flows.artifacts import (
    rename,
    short,
    show_failures,
    show_summary,
    since_retry,
    tags_of,
)
from sinagot_catalog.flows.batches import BatchSizer
from sinagot_catalog.flows.concurrency import check_limit, slot
from sinagot_catalog.flows.deployments.deployment_params import deployment_parameters, own_deployment
from sinagot_catalog.flows.lost_runs import clear_lost, under_way
from sinagot_catalog.flows.monitor import monitored, own_logger
from sinagot_catalog.flows.prepare import executor_of, prepare, texts_of
from sinagot_catalog.flows.stored_run import store_report
from sinagot_catalog.journal import Group, RunReport
from sinagot_catalog.run import Phase, check_count
from sinagot_catalog.worker import interrupts_deferred

_RETRIES_NEED_ERRORS = tuple(map(int, prefect.__version__.split(".")[:2])) < (3, 9)
"""Whether this Prefect retries a flow only after an exception, and not after a state of type Failed."""

_AHEAD = 2
"""Number of batches submitted in advance, so that no worker waits for a batch."""


@flow(
    name="run-workspace",
    task_runner=cast("Any", ThreadPoolTaskRunner()),
    persist_result=False,
    validate_parameters=False,
    retries=0,
)
def run_workspace(  # noqa: PLR0917 - parameters of a flow are given by name
    workspace: str,
    where: str | None = None,
    rows: str | None = None,
    step: str | list[str] | None = None,
    force: bool = False,  # noqa: FBT001, FBT002
    ignore_missing: bool = False,  # noqa: FBT001, FBT002
    downstream: bool = False,  # noqa: FBT001, FBT002
    stale: bool | str | None = None,  # noqa: FBT001
    workers: int | None = None,
    limit: int | None = None,
    stop_after: int | None = None,
    config: list[str] | None = None,
    batch: int | None = None,
    run_id: str | None = None,
    upstream: bool = False,  # noqa: FBT001, FBT002
    part: str | None = None,
    record_id: str | list[str] | None = None,
) -> RunReport:
    """Run the rows of a workspace that a filter selects, or those of a file.

    Args:
        workspace: Folder or URL of the workspace.
        where: A filter over the steps, in SQL; it is evaluated when the run begins.
        rows: A stored selection in `LOG`, or the path of any Parquet file with rows if you call the flow directly;
            without it and `where`, all rows that can run.
        step: Only the rows of this step, or of these steps.
        force: Also the rows that are done.
        ignore_missing: Also the rows that lack an input.
        downstream: Also the rows that become ready by this run.
        stale: Also the rows that are stale; with `code`, also by a changed script. By default `[run] rerun_on`
            decides.
        workers: Number of processes that run scripts.
        limit: The most rows to run.
        stop_after: Number of failures of one kind that end the run.
        config: Further configuration files, merged over the config of the workspace.
        batch: Rows in a task run.
        run_id: A run that was planned in this process.
        upstream: Also the rows that make missing inputs of these rows.
        part: Only the records of this part, such as `3/8`; `last` has the rows that belong to no part.
        record_id: Only the rows of this record, or of these records.

    Returns:
        The report. With `return_state=True` the state: Completed, Failed ("3 of 100 rows failed") or Cancelled.

    Raises:
        RunError: Rows failed; its `report` has the outcome of each row.
        UsageError: The run cannot start.
    """
    options = {name: value for name, value in locals().items() if name not in ("batch", "run_id")}
    active = current(run_id)
    if active is None:
        try:
            _check_task_runner()
            check_count("batch", batch)
            options |= texts_of(workspace, where, rows, config)
            workspace = options["workspace"]
            claimed = prepare(
                **options,
                since=since_retry() if force else None,
                deployed=deployment_parameters(),
                flow_run_id=runtime.flow_run.id,
            )
            check_limit(claimed)  # before a report is stored: who waits for the flow run gets the error
        except SinagotError as error:
            rename(" · ".join([short(str(workspace)), *([str(where)] if where is not None else [])]))
            return _as_report(Failed(message=str(error), data=error))
        active = ActiveRun(claimed, executor_of(claimed))
        _clear_lost(claimed.source)
    claimed = active.claimed
    rename(claimed.label, tags_of(claimed))
    store_report(claimed, runtime.flow_run.id, runtime.flow_run.run_count, ended=False)
    active.started(runtime.flow_run.id)
    try:
        with as_current(active), active.executor, monitored(active):
            active.is_fed = True
            _run(active, batch)
    except Exception as error:
        active.error = error
        if not isinstance(error, SinagotError):
            raise
    except BaseException:  # the time of a flow around this one is over, or its process must end
        active.cancel()
        raise
    finally:
        with interrupts_deferred():
            report = replace(claimed.finish(), flow_run_id=runtime.flow_run.id)
            store_report(claimed, runtime.flow_run.id, runtime.flow_run.run_count, ended=True)
    state = _conclude(active, report, workspace)
    if _RETRIES_NEED_ERRORS and _context().flow.retries:
        # Prefect would raise the error of an early attempt in the end if a later attempt returned a state.
        if state.is_failed():
            raise RunError(state.message or "The run failed", report=report)
        if state.is_completed():
            return report
    return _as_report(state)


def _as_report(state: State[Any]) -> RunReport:
    """Return a state from the flow: Prefect hands the data of the state, a report or an error, to the caller."""
    return cast("RunReport", state)


def _run(active: ActiveRun, size: int | None) -> None:
    """Run all phases as task runs.

    Args:
        active: The run.
        size: Rows in a task run; by default the config decides, or the times of the rows.
    """
    claimed = active.claimed
    active.batch_sizer = BatchSizer(
        claimed.n_rows,
        phases=len(claimed.phases),
        size=size or claimed.source.config.prefect.batch,
        seconds=claimed.seconds,
    )
    for phase in claimed.phases_in_turn(active.note):
        _feed(active, phase)


def _clear_lost(source: Session) -> None:
    """Free the slots of the deployment that lost runs hold; an error here does not stop the run."""
    deployment_id = own_deployment()
    if deployment_id is None:
        return
    try:
        with get_client(sync_client=True) as client:
            clear_lost(client, source, under_way(client, deployment_id))
    except Exception as error:  # noqa: BLE001 - the rows can run anyway
        own_logger().warning("Lost runs of the deployment could not be looked for: %s", error)


def _context() -> Any:
    return FlowRunContext.get()


def _check_task_runner() -> None:
    """Check that the task runner of this flow run can serve it.

    Raises:
        UsageError: It sends task runs to other processes, which do not have the claimed rows.
    """
    runner = _context().task_runner
    if not isinstance(runner, ThreadPoolTaskRunner):
        raise UsageError(
            f"task_runner: {type(runner).__name__} cannot run the batches of run_workspace, which need threads of "
            "its process",
            "Leave it out; for a cluster, set [prefect] task_runner in workspace.toml.",
        )


@task(
    name="rows",
    task_run_name="{label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
def run_rows(label: str, run_id: str, rows: str) -> State[Any]:  # noqa: ARG001 - the label is the name
    """Run a batch of rows on the runner of this process.

    Args:
        label: A description of the batch.
        run_id: The run of the batch.
        rows: The groups of rows, as JSON text: Prefect would search a list for futures, which takes time.

    Returns:
        Completed, Failed ("2 of 100 rows failed") or Cancelled.
    """
    active = current(run_id)
    if active is None:
        raise ServerError(f"Run {run_id} is over")
    groups = [[(row, cell, record) for row, cell, record in group] for group in json.loads(rows)]
    if runtime.task_run.run_count > 1:
        # Wait here and not by Prefect's retry delay, which a cancel cannot end.
        active.rest(active.claimed.source.config.prefect.retry_delay)
    todo = active.unfinished(groups)
    active.log_to(get_run_logger(), todo)
    try:
        with slot(active):
            results = active.executor.run_batch(todo) if todo else []
        active.note(results)
        active.claimed.check_held()
    except SinagotError as error:
        active.fail(error)
        return Failed(message=str(error))
    except Exception as error:
        active.fail(error)
        raise
    active.batch_sizer.learn(todo, results)
    return state_of(active.counts(groups), cancelled=active.is_cancelled)


def _feed(active: ActiveRun, phase: Phase) -> None:
    """Submit batches until all are done or the run is stopped; never more than a few ahead of the workers."""
    ended: SimpleQueue[list[Group]] = SimpleQueue()
    claimed = active.claimed
    # No tags: for each tag of a task run, Prefect requests a slot from the API and holds it with another thread.
    run = run_rows.with_options(retries=claimed.source.config.prefect.retries)

    def submit(groups: list[Group]) -> None:
        future = run.submit(claimed.label_of(groups), claimed.run_id, json.dumps(groups))
        future.add_done_callback(lambda _: ended.put(groups))

    under_way = 0
    while under_way or (len(phase) and not active.stop.is_set()):
        room = active.executor.width + _AHEAD + active.waiting["retry"] - under_way
        if room > 0 and not active.stop.is_set():
            groups = active.batch_sizer.cut(iter(phase), active.executor.width)
            if groups:
                submit(groups)
                under_way += 1
                continue
        with suppress(Empty):
            _release(active, phase, ended.get(timeout=1.0))
            under_way -= 1
    while rest := list(phase):
        # A stopped executor begins no row: it returns these rows as cancelled.
        active.note(active.executor.run_batch(rest))
        _release(active, phase, rest)


def _release(active: ActiveRun, phase: Phase, groups: list[Group]) -> None:
    """Release what waits for some groups, whose batch has ended for good."""
    phase.ended(active.outcomes(groups), active.note)


def _conclude(active: ActiveRun, report: RunReport, workspace: str) -> State[Any]:
    """Show summary and failures on Prefect's page, and return the final state."""
    if active.error is not None:
        return Failed(message=str(active.error), data=active.error)
    show_summary(report, workspace, active.claimed.source.config.prefect.report_url)
    if not report.ok:
        options = active.claimed.options
        show_failures(report, workspace, force=options.force, stale=bool(options.stale))
    state = state_of(report.counts(), cancelled=active.is_cancelled)
    if state.is_completed():
        state.data = report
    elif state.is_failed():
        state.data = RunError(
            f"{state.message}: {report.summary()}", "The report of this error has the rows.", report=report
        )
    return state
