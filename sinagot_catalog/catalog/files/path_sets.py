"""Path sets: compare columns of paths: by the folders in them, and without case. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl


def cut(paths: pl.Series, depth: int) -> pl.Series:
    """The first parts of each path, null if it has fewer."""
    return paths.str.extract(f"(?s)^((?:[^/]+/){{{depth - 1}}}[^/]+)", 1)


def meets(paths: pl.Series, others: pl.Series) -> pl.Series:
    """Whether each path is one of the other paths, lies in one of them, or contains one of them."""
    other_paths = others.drop_nulls().unique()
    mask = paths.is_in(other_paths.implode())
    if _depths(paths) != _depths(other_paths):
        inside, around = _folders(other_paths), _folders(paths.alias("path"))
        mask = mask | paths.is_in(inside["folder"].unique().implode())
        rows = around.filter(pl.col("folder").is_in(other_paths.implode()))["row"]
        mask = mask.scatter(rows, [True] * len(rows)) if len(rows) else mask
    return mask.fill_null(value=False)


def _depths(paths: pl.Series) -> tuple[object, object]:
    depth = paths.str.count_matches("/", literal=True)
    return depth.min(), depth.max()


def _folders(paths: pl.Series) -> pl.DataFrame:
    """Every folder around each path: columns `row` and `folder`."""
    parts = pl.DataFrame({"path": paths}).with_row_index("row").with_columns(pl.col("path").str.split("/"))
    most = int(parts["path"].list.len().max() or 0)  # type: ignore[arg-type]
    cuts = [
        parts.filter(pl.col("path").list.len() > depth).select(
            "row", pl.col("path").list.head(depth).list.join("/").alias("folder")
        )
        for depth in range(1, most)
    ]
    return pl.concat([pl.DataFrame(schema={"row": pl.UInt32, "folder": pl.String}), *cuts])


def is_below(paths: pl.Series, folders: Iterable[str]) -> pl.Series:
    """Whether each path lies in one of the folders, which end in `/`: one comparison per depth."""
    depths: dict[int, list[str]] = {}
    for folder in folders:
        depths.setdefault(folder.count("/"), []).append(folder)
    path = pl.col("path")
    within = [
        path.str.extract(f"^((?:[^/]*/){{{depth}}})", 1).is_in(some).fill_null(value=False)
        for depth, some in depths.items()
    ]
    told = pl.when(path.is_not_null()).then(pl.any_horizontal(within))
    return paths.rename("path").to_frame().select(told.alias("path"))["path"]


def folded(names: pl.Series) -> pl.Series:
    """Return names without case, in one form of Unicode.

    Example:
        >>> folded(pl.Series(["R\u00c9", "re\u0301"])).n_unique()
        1
    """
    is_ascii = names.str.len_bytes().sum() == names.str.len_chars().sum()
    return names.str.to_lowercase() if is_ascii else names.str.normalize("NFC").str.to_lowercase()
