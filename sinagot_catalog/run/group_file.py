"""The members of the groups of a run: written to a file that workers read, as a group may have many members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.worker import write_members

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunSpec
    from sinagot_catalog.run.planner import Plan

__all__ = ["write_groups"]


def write_groups(made: Plan, spec: RunSpec) -> None:
    """Write the members of the groups that a plan runs, a file per group step.

    Args:
        made: The plan.
        spec: The run.
    """
    if not made.members:
        return
    wanted = made.rows.filter(pl.col("action") == "run").select("_rec", "_cell", "record_id")
    for cell, members in made.members.items():
        groups = wanted.filter(pl.col("_cell") == cell)
        if groups.is_empty():
            continue
        lists = (
            groups.join(members, on="_rec", how="left", maintain_order="left_right")
            .group_by("record_id", maintain_order=True)
            .agg(pl.col("member").drop_nulls())
        )
        write_members(spec.log, spec.run_id, cell, dict(lists.iter_rows()))
