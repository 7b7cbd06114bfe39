"""Upstream rows: finds the rows that make missing inputs of selected rows, through as many steps as needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog

_KEY = ["_rec", "_cell"]


def upstream_rows(catalog: Catalog, selected: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are not done and make a missing input of the selected rows, directly or not.

    Args:
        catalog: The catalog of the plan.
        selected: Rows of the catalog's `steps` with their hidden keys.

    Returns:
        Further rows of `steps`, with `_selected` False.
    """
    others = catalog.steps.filter(pl.col("status").ne_missing("DONE"))
    others = others.join(selected, on=_KEY, how="anti", nulls_equal=True)
    makers = {maker for makers in catalog.makers.values() for maker in makers}
    others = others.filter(pl.col("_cell").is_in(makers))
    keys = others.select(*_KEY, "record_id", "task", "modality", "step")
    outputs = catalog.links(others).filter(pl.col("role") == "output")
    outputs = outputs.join(keys, on=["record_id", "task", "modality", "step"], nulls_equal=True)
    outputs = _with_folders(outputs.select(*_KEY, "path"))
    ancestors, new = keys.select(_KEY).clear(), selected.filter(pl.col("status").ne_missing("DONE"))
    while not new.is_empty():
        missing = catalog.links(new).filter(pl.col("role") == "input", ~pl.col("exists"))
        # A step may make the file itself, a folder around it, or a file in a folder that is read.
        wanted = _with_folders(missing.select("path").unique())
        hits = outputs.join(wanted, on="_at", suffix="_wanted").filter(
            (pl.col("_at") == pl.col("path")) | (pl.col("_at") == pl.col("path_wanted"))
        )
        keys = hits.select(_KEY).unique().join(ancestors, on=_KEY, how="anti")
        ancestors = pl.concat([ancestors, keys])
        new = others.join(keys, on=_KEY, how="semi")
    rows = others.join(ancestors, on=_KEY, how="semi", maintain_order="left")
    return rows.with_columns(pl.lit(False).alias("_selected"))


def _with_folders(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each path and each folder around it, in the column `_at`."""
    plain = rows.with_columns(pl.col("path").str.strip_suffix("/"))
    parts = pl.col("path").str.split("/")
    sizes = pl.int_ranges(1, parts.list.len() + 1)
    return (
        plain.with_columns(parts.alias("_parts"), sizes.alias("_size"))
        .explode("_size")
        .with_columns(pl.col("_parts").list.head(pl.col("_size")).list.join("/").alias("_at"))
        .drop("_parts", "_size")
    )
