"""The stored files of a flow run in `LOG`: its rows, for retries, and its report, for other processes."""

import logging
from dataclasses import asdict
from typing import Any

import polars as pl

from sinagot_catalog.catalog import Query, Session
from sinagot_catalog.journal import RunReport, StoredReport, keep_report, keep_selection
from sinagot_catalog.run import ClaimedRun, RunOptions, part_of
from sinagot_catalog.schema import REPORT
from sinagot_catalog.secrets import masked

_logger = logging.getLogger("sinagot_catalog")


def parameters_of(
    source: Session, query: Query, options: RunOptions, frame: pl.DataFrame, run_id: str
) -> dict[str, Any]:
    """Return the parameters of a flow run of some rows, and store these: they may not fit into a JSON parameter.

    They are all parameters that select rows: for an omitted one, a flow run of a deployment takes the value of the
    deployment's own filter.

    Args:
        source: The session of the workspace.
        query: The selection.
        options: The options of the run.
        frame: The selected rows.
        run_id: The name of the stored rows; rows of a whole workspace are not stored.
    """
    workspace, *further = map(masked, source.config.files)
    is_whole = query.is_whole and source.span is None
    rows = None if is_whole else keep_selection(source.log_store, frame, run_id)
    part = part_of(options.part)
    arguments = asdict(options) | {"part": None if part is None else str(part)}
    # workers of an older version do not know `upstream` and `part`
    unset = [name for name in ("workers", "upstream", "part") if not arguments[name]]
    for name in ("debug", "mode", *unset):
        del arguments[name]
    return {"workspace": workspace, "config": further or None, "where": None, "rows": rows, **arguments}


def store_rows(claimed: ClaimedRun, flow_run_id: str) -> None:
    """Store the rows of a flow run, so that a retry of the flow run has the same rows.

    Args:
        claimed: The run.
        flow_run_id: The flow run that drives it.
    """
    rows = claimed.plan.frame.filter(pl.col("action") != "skip")
    if rows.is_empty():
        return
    try:
        keep_selection(claimed.source.log_store, rows, flow_run_id)
    except OSError as error:
        _logger.warning("The rows of the flow run could not be kept: %s", error)


def store_report(claimed: ClaimedRun, flow_run_id: str, attempt: int, *, ended: bool) -> None:
    """Store the report, for other processes that wait for the flow run.

    Args:
        claimed: The run.
        flow_run_id: The flow run that drives it.
        attempt: The number of this attempt, counted from 1.
        ended: Whether the run has ended. At the start the report is empty: it only gives the run id.
    """
    report = claimed.finish() if ended else RunReport(pl.DataFrame(schema=REPORT), claimed.run_id)
    stored = StoredReport(report, ended, attempt, claimed.is_claimed)
    try:
        keep_report(claimed.source.log_store, flow_run_id, stored)
    except OSError as error:
        _logger.warning("The report of the flow run could not be kept: %s", error)
