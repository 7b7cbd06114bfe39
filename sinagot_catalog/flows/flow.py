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
from queue import Empty, SimpleQueue
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_client, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from sinagot_catalog.catalog import Session
from sinagot_catalog.errors import RunError, ServerError, SinagotError
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
from sinagot_catalog.flows.concurrency import ask_limit, slot
from sinagot_catalog.flows.deployment_params import made_for
from sinagot_catalog.flows.lost_runs import clear_lost, under_way
from sinagot_catalog.flows.monitor import monitored
from sinagot_catalog.flows.prepare import executor_of, prepare
from sinagot_catalog.flows.stored_run import store_report
from sinagot_catalog.run import Phase
from sinagot_catalog.schema import FAILED_OUTCOMES

__all__ = ["run_workspace"]

_AHEAD = 2
"""Number of batches submitted in advance, so that no worker waits for a batch."""


def _name_of_flow_run() -> str:
    """The name of a flow run: the label of the run or, before its rows are known, its parameters."""
    parameters = runtime.flow_run.parameters
    if active := current(parameters.get("run_id")):
        return active.claimed.label
    parts = [short(parameters.get("workspace", "")), parameters.get("step"), parameters.get("where")]
    return " · ".join(str(part) for part in parts if part)


@flow(
    name="run-workspace",
    flow_run_name=_name_of_flow_run,
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
) -> State[Any]:
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

    Returns:
        Completed, Failed ("3 of 100 rows failed") or Cancelled.
    """
    active = current(run_id)
    if active is None:
        options = {
            "force": force,
            "ignore_missing": ignore_missing,
            "downstream": downstream,
            "upstream": upstream,
            "stale": stale,
        }
        try:
            claimed = prepare(
                workspace,
                where=where,
                rows=rows,
                step=step,
                workers=workers,
                limit=limit,
                stop_after=stop_after,
                part=part,
                config=config,
                since=since_retry() if force else None,
                deployed=made_for(),
                flow_run_id=runtime.flow_run.id,
                **options,
            )
            ask_limit(claimed)
        except SinagotError as error:
            return Failed(message=str(error))  # the message is enough: a traceback would hide it
        active = ActiveRun(claimed, executor_of(claimed))
        rename(claimed.label, tags_of(claimed))
        _clear_lost(claimed.source)
    claimed = active.claimed
    store_report(claimed, runtime.flow_run.id, runtime.flow_run.run_count, ended=False)
    active.started()
    try:
        with as_current(active), active.executor, monitored(active):
            active.opened()
            _run(active, batch)
    except Exception as error:
        active.error = error
        if not isinstance(error, SinagotError):
            raise
    finally:
        active.report = claimed.finish()
        store_report(claimed, runtime.flow_run.id, runtime.flow_run.run_count, ended=True)
    state = Failed(message=str(active.error)) if active.error is not None else _conclude(active, workspace)
    if state.is_failed() and _is_tried_again():
        raise RunError(state.message or "The run failed")  # Prefect retries here only after an exception
    return state


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
    deployment_id = runtime.deployment.id
    if deployment_id is None:
        return
    try:
        with get_client(sync_client=True) as client:
            clear_lost(client, source, under_way(client, UUID(str(deployment_id))))
    except Exception as error:  # noqa: BLE001 - the rows can run anyway
        get_run_logger().warning("Lost runs of the deployment could not be looked for: %s", error)


def _is_tried_again() -> bool:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return (
        context is not None
        and run is not None
        and run.run_count <= (context.flow.retries if context.flow else 0)
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
    waiting, left = iter(phase), len(phase)
    ended: SimpleQueue[Any] = SimpleQueue()
    claimed = active.claimed
    # No tags: for each tag of a task run, Prefect requests a slot from the API and holds it with another thread.
    run = run_rows.with_options(retries=claimed.source.config.prefect.retries)
    under_way = 0
    while under_way or (left and not active.stop.is_set()):
        room = active.width + _AHEAD + active.resting - under_way
        if left and room > 0 and not active.stop.is_set():
            groups = active.batch_sizer.cut(waiting, active.width)
            left -= len(groups)
            future = run.submit(claimed.label_of(groups), claimed.run_id, json.dumps(groups))
            future.add_done_callback(ended.put)
            under_way += 1
            continue
        with suppress(Empty):
            ended.get(timeout=1.0)
            under_way -= 1
    if left:
        # A stopped executor begins no row: it returns these rows as cancelled.
        active.note(active.executor.run_batch(list(waiting)))


def _conclude(active: ActiveRun, workspace: str) -> State[Any]:
    """Show summary and failures on Prefect's page, and return the final state."""
    report = active.report
    if report is None:
        return Failed(message="The run gave no report")
    counts = report.counts()
    show_summary(report, workspace, active.claimed.source.config.prefect.report_url)
    if any(counts.get(outcome) for outcome in FAILED_OUTCOMES):
        options = active.claimed.options
        show_failures(report, workspace, force=options.force, stale=bool(options.stale))
    return state_of(counts, cancelled=active.is_cancelled)
