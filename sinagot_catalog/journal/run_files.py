"""Selections and stored reports: the rows and the results of flow runs, stored for processes on other hosts.

    selections/<id>.parquet           the keys of the rows that a user requests of a flow run; and, under the id of
                                      the flow run, the keys that it selected: a retry uses the same rows
    reports/<flow_run_id>.parquet     the outcome of each row of a flow run; all its attempts share one report

Both are in the `LOG` folder, beside the journal. `gc` deletes old files.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.errors import AbsentError, NotFoundError, UsageError
from sinagot_catalog.journal.run_report import RunReport
from sinagot_catalog.schema import KEYS, REPORT
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import Store, from_parquet, open_store, to_parquet

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session

_NAME = re.compile(r"[\w-]+\.parquet")


def keep_selection(store: Store, rows: pl.DataFrame, name: str) -> str:
    """Store the keys of some rows.

    Args:
        store: The `LOG` folder.
        rows: A frame with the key columns.
        name: The name of the selection.

    Returns:
        Its path relative to the `LOG` folder: other machines may mount that folder at another path.
    """
    path = f"selections/{name}.parquet"
    store.write(path, to_parquet(rows.select(*KEYS)))
    return path


def read_selection(source: "Session", rows: str, *, confined: bool) -> pl.DataFrame:
    """Read the rows that the user requests of a flow run.

    Args:
        source: The session of the workspace.
        rows: A path that `keep_selection` returned, or the path of any Parquet file.
        confined: Whether to read only selections that are stored beside the workspace's journal.

    Raises:
        UsageError: When the selection is elsewhere and `confined` is set, or the file is not Parquet.
        NotFoundError: When there is no such selection.
    """
    store = source.log_store
    folder, _, name = rows.removeprefix(f"{store.root.rstrip('/')}/").rpartition("/")
    if folder == "selections" and _NAME.fullmatch(name):
        path = f"{folder}/{name}"
    elif confined:
        raise UsageError(
            f"this worker does not read rows from {rows}: only from the selections beside the workspace's journal",
            "Submit the rows to the deployment, and they are kept there: sinagot-catalog submit --deployment …",
        )
    else:
        folder, _, path = rows.rpartition("/")
        store = open_store(folder or ".", source.options(rows))
    try:
        content = store.read(path)
    except AbsentError as error:
        raise NotFoundError(
            f"the selection {rows} is not there any more", "Submit the rows again."
        ) from error
    try:
        return from_parquet(content)[0]
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            f"rows: {rows} cannot be read as a Parquet file",
            "Write one with write_parquet, or --parquet FILE.",
        ) from error


@dataclass(frozen=True)
class StoredReport:
    """The stored report of a flow run.

    Attributes:
        report: The outcome of its rows, as far as is known.
        ended: Whether its last attempt has ended; else that attempt is running, or was lost.
        attempt: The number of that attempt.
        is_claimed: Whether it claimed rows, so that its claim shows whether it is alive.
    """

    report: RunReport
    ended: bool
    attempt: int
    is_claimed: bool


def keep_report(store: Store, flow_run_id: str, stored: StoredReport) -> None:
    """Store the report of a flow run, at its start (empty) and at its end. Rows of earlier attempts stay in it."""
    report, before = stored.report, read_report(store, flow_run_id)
    if before is not None:
        earlier = before.report.frame.join(report.frame, on=list(KEYS), how="anti", nulls_equal=True)
        report = replace(
            report,
            frame=pl.concat([earlier, report.frame]),
            run_id=report.run_id or before.report.run_id,
            seconds=before.report.seconds + report.seconds,
        )
    notes = {
        "run_id": report.run_id or "",
        "seconds": f"{report.seconds:.3f}",
        "ended": "yes" if stored.ended else "",
        "attempt": str(stored.attempt),
        "claimed": "yes" if stored.is_claimed else "",
        "excluded": str(report.n_excluded),
    }
    store.write(f"reports/{flow_run_id}.parquet", to_parquet(report.frame.select(*REPORT), notes))


def read_report(store: Store, flow_run_id: str) -> StoredReport | None:
    """Read the report of a flow run; None if there is none."""
    name = f"{flow_run_id}.parquet"
    if name not in store.names("reports"):
        return None
    frame, notes = from_parquet(store.read(f"reports/{name}"))
    report = RunReport(
        frame.cast(pl.Schema(REPORT)),
        notes.get("run_id") or None,
        flow_run_id=flow_run_id,
        seconds=float(notes.get("seconds", "0")),
        n_excluded=int(notes.get("excluded", "0")),
    )
    ended, is_claimed = bool(notes.get("ended")), bool(notes.get("claimed"))
    return StoredReport(report, ended, int(notes.get("attempt", "0")), is_claimed)
