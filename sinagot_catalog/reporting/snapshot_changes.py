"""Snapshot changes: what changed since the last snapshot, counted, as the page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinagot_catalog.catalog import diff, names
from sinagot_catalog.errors import row_label
from sinagot_catalog.schema import KEYS
from sinagot_catalog.status import SHORT_NAMES

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.reporting.report_rows import ReportRows

_KINDS, _EXAMPLES = 20, 5
_WHAT = {"record": "record", "file": "file", "step": "row", "metadata": "value"}


class Change(NamedTuple):
    """Changes of one kind: their number, what changed, and the first of them."""

    n: int
    text: str
    examples: list[str]


class SnapshotChanges(NamedTuple):
    """The changes since a snapshot of a time, by kind, of each table the most frequent first."""

    at: str
    changes: list[Change]


def changes_of(source: Session, rows: ReportRows) -> SnapshotChanges | None:
    """Return what changed since the last snapshot; None if there is no snapshot, or the page shows one.

    Args:
        source: The session of the workspace.
        rows: The rows of the page; changes of other records are left out.
    """
    stored = [] if source.kept is not None else names(source.log_store)
    if not stored:
        return None
    taken = source.find_snapshot(stored[-1]).taken
    frame = diff(source, stored[-1], fresh=False).frame
    if not rows.is_whole:
        gone = (pl.col("what") == "record") & (pl.col("change") == "gone")
        chosen = rows.selected.select(*KEYS).with_columns(pl.lit(value=True).alias("_is_chosen"))
        frame = frame.join(chosen, on=list(KEYS), how="left", nulls_equal=True, maintain_order="left")
        of_row = pl.when(pl.col("what") == "step").then(pl.col("_is_chosen").fill_null(value=False))
        frame = frame.filter(of_row.otherwise(pl.col("record_id").is_in(rows.ids.implode())) | gone)
    example = pl.when(pl.col("what") == "file").then("path").otherwise("record_id").alias("example")
    by_status = [pl.when(pl.col("what") == "step").then(name).alias(name) for name in ("before", "after")]
    kinds = (
        frame.with_columns(example, *by_status)
        .group_by(
            "what", "change", "task", "modality", "step", "column", "before", "after", maintain_order=True
        )
        .agg(pl.len().alias("n"), pl.col("example").drop_nulls().head(_EXAMPLES))
        .sort("what", -pl.col("n").cast(pl.Int64), maintain_order=True)
    )
    changes = [_change(row) for row in kinds.head(_KINDS).iter_rows(named=True)]
    return SnapshotChanges(f"{taken:%Y-%m-%d %H:%M}Z", changes)


def _change(row: dict[str, Any]) -> Change:
    noun = _WHAT[row["what"]] + ("" if row["n"] == 1 else "s")
    text = f"{noun} {row['change']}"
    if row["what"] == "step":
        before, after = (SHORT_NAMES.get(row[name], row[name] or "UNKNOWN") for name in ("before", "after"))
        text = f"{noun} of {row_label(row['task'], row['modality'], row['step'])} from {before} to {after}"
    elif row["what"] == "metadata":
        text = f"{noun} of {row['column']} {row['change']}"
    return Change(row["n"], text, row["example"])
