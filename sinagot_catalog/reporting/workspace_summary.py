"""The summary of a workspace in a notebook: its counts per step and status, as HTML."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.config import count_of
from sinagot_catalog.schema import STATUS
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session


def summary_of(source: Session) -> str:
    """Return the summary; it does not list a bucket."""
    config = source.config
    if not source.is_cheap:
        return f"<p>&lt;Workspace instance&gt; {html.escape(masked(config.dataset))}: not listed yet</p>"
    catalog = source.catalog()
    keys = ["step"] if config.is_unit_mode else ["task", "modality", "step"]
    counts = catalog.steps.group_by(keys, maintain_order=True).agg(
        *((pl.col("status") == name).sum().alias(name) for name in STATUS.categories),
        pl.col("status").is_null().sum().alias("unknown"),
    )
    empty = [column.name for column in counts if column.name not in keys and column.sum() == 0]
    snapshot = "" if source.kept is None else f" ({html.escape(str(source.kept))})"
    many = f"{count_of(len(catalog.ids), 'record')}, {count_of(catalog.steps.height, 'row')}{snapshot}"
    return f"<p><b>{html.escape(masked(config.root))}</b> {many}</p>{counts.drop(empty)._repr_html_()}"
