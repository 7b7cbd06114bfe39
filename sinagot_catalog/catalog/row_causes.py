"""Row causes: compares what the last events of rows recorded with the present state, for the rows of a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.parameter_changes import parameter_changes
from sinagot_catalog.catalog.staleness import CAUSES, causes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog.file_stats import Stats
    from sinagot_catalog.catalog.layout import UnitStep
    from sinagot_catalog.catalog.steps_table import StepsTable

_RECORDED = ("event", "_inputs", "_script", "_workspace", "_code", "_params", "_record")


def row_causes(
    table: StepsTable, rows: pl.DataFrame, stats: Stats, status: str, events: Sequence[str]
) -> pl.Series:
    """Return the causes for the rows of a status; a struct of `CAUSES`, null for other rows.

    Args:
        table: The table `steps`.
        rows: Some of its rows.
        stats: Reads sizes and times.
        status: The status of the rows that count.
        events: The events whose record counts; after another event only file times are compared.
    """

    def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
        done = table.with_attempt(part.select("_last"), _RECORDED)
        is_event = pl.col("event").is_in(events)
        done = done.with_columns(pl.when(is_event).then(pl.col("_inputs", "_params", "_record")))
        inputs, outputs = (
            [table.port_stats(cell, part["_rec"], port, stats) for port in ports]
            for ports in (cell.input_ports, [[link] for link in cell.linked("output")])
        )
        return causes_of(
            done,
            inputs,
            outputs,
            version=cell.version,
            workspace_version=table.workspace_version,
            code=None if cell.version else table.code_of(cell),
            changes=parameter_changes(done, part["_rec"], cell.params, lambda: table.metadata),
            optional=[port[0].is_optional for port in cell.input_ports],
        )

    return table.by_unit_step("causes", rows, pl.col("status") == status, derive, CAUSES)
