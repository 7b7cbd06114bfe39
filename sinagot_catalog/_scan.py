"""One listing of the roots, as a frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sinagot_catalog._patterns._template import Template
from sinagot_catalog._store import Found, Reach, Store
from sinagot_catalog.schema import KIND

__all__ = ["STATS", "Listing", "reach_of", "scan", "stat_columns"]

LISTING: dict[str, pl.DataType] = {"path": pl.String(), "kind": KIND}
STATS: dict[str, pl.DataType] = {
    "path": pl.String(),
    "size": pl.Int64(),
    "mtime_ns": pl.Int64(),
    "etag": pl.String(),
}


@dataclass(frozen=True)
class Listing:
    """The names under one root.

    Attributes:
        paths: Columns `path` and `kind`, a row per file and per directory that a pattern may name.
        unreadable: Folders that could not be listed; what lies below them is unknown, not absent.
        links: How many links were left out.
        undecodable: How many names are not UTF-8 and were left out.
        is_local: Whether the root is on this machine, where looking at a file costs little.
    """

    paths: pl.DataFrame
    unreadable: tuple[str, ...] = ()
    links: int = 0
    undecodable: int = 0
    is_local: bool = True


def reach_of(templates: Sequence[Template], *, everything: bool = False, follow_links: bool = False) -> Reach:
    """Which folders a listing has to enter for some patterns."""
    patterns = {
        tuple(None if "\0" in part else part for part in _varying(one).split("/")) for one in templates
    }
    return Reach(tuple(sorted(patterns, key=str)), everything, follow_links)


def _varying(template: Template) -> str:
    return "".join(value if kind == "text" else "\0" for kind, value in template.tokens)


def scan(store: Store, reach: Reach) -> Listing:
    """List one root by names only."""
    if not reach.patterns and not reach.everything:
        return Listing(pl.DataFrame(schema=LISTING))
    found = store.find(reach)
    unreadable = tuple(sorted(set(found.unreadable)))
    return Listing(_paths(found), unreadable, found.links, found.undecodable, store.is_local)


def _paths(found: Found) -> pl.DataFrame:
    """Put folders and names together as columns, not one by one."""
    names = pl.Series("name", found.names, dtype=pl.String)
    lengths = pl.DataFrame(
        {"folder": found.folders, "n": found.counts}, schema={"folder": pl.String, "n": pl.UInt32}
    )
    folders = lengths.select(pl.col("folder").repeat_by("n").explode(keep_nulls=False, empty_as_null=False))
    # hidden siblings of a file that a killed run was moving into place are no data
    whole = ~(names.str.starts_with(".") & names.str.ends_with(".tmp"))
    paths = folders.select(path=pl.concat_str(pl.col("folder"), names)).filter(whole)
    files = paths.with_columns(kind=pl.lit("file").cast(KIND))
    directories = pl.DataFrame({"path": sorted(set(found.directories))}, schema={"path": pl.String})
    return pl.concat([files, directories.with_columns(kind=pl.lit("directory").cast(KIND))])


def stat_columns(store: Store, paths: pl.Series) -> pl.DataFrame:
    """Read size, time and etag of some paths of one root."""
    stat = store.stat(paths.to_list())
    return pl.DataFrame(
        {"path": paths, "size": stat.size, "mtime_ns": stat.modified, "etag": stat.etag}, schema=STATS
    )
