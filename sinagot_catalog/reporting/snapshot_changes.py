"""Snapshot changes: what changed since the last snapshot, counted, as the page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import diff, names
from sinagot_catalog.errors import row_label
from sinagot_catalog.frozen import dataclass
from sinagot_catalog.schema import KEYS
from sinagot_catalog.status import SHORT_NAMES

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.reporting.report_rows import ReportRows

_KINDS, _EXAMPLES = 20, 5
_WHAT = {"record": "record", "file": "file", "step": "row", "metadata": "value"}


@dataclass(frozen=True)
class Change:
    """Changes of one kind: `3 files new`, or `12 rows of count from READY to DONE`.

    Attributes:
        n: The number of changes.
        text: What changed, without the number.
        examples: The first of them.
    """

    n: int
    text: str
    examples: list[str]


@dataclass(frozen=True)
class SnapshotChanges:
    """The changes since a snapshot.

    Attributes:
        at: When the snapshot was stored.
        changes: The changes by kind, of each table the most frequent first.
    """

    at: str
    changes: list[Change]


def changes_of(source: Session, rows: ReportRows) -> SnapshotChanges | None:
    """Return what changed since the last snapshot; None if there is no snapshot, or one is shown.

    Args:
        source: The session of the workspace.
        rows: The rows of the page; changes of other records are left out.
    """
    stored = [] if source.kept is not None else names(source)
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
    return SnapshotChanges(
        f"{taken:%Y-%m-%d %H:%M}Z", [_change(row) for row in kinds.head(_KINDS).iter_rows(named=True)]
    )


def _change(row: dict[str, object]) -> Change:
    n = int(str(row["n"]))
    noun = _WHAT[str(row["what"])] + ("" if n == 1 else "s")
    step = [None if row[name] is None else str(row[name]) for name in ("task", "modality", "step")]
    if row["what"] == "step":
        before, after = (str(row[name] or "UNKNOWN") for name in ("before", "after"))
        text = f"{noun} of {row_label(*step)} from {SHORT_NAMES.get(before, before)}"
        text += f" to {SHORT_NAMES.get(after, after)}"
    elif row["what"] == "metadata":
        text = f"{noun} of {row['column']} {row['change']}"
    else:
        text = f"{noun} {row['change']}"
    return Change(n, text, [str(one) for one in list(row["example"])])  # type: ignore[call-overload]
