"""Replaced outputs: what a run would replace, its size, and what of it no run made (`--force` asks before it)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sinagot_catalog.journal import NEVER, unrecorded

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.run.planning.planner import Plan

_MEASURED, _MEASURED_REMOTE = 2_000, 200
"""The size of the sample of outputs to measure, in a folder and in a bucket."""


class Replaced(NamedTuple):
    """The existing outputs and control files that a plan replaces.

    Attributes:
        n_outputs: How many there are.
        size: Their bytes, estimated from a sample.
        foreign: The outputs that no run made, according to the journal.
    """

    n_outputs: int
    size: int
    foreign: pl.Series


def replaced(source: Session, plan: Plan) -> Replaced:
    """Find the existing outputs and control files that a plan replaces."""
    catalog = source.catalog()
    rows = plan.rows.filter(pl.col("action") == "run").with_row_index("row")
    links = catalog.links(rows)
    there = links.filter(pl.col("role").is_in(["output", "control"]) & pl.col("exists")).unique(
        ["root", "path"]
    )
    total = 0
    for (root,), part in there.partition_by("root", as_dict=True).items():
        store = source.stores[str(root)]
        every = max(1, part.height // (_MEASURED if store.is_local else _MEASURED_REMOTE))
        paths = part["path"].gather_every(every).to_list()
        kinds = store.kinds(paths)
        files = [path for path, kind in zip(paths, kinds, strict=True) if kind == "file"]
        folders = [path for path, kind in zip(paths, kinds, strict=True) if kind == "directory"]
        size = sum(n_bytes or 0 for n_bytes in store.stat(files).size)
        size += sum(n_bytes or 0 for path in folders for n_bytes in store.tree(path).values())
        total += round(size * part.height / len(paths))
    unmade = unrecorded(rows, source.events(), catalog)
    outputs = [row for row, period in unmade.outputs.items() if period == NEVER]
    is_unmade = {"output": pl.col("row").is_in(outputs), "control": pl.col("row").is_in(unmade.controls)}
    of_rows = there.join(rows.select("row", "_rec", "_cell"), on=["_rec", "_cell"])
    named = [of_rows.filter(pl.col("role") == role, found)["path"] for role, found in is_unmade.items()]
    return Replaced(there.height, total, pl.concat(named).sort())
