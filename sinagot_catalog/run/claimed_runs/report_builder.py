"""The end of a run as frames: the outcome of every row, and the paths that the run wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.patterns import id_columns, paths_of
from sinagot_catalog.schema import KIND, OUTCOME

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sinagot_catalog.catalog import Session

_NO_PATHS = pl.DataFrame(schema={"root": pl.String, "path": pl.String, "kind": KIND})


def outcomes_of(
    results: pl.DataFrame,
    claimed: pl.DataFrame,
    *,
    held: pl.DataFrame,
    blocked: pl.DataFrame,
    absent: pl.DataFrame,
) -> pl.DataFrame:
    """The outcome of every row of a run, in the order of the rows.

    Args:
        results: The results of rows that ended.
        claimed: The rows of the claim; those without a result count as cancelled, however the run ended.
        held: The rows that another live run holds.
        blocked: The rows that the plan blocks, with the reason.
        absent: The rows of records without a file that the user selected by id.
    """
    others = [
        _ended(held, "claimed", pl.lit("held by another run that is alive")),
        _ended(blocked, "error", pl.col("reason"), "ScriptError"),
        _ended(absent, "not_available", pl.lit("no file of this record was found")),
    ]
    known = pl.concat([results, *others], how="diagonal")
    left = _ended(claimed.join(known, on="row", how="anti"), "cancelled", pl.lit(None, pl.String))
    return pl.concat([known, left], how="diagonal").sort("row")


def _ended(rows: pl.DataFrame, outcome: str, message: pl.Expr, error_type: str | None = None) -> pl.DataFrame:
    """The results of rows that no worker ran."""
    return rows.select(
        "row",
        outcome=pl.lit(outcome).cast(OUTCOME),
        message=message,
        error_type=pl.lit(error_type, pl.String),
    )


def written_paths(source: Session, rows: pl.DataFrame, extras: Sequence[str]) -> pl.DataFrame:
    """The paths that a run wrote: `root, path, kind`.

    Args:
        source: The session of the workspace.
        rows: The rows of the plan with their outcomes.
        extras: Paths that rows published in addition to their declared outputs; folders end with `/`.
    """
    catalog = source.catalog()
    layout = catalog.layout
    folders = {path[:-1] for path in extras if path.endswith("/")}
    files = [path for path in extras if not path.endswith("/")]
    frames = [_NO_PATHS]
    for key, part in rows.partition_by("_cell", as_dict=True).items():
        cell = layout.cells[int(str(key[0]))]
        if cell.by is None:
            values = id_columns(part["record_id"], layout.ids)
        else:
            groups = catalog.groups.values
            values = part.select("record_id").join(groups, on="record_id", how="left", maintain_order="left")
        for link in (*cell.linked("control"), *cell.linked("output")):
            place = layout.places[link.place]
            paths = values.select(paths_of(place.template).alias("path"))
            known = None
            if link.role == "output":
                folders |= set(paths["path"]) if place.template.is_directory else set()
                paths, known = paths.filter(part["outcome"].is_in(["done", "already_done"])), folders
            frames.append(_existing(source, place.root, paths.drop_nulls(), known))
    if files:
        root = "outputs" if "outputs" in source.stores else "dataset"
        frames.append(_existing(source, root, pl.DataFrame({"path": files}), folders))
    return pl.concat(frames)


def _existing(
    source: Session, root: str, paths: pl.DataFrame, folders: Collection[str] | None
) -> pl.DataFrame:
    """Which of some paths exist, and their kinds; a bucket is not queried for paths known to exist.

    Args:
        source: The session of the workspace.
        root: The root of the paths.
        paths: A column `path`.
        folders: The paths that are directories, if all paths are known to exist; else None.
    """
    store, names = source.stores[root], paths["path"].to_list()
    if folders is None or store.is_local:
        kinds = store.kinds(names)
    else:
        kinds = ["directory" if name in folders else "file" for name in names]
    return paths.select(pl.lit(root).alias("root"), "path", pl.Series("kind", kinds, dtype=KIND)).drop_nulls()
