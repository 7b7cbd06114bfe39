"""The flow over the rows of a workspace, and the task runs that it cuts them into."""

import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, cast

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from sinagot_catalog._execution import prepare
from sinagot_catalog._spec import Group
from sinagot_catalog.errors import ServerError, SinagotError
from sinagot_catalog.flows._live import FAILED, LIVE, Live, in_words, known, state_of
from sinagot_catalog.flows._lost import clear_lost
from sinagot_catalog.flows._made_for import made_for
from sinagot_catalog.flows._page import rename, short, show_failures, watched

__all__ = ["MOST_TASK_RUNS", "ROWS_A_BATCH", "batches", "run_workspace"]

ROWS_A_BATCH = 100
"""A task run costs some 4.5 ms: spread over a hundred rows that is little."""
MOST_TASK_RUNS = 1_000
"""What a page, and the server's database, show and hold with ease."""


def _name_of_flow_run() -> str:
    """What a run is called: its label or, as long as its rows are not known, what was asked for."""
    parameters = runtime.flow_run.parameters
    if live := LIVE.get(parameters.get("run_id") or ""):
        return live.execution.label
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
    step: str | None = None,
    force: bool = False,  # noqa: FBT001, FBT002
    ignore_missing: bool = False,  # noqa: FBT001, FBT002
    downstream: bool = False,  # noqa: FBT001, FBT002
    stale: bool | None = None,  # noqa: FBT001
    workers: int | None = None,
    limit: int | None = None,
    config: list[str] | None = None,
    batch: int | None = None,
    run_id: str | None = None,
) -> State[Any]:
    """Run the rows of a workspace that a filter selects, or those of a file.

    Args:
        workspace: Folder or URL of the workspace.
        where: A filter over the steps, in SQL; it is evaluated when the run begins.
        rows: A selection that was kept beside the journal, or by hand the path of any Parquet file with rows;
            without it and `where`, all rows that can run.
        step: Only the rows of this step.
        force: Also the rows that are done.
        ignore_missing: Also the rows that miss an input.
        downstream: Also the rows that become ready by this run.
        stale: Also the rows that are stale; by default as `[run] rerun_on` says.
        workers: How many processes run scripts.
        limit: How many rows to run at most.
        config: Further configuration files, over the one of the workspace.
        batch: Rows in a task run.
        run_id: A run that was planned in this process.

    Returns:
        Completed, Failed ("3 of 100 rows failed") or Cancelled.
    """
    live = LIVE.get(run_id or "")
    if live is None:
        options = {"force": force, "ignore_missing": ignore_missing, "downstream": downstream, "stale": stale}
        try:
            execution = prepare(
                workspace,
                where=where,
                rows=rows,
                step=step,
                workers=workers,
                limit=limit,
                config=config,
                deployed=made_for(),
                **options,
            )
        except SinagotError as error:
            return Failed(message=str(error))  # a sentence for people: a traceback would only hide it
        live = Live(execution)
        rename(execution.label)
        clear_lost(execution.source)
    execution = live.execution
    execution.keep_report(runtime.flow_run.id, ended=False)
    live.started()
    try:
        with known(live), execution.open_runner() as runner, watched(live):
            live.opened(runner)
            for phase in execution.phases:
                size = batch or execution.source.config.prefect.batch
                _feed(live, batches(phase, size=size, workers=execution.workers))
    except Exception as error:
        live.error = error
        raise
    finally:
        live.report = execution.finish()
        execution.keep_report(runtime.flow_run.id, ended=True)
    return _conclude(live, workspace)


@task(
    name="rows",
    task_run_name="{label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
def run_rows(label: str, run_id: str, rows: str) -> State[Any]:  # noqa: ARG001 - the label is the name
    """Run one batch of rows on the pool of this process.

    Args:
        label: What the batch holds, in words.
        run_id: The run that it belongs to.
        rows: The groups of rows, as JSON: one text, for Prefect looks through anything else for futures.

    Returns:
        Completed, Failed ("2 of 100 rows failed") or Cancelled.
    """
    live = LIVE[run_id]
    if live.runner is None:
        raise ServerError(f"Run {run_id} is over")
    groups: list[Group] = [[(row, cell, record) for row, cell, record in group] for group in json.loads(rows)]
    results = live.runner.run_batch(groups)
    live.note(results)
    return state_of(Counter(result.outcome for result in results), cancelled=live.stop.is_set())


def batches(phase: Iterable[Group], *, size: int | None, workers: int) -> list[list[Group]]:
    """Cut the groups of a phase into what a task run takes each.

    Args:
        phase: The groups; none of them is ever cut.
        size: Rows in a batch; without it as many as keep all workers busy to the end, but no more than
            `ROWS_A_BATCH`.
        workers: How many batches run at a time.

    Returns:
        The batches, `MOST_TASK_RUNS` at most.

    Example:
        >>> groups = [[(n, 0, f"R{n}"), (n + 1, 1, f"R{n}")] for n in range(0, 6, 2)]
        >>> [len(batch) for batch in batches(groups, size=4, workers=2)]
        [2, 1]
    """
    groups = list(phase)
    total = sum(map(len, groups))
    fitting = size or min(ROWS_A_BATCH, -(-total // max(4 * workers, 1)))
    least = max(fitting, -(-total // MOST_TASK_RUNS), 1)
    cut: list[list[Group]] = []
    room = 0
    for group in groups:
        if room <= 0:
            cut.append([])
            room = least
        cut[-1].append(group)
        room -= len(group)
    return cut


def _feed(live: Live, todo: list[list[Group]]) -> None:
    """Submit batches, only a few more than can run, until all are done or the run is stopped."""
    waiting = deque(todo)
    ended: SimpleQueue[Any] = SimpleQueue()
    under_way = 0
    while under_way or (waiting and not live.stop.is_set()):
        if waiting and under_way < live.execution.workers + 2 and not live.stop.is_set():
            groups = waiting.popleft()
            future = run_rows.submit(_label(groups), live.execution.run_id, json.dumps(groups))
            future.add_done_callback(ended.put)
            under_way += 1
            continue
        with suppress(Empty):
            ended.get(timeout=1.0)
            under_way -= 1
    if waiting and live.runner is not None:
        # A runner that was stopped begins nothing: it writes down that these rows were cancelled.
        live.note(live.runner.run_batch([group for groups in waiting for group in groups]))


def _label(groups: Sequence[Group]) -> str:
    rows = sum(map(len, groups))
    first, last = groups[0][0][2], groups[-1][-1][2]
    span = first if first == last else f"{first} … {last}"
    return f"{span} · {in_words(rows)}"


def _conclude(live: Live, workspace: str) -> State[Any]:
    """Say in the page how it ended."""
    report = live.report
    if report is None:
        return Failed(message="The run gave no report")
    counts = report.counts()
    if any(counts.get(outcome) for outcome in FAILED):
        show_failures(report, workspace)
    return state_of(counts, cancelled=live.stop.is_set())
