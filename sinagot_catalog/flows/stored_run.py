"""The stored files of a flow run in `LOG`: its rows, for retries, and its report, for other processes."""

import logging

import polars as pl

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import RunReport, keep_report, keep_selection
from sinagot_catalog.run import ClaimedRun
from sinagot_catalog.schema import REPORT

_logger = logging.getLogger("sinagot_catalog")


def store_selection(claimed: ClaimedRun) -> str | None:
    """Store the selected rows of a run as a Parquet file: a selection may not fit in a JSON parameter.

    Returns:
        Its path in the `LOG` folder, or None if the whole workspace is selected.
    """
    if claimed.query.is_whole and claimed.source.span is None:
        return None
    return keep_selection(claimed.source.log_store, claimed.plan.frame, claimed.run_id)


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
    except (StorageError, OSError) as error:
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
    try:
        keep_report(
            claimed.source.log_store, flow_run_id, report, attempt, ended=ended, is_claimed=claimed.is_claimed
        )
    except (StorageError, OSError) as error:
        _logger.warning("The report of the flow run could not be kept: %s", error)
