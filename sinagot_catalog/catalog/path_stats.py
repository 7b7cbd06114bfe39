"""Path stats: reads sizes, times and fingerprints of the paths of rows; a folder counts with its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.file_stats import FOLDERS, Stats
from sinagot_catalog.patterns import RawFolder, paths_of

if TYPE_CHECKING:
    from sinagot_catalog.catalog.layout import Link
    from sinagot_catalog.catalog.presence import Presence

__all__ = ["folder_rules", "link_stats", "stat_paths"]


def link_stats(presence: Presence, codes: pl.Series, link: Link, stats: Stats) -> pl.DataFrame:
    """Return size, time and fingerprint of one link's path for records, and whether it is a folder."""
    place = presence.layout.places[link.place]
    path = paths_of(place.template).alias("path")
    paths = (
        presence.record_values[codes].select(path, presence.root_of(link.place, codes)).with_row_index("_row")
    )
    parts = [
        stat_paths(presence, str(root), part, stats).with_columns(part["_row"])
        for (root,), part in paths.partition_by("root", as_dict=True).items()
    ]
    if not parts:
        return stat_paths(presence, place.root, paths, stats)
    return pl.concat(parts).sort("_row").drop("_row")


def stat_paths(presence: Presence, root: str, paths: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Return the columns of `FOLDERS` and `is_folder` for paths, in their order; of a folder its content."""
    folders = presence.listings[root].directories
    distinct = paths["path"].drop_nulls().unique()
    is_folder = distinct.is_in(folders.implode())
    files = stats(root, distinct.filter(~is_folder)).with_columns(count=pl.lit(None, pl.Int64))
    held = stats.folders(root, folder_rules(presence, root, distinct.filter(is_folder)))
    parts = [
        part.select(*FOLDERS, pl.lit(value).alias("is_folder"))
        for part, value in ((files, False), (held, True))
    ]
    return paths.select("path").join(pl.concat(parts), on="path", how="left", maintain_order="left")


def folder_rules(presence: Presence, root: str, paths: pl.Series) -> dict[str, RawFolder | None]:
    """Return folders, each with the rule that excludes the files in it that steps declare."""
    folders: dict[str, RawFolder | None] = dict.fromkeys(paths)
    for place, inside in presence.layout.raw_folders.items() if folders else ():
        template = presence.layout.places[place].template
        if presence.layout.places[place].root != root:
            continue
        declared = [presence.layout.places[one].template for one in inside]
        rows = presence.record_values.with_columns(paths_of(template).alias("path"))
        for row in rows.filter(pl.col("path").is_in(paths.implode())).unique("path").iter_rows(named=True):
            values = presence.layout.ids.values(row["record_id"]) or {}
            folders[row["path"]] = RawFolder(template, declared, presence.layout.ids, values)
    return folders
