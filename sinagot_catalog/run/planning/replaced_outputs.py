"""Replaced outputs: what a run would replace, its size, and which files no run made or people changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sinagot_catalog.journal import NEVER, SKEW, last_published, unrecorded
from sinagot_catalog.run.planning.volume import measured

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.run.planning.planner import Plan


class Replaced(NamedTuple):
    """The existing outputs and control files that a plan replaces.

    Attributes:
        n_outputs: How many there are.
        size: Their bytes, estimated from a sample.
        foreign: The outputs that no run made, according to the journal.
        edited: The outputs that changed after the run that made them, as far as the sample shows.
        is_sampled: Whether the sample is only a part of them.
    """

    n_outputs: int
    size: int
    foreign: pl.Series
    edited: pl.Series
    is_sampled: bool


def replaced(source: Session, plan: Plan) -> Replaced:
    """Find the existing outputs and control files that a plan replaces."""
    catalog = source.catalog()
    rows = plan.running
    links = catalog.links(rows)
    there = links.filter(pl.col("role").is_in(["output", "control"]) & pl.col("exists")).unique(
        ["root", "path"]
    )
    made = last_published(rows, source.events(), catalog).filter(pl.col("event") != "publishing")
    numbers = rows.select("row", "_rec", "_cell")
    ended = numbers.join(made.select("row", "ended"), on="row")
    total, edited, is_sampled = 0, [there["path"].clear()], False
    for (root,), part in there.partition_by("root", as_dict=True).items():
        some = measured(catalog, str(root), part, source.stats)
        is_sampled |= some.height < part.height
        total += round(some["size"].sum() * part.height / some.height)
        of_runs = some.filter(pl.col("role") == "output").join(ended, on=["_rec", "_cell"])
        edited.append(of_runs.filter(pl.col("mtime_ns") > pl.col("ended") + SKEW)["path"])
    unmade = unrecorded(rows, source.events(), catalog)
    outputs = [row for row, period in unmade.outputs.items() if period == NEVER]
    is_unmade = {"output": pl.col("row").is_in(outputs), "control": pl.col("row").is_in(unmade.controls)}
    of_rows = there.join(numbers, on=["_rec", "_cell"])
    named = [of_rows.filter(pl.col("role") == role, found)["path"] for role, found in is_unmade.items()]
    return Replaced(there.height, total, pl.concat(named).sort(), pl.concat(edited).sort(), is_sampled)
