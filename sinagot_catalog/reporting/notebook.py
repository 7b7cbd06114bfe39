"""Selections in a notebook: the first rows as HTML, with the columns that matter; and records by steps."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.config import count_of
from sinagot_catalog.errors import row_label
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Layout

_ROWS, _COLUMNS = 10, 12
_SHOWN = {
    "units": ["record_id", "task", "modality", "has_data", "n_steps", "n_done", "n_error", "next_step"],
    "files": ["path", "size", "modified", *KEYS, "role"],
    "steps": [*KEYS, "status", "reason", "seconds", "message"],
}


def shown_columns(table: str) -> list[str]:
    """Return the columns of a table that a notebook shows; empty for all of them."""
    return _SHOWN.get(table, [])


def selection_page(name: str, table: str, rows: pl.DataFrame) -> str:
    """Return the first rows as HTML, with their number; at most 12 columns that have values.

    Args:
        name: The text of the selection.
        table: The name of the table.
        rows: All rows, with the columns of `shown_columns`.
    """
    shown = without_empty(rows)
    notes = [f"the first {_ROWS} shown"] if rows.height > _ROWS else []
    if shown.width > _COLUMNS:
        notes.append(f"{_COLUMNS} of {shown.width} columns shown")
        shown = shown.select(shown.columns[:_COLUMNS])
    noun = count_of(rows.height, table.removesuffix("s"))
    head = f"<b>{noun}</b>{''.join(f', {note}' for note in notes)} <small>{html.escape(name)}</small>"
    return f"<p>{head}</p>{shown.head(_ROWS)._repr_html_()}"


def without_empty(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out columns without values, and counts that are all zero."""
    filled = [
        column.name
        for column in rows
        if column.null_count() < len(column)
        and not (column.name.startswith("n_") and column.dtype.is_integer() and column.max() == 0)
    ]
    return rows.select(filled or rows.columns)


def status_matrix(layout: Layout, rows: pl.DataFrame) -> pl.DataFrame:
    """Return records by steps: `record_id`, and the status of each step in a column of its own.

    Args:
        layout: Gives the order of the steps.
        rows: The columns `record_id`, `task`, `modality`, `step` and `status`.
    """
    named = rows.select(
        "record_id",
        pl.concat_str("task", "modality", "step", separator=" ", ignore_nulls=True).alias("_name"),
        "status",
    )
    present = set(named["_name"].unique())
    names = dict.fromkeys(row_label(cell.task, cell.modality, cell.step) for cell in layout.cells)
    return named.pivot(
        "_name", on_columns=[name for name in names if name in present], index="record_id", values="status"
    )
