"""One listing of the roots, as a frame."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from sinagot_catalog._patterns._template import Template
from sinagot_catalog._store import Found, Reach, Store
from sinagot_catalog.schema import KIND

__all__ = ["STATS", "Listing", "from_keys", "reach_of", "scan", "stat_columns"]

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
        stats: Size, time and etag of the paths, where the listing itself gave them: nothing else lies there.
        is_local: Whether the root is on this machine, where looking at a file costs little.
    """

    paths: pl.DataFrame
    unreadable: tuple[str, ...] = ()
    links: int = 0
    undecodable: int = 0
    is_local: bool = True
    stats: pl.DataFrame | None = None


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
    if found.keys is not None:
        return from_keys(found.keys, reach, is_local=store.is_local)
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


# --- keys ----------------------------------------------------------------------------------------------------

_Node = tuple[str, bool, tuple[str, ...] | None]
"""A folder's pattern, whether a pattern of paths ends there, and the only names that count in it (None: all)."""


def from_keys(keys: pl.DataFrame, reach: Reach, *, is_local: bool = False) -> Listing:
    """Give the keys of a bucket the shape of a walk: what lies where patterns lead, and directories of their own.

    A directory is a prefix that some key has; a key that ends in `/` only marks one; `LOG/` is never data.

    Args:
        keys: The columns of `STATS`, `path` relative to the root.
        reach: Which folders a walk would enter.
        is_local: Whether the root is on this machine.
    """
    path = pl.col("path")
    is_odd = path.str.contains(r"(?:^|/)\.{0,2}(?:/|$)")
    keys = _in_order(keys.filter(~is_odd & ~path.str.starts_with("LOG/")))
    folders = keys.select(path.str.extract(r"^(.*/)[^/]*$", 1).fill_null("").alias("folder")).to_series()
    distinct = folders.unique(maintain_order=True).to_frame()
    nodes = list(_nodes(reach, 0, ""))
    level = pl.coalesce(
        pl.when(pl.col("folder").str.contains(f"^{pattern}$")).then(pl.lit(number, pl.UInt32))
        for number, (pattern, _, _) in enumerate(nodes)
    )
    at = folders.to_frame().join(
        distinct.with_columns(level.alias("node")), on="folder", how="left", maintain_order="left"
    )
    name = path.str.extract(r"([^/]+)$", 1)
    kept = pl.lit(value=False)
    for number, (_, _, only) in enumerate(nodes):
        here = pl.col("node") == number
        kept = kept | (here if only is None else here & name.is_in(list(only)))
    files = keys.with_columns(at["node"]).filter(reach.everything | kept.fill_null(value=False)).drop("node")
    directories = _directories(distinct, nodes)
    paths = pl.concat(
        [
            files.select("path", kind=pl.lit("file").cast(KIND)),
            directories.select("path", kind=pl.lit("directory").cast(KIND)),
        ]
    )
    alone = directories.join(files.select("path"), on="path", how="anti", maintain_order="left")
    stats = pl.concat([files, alone], how="diagonal").select(*STATS)
    return Listing(paths, is_local=is_local, stats=stats)


def _in_order(keys: pl.DataFrame) -> pl.DataFrame:
    """Keys by their path, each once, as most listings give them: to see that costs a hundredth of sorting."""
    if not keys["path"].is_sorted():
        keys = keys.sort("path", maintain_order=True)
    path = pl.col("path")
    return keys.filter(path.ne_missing(path.shift(-1)))


def _directories(folders: pl.DataFrame, nodes: Sequence[_Node]) -> pl.DataFrame:
    """The folders at which a pattern ends and that hold a key, at whatever depth."""
    found = [pl.DataFrame(schema={"path": pl.String})]
    for pattern, ends, _ in nodes:
        if ends:
            prefix = pl.col("folder").str.extract(f"^({pattern})", 1).str.strip_suffix("/")
            found.append(folders.select(prefix.alias("path")).drop_nulls())
    return pl.concat(found).filter(pl.col("path") != "").unique().sort("path")


def _nodes(
    reach: Reach, depth: int, folder: str, among: Sequence[tuple[str | None, ...]] | None = None
) -> Iterator[_Node]:
    """The folders that a walk would enter, as patterns: those with a literal name before those with any."""
    here = list(reach.patterns) if among is None else list(among)
    deeper = [one for one in here if len(one) > depth]
    ends = any(len(one) == depth for one in here) and depth > 0
    names = sorted({name for one in deeper if (name := one[depth]) is not None})
    is_literal = bool(deeper) and not reach.everything and all(one[depth] is not None for one in deeper)
    only = () if not deeper and not reach.everything else tuple(names) if is_literal else None
    for name in names:
        yield from _nodes(
            reach,
            depth + 1,
            f"{folder}{re.escape(name)}/",
            [one for one in deeper if one[depth] in (None, name)],
        )
    others = [one for one in deeper if one[depth] is None]
    if others:
        yield from _nodes(reach, depth + 1, f"{folder}[^/]+/", others)
    yield folder, ends, only


def stat_columns(store: Store, paths: pl.Series) -> pl.DataFrame:
    """Read size, time and etag of some paths of one root."""
    stat = store.stat(paths.to_list())
    return pl.DataFrame(
        {"path": paths, "size": stat.size, "mtime_ns": stat.modified, "etag": stat.etag}, schema=STATS
    )
