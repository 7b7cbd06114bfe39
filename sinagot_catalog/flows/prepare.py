"""Preparation of a run that a flow drives: opens the workspace, plans and claims, and chooses the executor."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import Query, Session, sql_predicate
from sinagot_catalog.cluster import ClusterAddress, ClusterExecutor
from sinagot_catalog.config import check_allowed, read_config
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.flows.stored_run import store_rows
from sinagot_catalog.journal import read_selection
from sinagot_catalog.run import RunOptions, check_rows, claim, listed, local_executor, plan, rows_query
from sinagot_catalog.storage import TextReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sinagot_catalog.run import ClaimedRun, Executor


def texts_of(workspace: Any, where: Any, rows: Any, config: Any) -> dict[str, Any]:
    """Return the texts among the parameters of a flow; who calls it in Python may give paths.

    Raises:
        SelectionError: One is something else.
    """

    def text(name: str, value: Any) -> str:
        try:
            return os.fsdecode(value)
        except TypeError:
            raise SelectionError(
                f"{name}: {type(value).__name__} is neither a path nor a URL", "Give a text or a Path."
            ) from None

    if where is not None and not isinstance(where, str):
        raise SelectionError(
            f"where: a filter is a text in SQL, and no {type(where).__name__}",
            "Rows that an expression selects run by selection.run() or selection.submit().",
        )
    return {
        "workspace": text("workspace", workspace),
        "rows": None if rows is None else text("rows", rows),
        "config": [text("config", file) for file in listed(config)],
    }


def prepare(
    workspace: str,
    *,
    where: str | None = None,
    rows: str | None = None,
    record_id: str | Sequence[str] | None = None,
    config: Sequence[str] | None = None,
    since: datetime | None = None,
    deployed: Mapping[str, Any] | None = None,
    flow_run_id: str | None = None,
    **options: Any,
) -> ClaimedRun:
    """Open a workspace, plan and claim: the start of a flow whose run was not planned in the same process.

    Args:
        workspace: Folder, URL or toml.
        where: A filter over `steps`, in SQL.
        rows: A stored selection in `LOG`; without a deployment also any Parquet file with the keys of rows.
        record_id: Only the rows of these records.
        config: Further config files, merged over the first.
        since: Leave out rows that were done after this time, whatever the other options select.
        deployed: The parameters of the deployment, if the run belongs to one.
        flow_run_id: The flow run that calls this. The first attempt with rows stores them, and a retry runs the
            stored rows: by then the filter may match other rows, because a row that failed has the status `ERROR`.
        options: The fields of `RunOptions`.

    Raises:
        UsageError: This worker does not run that workspace.
    """
    trust = check_allowed(workspace, config or [], deployed)
    source = Session(read_config([workspace, *(config or [])], read_text=TextReader()), trust=trust)
    is_retry = flow_run_id is not None and f"{flow_run_id}.parquet" in source.log_store.names("selections")
    if is_retry:
        where, record_id, rows = None, None, f"selections/{flow_run_id}.parquet"
    query = Query("steps")
    if where:
        query = query.where(sql_predicate(where))
    if record_id is not None:
        ids = rows_query(listed(record_id))
        if ids.rows is not None:
            check_rows(source, ids.rows)
            query = query.where(pl.col("record_id").is_in(ids.rows["record_id"].to_list()))
    if since is not None:
        query = query.where(
            (pl.col("status") != "DONE") | pl.col("ended").is_null() | (pl.col("ended") < since)
        )
    if rows:
        stored = read_selection(source, rows, confined=trust is not None)
        query = replace(query, rows=rows_query(stored).rows)
    wanted = RunOptions(**options)
    claimed = claim(source, query, plan(source, query, wanted), wanted)
    if flow_run_id is not None and not is_retry:
        store_rows(claimed, flow_run_id)
    return claimed


def executor_of(claimed: ClaimedRun, cluster: Any = None) -> Executor:
    """Make the executor of a flow run, and begin to start it: processes, or a cluster.

    Args:
        claimed: The run.
        cluster: The cluster that the caller names; by default, what the config chooses.
    """
    config, options = claimed.source.config, claimed.options
    executor: Executor
    where = ClusterAddress.of(config, cluster)
    if where is None or not claimed.is_claimed:
        executor = local_executor(claimed.source, options, claimed.n_rows)
    else:
        workers = options.workers or config.run.workers
        executor = ClusterExecutor(claimed.source, where, workers=workers, local_width=claimed.workers)
    claimed.use(executor)
    return executor.start(claimed.setup())
