"""Path stats: reads sizes, times and fingerprints of the paths of rows; a folder counts with its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.file_stats import FOLDERS, Stats
from sinagot_catalog.patterns import RawFolder, paths_of
from sinagot_catalog.storage import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog.layout import Link
    from sinagot_catalog.catalog.presence import Presence

__all__ = ["files_stats", "folder_rules", "link_stats", "port_stats", "stat_paths"]


def link_stats(presence: Presence, codes: pl.Series, link: Link, stats: Stats) -> pl.DataFrame:
    """Return size, time and fingerprint of one link's path for records, and whether it is a folder."""
    place = presence.layout.places[link.place]
    path = paths_of(place.template).alias("path")
    paths = presence.path_values[codes].select(path)
    if place.other is None or paths.is_empty():
        return stat_paths(presence, place.root, paths, stats)
    paths = paths.with_columns(presence.root_of(link.place, codes)).with_row_index("_row")
    parts = [
        stat_paths(presence, str(root), part, stats).with_columns(part["_row"])
        for (root,), part in paths.partition_by("root", as_dict=True).items()
    ]
    return pl.concat(parts).sort("_row").drop("_row")


def port_stats(presence: Presence, codes: pl.Series, port: Sequence[Link], stats: Stats) -> pl.DataFrame:
    """Return the same for one input: of its alternatives the first that is present, of many files all together."""
    found = [
        many_stats(presence, codes, link, stats)
        if presence.layout.places[link.place].template.is_wild
        else link_stats(presence, codes, link, stats)
        for link in port
    ]
    if len(found) == 1:
        return found[0]
    chosen = presence.chosen_way(port).gather(codes)
    rows = pl.int_range(len(codes), eager=True)
    return pl.concat(found).select(pl.all().gather(chosen.cast(pl.Int64) * len(codes) + rows))


def many_stats(presence: Presence, codes: pl.Series, link: Link, stats: Stats) -> pl.DataFrame:
    """Return bytes, newest time, fingerprint and number of the files of a pattern with wildcards."""
    return files_stats(presence, codes, presence.many_files(link.place), stats)


def files_stats(presence: Presence, codes: pl.Series, files: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Return the same for any files.

    Args:
        presence: The listing.
        codes: The codes of records or groups.
        files: The files of each: columns `_rec`, `root`, `path`.
        stats: Reads sizes and times.
    """
    files = files.join(codes.unique().to_frame("_rec"), on="_rec", how="semi")
    parts = [pl.DataFrame(schema={"_rec": pl.UInt32, **FOLDERS, "_state": pl.Int64})]
    for (root,), part in files.partition_by("root", as_dict=True).items():
        read = stat_paths(presence, str(root), part, stats)
        number = pl.col("etag").str.to_integer(base=16, dtype=pl.UInt64, strict=False)
        state = (
            pl.when("is_folder").then(number.reinterpret(signed=True)).otherwise("mtime_ns").alias("_state")
        )
        columns = (pl.col(name).cast(dtype) for name, dtype in FOLDERS.items())
        parts.append(read.select(part["_rec"], *columns, state))
    line = pl.concat_str(
        "path", pl.lit("\0"), pl.col("size").cast(pl.String), pl.lit("\0"), pl.col("_state").cast(pl.String)
    )
    sums = (
        pl.concat(parts)
        .group_by("_rec")
        .agg(
            pl.col("path").min(),
            pl.col("size").sum(),
            pl.col("mtime_ns").max(),
            line.sort().str.join("\n").alias("_lines"),
            pl.len().cast(pl.Int64).alias("count"),
        )
    )
    etag = pl.Series("etag", [digest_of(lines) for lines in sums["_lines"]], dtype=pl.String)
    whole = sums.with_columns(etag).select("_rec", *FOLDERS, pl.lit(value=True).alias("is_folder"))
    return codes.to_frame("_rec").join(whole, on="_rec", how="left", maintain_order="left").drop("_rec")


def stat_paths(presence: Presence, root: str, paths: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Return the columns of `FOLDERS` and `is_folder` for paths, in their order; of a folder its content."""
    folders = presence.listings[root].directories
    path = paths["path"]
    if not (path.has_nulls() or path.is_in(folders.implode()).any()):
        return _of_files(stats(root, path))
    distinct = path.drop_nulls().unique()
    is_folder = distinct.is_in(folders.implode())
    held = stats.folders(root, folder_rules(presence, root, distinct.filter(is_folder)))
    files = _of_files(stats(root, distinct.filter(~is_folder)))
    both = pl.concat([files, held.select(*FOLDERS, pl.lit(value=True).alias("is_folder"))])
    return paths.select("path").join(both, on="path", how="left", maintain_order="left")


def _of_files(found: pl.DataFrame) -> pl.DataFrame:
    """The stats of files, with the columns that only folders have."""
    return found.with_columns(count=pl.lit(None, pl.Int64), is_folder=pl.lit(value=False))


def folder_rules(presence: Presence, root: str, paths: pl.Series) -> dict[str, RawFolder | None]:
    """Return folders, each with the rule that excludes the files in it that steps declare."""
    folders: dict[str, RawFolder | None] = dict.fromkeys(paths)
    for place, inside in presence.layout.raw_folders.items() if folders else ():
        template = presence.layout.places[place].template
        if presence.layout.places[place].root != root:
            continue
        declared = [presence.layout.places[one].template for one in inside]
        rows = presence.path_values.with_columns(paths_of(template).alias("path"))
        for row in rows.filter(pl.col("path").is_in(paths.implode())).unique("path").iter_rows(named=True):
            values = presence.layout.ids.values(row["record_id"]) or {}
            folders[row["path"]] = RawFolder(template, declared, presence.layout.ids, values)
    return folders
