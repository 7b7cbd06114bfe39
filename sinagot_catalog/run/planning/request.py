"""Run requests: the rows that the user gives, their checks, and the plan of a selection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import Query, Resolver, no_step
from sinagot_catalog.errors import SelectionError, did_you_mean, row_label
from sinagot_catalog.patterns import fitting
from sinagot_catalog.run.planning import planner
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.run.options import RunOptions
    from sinagot_catalog.run.planning.planner import Plan

FRESH = 2.0
"""The greatest age in seconds of a listing that a plan may use."""

_ROWS = "Give a Polars, pandas or Arrow frame with a column 'record_id', or a list of ids."


def plan(source: Session, query: Query, options: RunOptions) -> Plan:
    """Plan the steps of a selection, from a fresh listing; range by range if the listing is too large to hold."""
    if source.ranges:
        plans = []
        for session in source.ranges.sessions(query, is_fresh=True):
            plans.append(planner.joined([plan(session, query, options)]))  # drops its catalog
            options = options.after(plans[-1].n_run)
        return planner.joined(plans)
    query = of_steps(source, query.seen_as("steps"), options)
    catalog = query.widened(source.catalog(max_age=FRESH))
    rows = Resolver(catalog, source.stats).rows(query)
    is_named = options.step is not None or query.names_rows
    return planner.make_plan(
        catalog,
        rows,
        options,
        source.stats,
        options.causes(source.config),
        retries_unchanged=is_named or source.config.run.retry == "always",
    )


def of_steps(source: Session, query: Query, options: RunOptions) -> Query:
    """Narrow a query of steps to the steps that the user named.

    Raises:
        SelectionError: When there is no such step; the message suggests similar names.
    """
    steps = source.layout().steps
    for step in options.steps:
        if step not in steps:
            raise SelectionError(*no_step(source, step, steps))
    return query if options.step is None else query.where(pl.col("step").is_in(options.steps))


def rows_query(frame: Any) -> Query:
    """Make a query for rows: ids, or any frame with a column `record_id` and optional `task`, `modality`, `step`.

    Raises:
        SelectionError: When the rows cannot be read as a frame, or have no `record_id`.
    """
    frame = _listed(frame)
    try:
        table = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise SelectionError(
            f"rows of type {type(frame).__name__} cannot be read as a frame",
            _ROWS,
        ) from error
    keys = [name for name in KEYS if name in table.columns]
    if "record_id" not in keys:
        raise SelectionError(
            f"the rows have no column 'record_id', only {', '.join(table.columns) or 'none'}"
            f"{did_you_mean('record_id', table.columns)}",
            _ROWS,
        )
    return Query("steps", rows=table.select(pl.col(keys).cast(pl.String)).unique(maintain_order=True))


def _listed(rows: Any) -> Any:
    """Return a frame of ids that are given as a text or as a collection of texts or records; else the same rows."""
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, str):
        rows = [rows]
    elif isinstance(rows, pl.Series):
        rows = rows.to_list()
    elif isinstance(rows, Iterator):
        rows = list(rows)
    elif hasattr(rows, "tolist"):  # an array, or a column of pandas
        rows = rows.tolist()
    if not isinstance(rows, (list, tuple, set, frozenset)):
        return rows
    ids: list[str] = []
    for item in (getattr(row, "id", row) for row in rows):
        if isinstance(item, (int, float)):  # 7 may stand for '7' or '007'
            raise SelectionError(f"an id is a text such as '{item}', not the number {item}", _ROWS)
        if not isinstance(item, str):
            return rows
        ids.append(item)
    return pl.DataFrame({"record_id": sorted(ids)}, schema={"record_id": pl.String})


def check_rows(source: Session, rows: pl.DataFrame) -> None:
    """Refuse keys that cannot exist in this workspace.

    Raises:
        SelectionError: An id that does not fit `id_pattern`, or a task, modality or step that is not declared.
        NotFoundError: An id outside the range of ids that the workspace was opened for.
    """
    ids = source.config.ids
    record_ids = rows["record_id"].cast(pl.String).unique()
    wrong = record_ids.filter(~fitting(record_ids, ids).fill_null(value=False))
    if len(wrong) and source.layout().bys:
        wrong = wrong.filter(~wrong.is_in(source.catalog().groups.values["record_id"].implode()))
    if len(wrong):
        known = source.catalog().row_ids.to_list()
        raise SelectionError(
            f"record_id {wrong[0]!r} {ids.refusal(str(wrong[0]))}{did_you_mean(str(wrong[0]), known)}"
        )
    if source.span is not None:
        for record_id in rows.filter(~source.span.holds(pl.col("record_id")))["record_id"].head(1):
            source.check_span(record_id)
    cells = source.layout().cells
    named = [name for name in ("task", "modality", "step") if name in rows.columns]
    if not named:
        return
    valid = pl.DataFrame(
        {name: [getattr(cell, name) for cell in cells] for name in named},
        schema=dict.fromkeys(named, pl.String),
    )
    strange = rows.join(valid, on=named, how="anti", nulls_equal=True)
    if strange.is_empty():
        return
    first = strange.select(named).row(0, named=True)
    given = {name: value for name, value in first.items() if value is not None} or first
    choices = [row_label(*row) for row in valid.unique(maintain_order=True).iter_rows()]
    raise SelectionError(
        f"the rows name {', '.join(f'{name} {value!r}' for name, value in given.items())}, which is not declared"
        f"{did_you_mean(row_label(*first.values()), choices)}"
    )
