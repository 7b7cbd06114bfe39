"""Row waits: which rows of a run wait for which others, so that a group starts when its own members have ended.

A row waits for the rows of earlier steps that share a record with it: a group for its members, a record for its
group. Where other records may make its files, too, it waits for a stage, which ends before the next begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.run.planning.step_order import StepOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog.catalog import Catalog, UnitStep


NO_WAITS = pl.DataFrame(schema={"row": pl.UInt32, "awaited": pl.UInt32})
"""Pairs of rows, the first of which waits for the end of the second."""


def row_waits(rows: pl.DataFrame, catalog: Catalog) -> tuple[pl.Series, pl.DataFrame]:
    """Find what the rows of a run wait for.

    Args:
        rows: The rows of the run: `row, _rec, _cell`.
        catalog: The catalog that the run was planned with.

    Returns:
        The stage of each row; and pairs of rows of the same stage: `row` waits for the end of `awaited`.
    """
    order = StepOrder(catalog.layout, catalog.makers, catalog.faults)
    stages = order.stages
    codes = rows.select(pl.col("_cell").replace_strict(stages, return_dtype=pl.UInt16).alias("_stage"))
    by_cell = {int(str(cell)): part for (cell,), part in rows.partition_by("_cell", as_dict=True).items()}
    return codes["_stage"], pl.concat([NO_WAITS, *_pairs(by_cell, order, catalog)])


def _pairs(rows: dict[int, pl.DataFrame], order: StepOrder, catalog: Catalog) -> Iterator[pl.DataFrame]:
    """The pairs of rows of each two steps of a stage, the first of which is in an earlier phase."""
    for cell, own in rows.items():
        records = _with_records(own, catalog.layout.cells[cell], catalog)
        for maker in order.before[cell]:
            if maker not in rows or order.stages[maker] < order.stages[cell]:
                continue
            if order.phases[maker] < order.phases[cell]:
                met = records.with_columns(_codes(records["_record"], catalog.layout.cells[maker], catalog))
                awaited = rows[maker].select("_rec", awaited="row")
                yield met.join(awaited, on="_rec").select("row", "awaited").unique()


def _with_records(rows: pl.DataFrame, cell: UnitStep, catalog: Catalog) -> pl.DataFrame:
    """Rows of a unit step with the codes of their records: columns `row` and `_record`."""
    if cell.by is None:
        return rows.select("row", _record="_rec")
    records = catalog.group_steps.records_of(cell).rename({"_member": "_record"})
    return rows.select("row", "_rec").join(records, on="_rec").select("row", "_record")


def _codes(records: pl.Series, maker: UnitStep, catalog: Catalog) -> pl.Series:
    """The codes of the rows of a unit step that some records belong to."""
    groups = catalog.group_steps.group_of
    return (records if maker.by is None else groups(maker).gather(records)).alias("_rec")
