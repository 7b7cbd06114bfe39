"""The members of the groups of a run: written to a file that workers read, as a group may have many members."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage import open_store
from sinagot_catalog.worker import members_path

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunSpec
    from sinagot_catalog.run.planning.planner import Plan
    from sinagot_catalog.storage import Store


def write_groups(plan: Plan, spec: RunSpec, log: Store) -> None:
    """Write the members of the groups that a plan runs, a file per group step.

    Args:
        plan: The plan.
        spec: The run.
        log: The store of the `LOG` folder: if it is in a bucket, workers on other hosts read the files from there.
    """
    wanted = plan.running.select("_rec", "_cell", "record_id")
    for cell, members in plan.members.items():
        groups = wanted.filter(pl.col("_cell") == cell)
        if groups.is_empty():
            continue
        lists = (
            groups.join(members, on="_rec", how="left", maintain_order="left_right")
            .group_by("record_id", maintain_order=True)
            .agg(pl.col("member").drop_nulls())
        )
        content = json.dumps(dict(lists.iter_rows())).encode()
        for store in [log] if log.is_local else [log, open_store(spec.log)]:
            store.write(members_path(spec.run_id, cell), content)


def remove_groups(made: Plan, spec: RunSpec, log: Store) -> None:
    """Remove the files of a run from a `LOG` folder in a bucket; a local one loses them with the run's staging."""
    if made.members and not log.is_local:
        folder = f".staging/{spec.run_id}/members"
        with suppress(StorageError):
            log.delete([f"{folder}/{name}" for name in log.names(folder)])
