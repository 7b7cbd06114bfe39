"""Listings: the files, folders and stats under one root, from one pass of a walk or from keys, as frames.

The protocol of listing, in this order. Local folders and buckets give the same listing.

    reach      The patterns decide which folders count (`reach_of`). No other folder is entered, and no other key is
               kept. So files beside the data cost nothing, and `LOG/` is never data.
    list       Local: one `scandir` for each folder, depth first, without a `stat` of a file, as names alone decide
               what exists (`local_walk`). Bucket: the keys below the literal folders of the patterns, in parallel
               ranges if the store can list from any key on (`remote_listing`, `range_listing`).
    reuse      Local: a folder whose stamp is unchanged since the last listing is not listed again (`folder_stamps`,
               `folder_cache`). The kernel keeps the stamps, so nothing else needs to be trusted.
    share      Local: if a listing takes longer than the start of a process, helper processes list a part of the
               tree (`parallel_walk`).
    convert    Keys are brought to the form of a walk (`from_keys`): a prefix is a directory, a key that ends in `/`
               only marks one. An empty directory is absent, as a bucket cannot hold it.
    stat       Sizes and times are read for the rows that need them, if the listing itself does not have them
               (`stat_columns`).

Unreadable folders, links to folders, broken links and names that are not UTF-8 are counted, never dropped in
silence: what an unreadable folder holds is unknown, not absent.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import polars as pl

from sinagot_catalog.patterns import FOLDERS, MOST_FOLDERS, Template, expanded, repeated, rows_in, whole_paths
from sinagot_catalog.schema import KIND
from sinagot_catalog.storage.protocol import Reach, ScanResult, Store, is_text

__all__ = ["STATS", "Listing", "from_keys", "reach_of", "scan", "stat_columns"]

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
        folders: The columns of `FOLDERS`: folders, and how many files each has.
        names: The names of the files, folder by folder.
        directories: Paths of the directories that a pattern may name.
        unreadable: Folders that could not be listed; their content is unknown, not absent.
        links: How many links to folders were left out.
        undecodable: How many names are not UTF-8 and were left out.
        dangling: Broken links, which count as absent.
        stats: Size, time and etag of the paths, if the listing itself has them; then no other path exists.
        empty: Paths of directories that a pattern may name and that hold no file: they count as absent.
        is_local: Whether the root is on this machine, where a stat of a file costs little.
    """

    folders: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FOLDERS))
    names: pl.Series = field(default_factory=lambda: pl.Series("name", [], dtype=pl.String))
    directories: pl.Series = field(default_factory=lambda: pl.Series("path", [], dtype=pl.String))
    unreadable: tuple[str, ...] = ()
    links: int = 0
    undecodable: int = 0
    dangling: tuple[str, ...] = ()
    is_local: bool = True
    stats: pl.DataFrame | None = None
    empty: tuple[str, ...] = ()

    @cached_property
    def paths(self) -> pl.DataFrame:
        """Columns `path` and `kind`, a row per file, in the order of `names`, and then one per directory."""
        parts = (("file", whole_paths(self.folders, self.names)), ("directory", self.directories))
        return pl.concat(
            [one.alias("path").to_frame().with_columns(kind=pl.lit(kind).cast(KIND)) for kind, one in parts]
        )

    @property
    def n_files(self) -> int:
        """How many files there are."""
        return len(self.names)

    def only(self, kept: pl.DataFrame) -> "Listing":
        """This listing with only some rows of its `paths`."""
        folders, names = in_folders(kept.filter(pl.col("kind") == "file")["path"])
        directories = kept.filter(pl.col("kind") == "directory")["path"]
        return replace(self, folders=folders, names=names, directories=directories, empty=())

    def with_paths(self, new: pl.DataFrame) -> "Listing":
        """This listing with further paths: columns `path` and `kind`; paths that it has already are left out."""
        new = new.select("path", pl.col("kind").cast(KIND)).unique().sort("path")
        directories = new.filter(pl.col("kind") == "directory")["path"]
        directories = directories.filter(~directories.is_in(self.directories.implode()))
        folders, names = in_folders(new.filter(pl.col("kind") == "file")["path"])
        files = pl.DataFrame({"folder": folders["folder"].gather(repeated(folders["n"])), "name": names})
        # only paths in the same folders can be duplicates
        at = self.folders["folder"].is_in(folders["folder"].unique().implode()).arg_true()
        rows, keys = rows_in(self.folders, at)
        there = {"folder": self.folders["folder"].gather(at).gather(keys), "name": self.names.gather(rows)}
        files = files.join(pl.DataFrame(there), on=["folder", "name"], how="anti", maintain_order="left")
        folders, names = _runs(files["folder"]), files["name"]
        return replace(
            self,
            folders=pl.concat([self.folders, folders]),
            names=pl.concat([self.names, names]),
            directories=pl.concat([self.directories, directories]),
        )


def reach_of(templates: Sequence[Template], *, everything: bool = False, follow_links: bool = False) -> Reach:
    """Which folders a listing must enter for some patterns."""
    patterns = {
        tuple(None if "\0" in part else part for part in _varying(variant).split("/"))
        for one in templates
        for variant in expanded(one, MOST_FOLDERS)
    }
    may_be_bare = any(not one.is_directory and "." not in one.text_end for one in templates)
    return Reach(tuple(sorted(patterns, key=str)), everything, follow_links, may_be_bare)


def _varying(template: Template) -> str:
    return "".join(value if kind == "text" else "\0" for kind, value in template.tokens)


def scan(store: Store, reach: Reach) -> Listing:
    """List one root by names only."""
    if not reach.patterns and not reach.everything:
        return Listing()
    found = store.find(reach)
    if found.keys is not None:
        listing = from_keys(found.keys, reach, is_local=store.is_local)
        says_nothing = found.keys.select(pl.col("size", "mtime_ns").is_null().all()).row(0) == (True, True)
        # stats that a listing lacks are read later
        stats = None if says_nothing else listing.stats
        return replace(listing, stats=stats, unreadable=tuple(sorted(set(found.unreadable))))
    folders, names = _columns(found)
    directories = pl.Series("path", sorted(set(found.directories)), dtype=pl.String)
    unreadable = tuple(sorted(set(found.unreadable)))
    empty = tuple(sorted(set(found.empty)))
    return Listing(
        folders,
        names,
        directories,
        unreadable,
        found.links,
        found.undecodable,
        tuple(sorted(filter(is_text, found.dangling))),
        store.is_local,
        empty=empty,
    )


def _columns(found: ScanResult) -> tuple[pl.DataFrame, pl.Series]:
    """Folders that hold files, and the names of these files, without hidden temporary files of a killed run."""
    folders, names = found.folders, found.names
    hidden = names.str.starts_with(".") & names.str.ends_with(".tmp")
    if not hidden.any():
        return folders.filter(folders["n"] > 0), names
    every = folders["folder"].gather(repeated(folders["n"]))
    return _runs(every.filter(~hidden)), names.filter(~hidden)


def in_folders(paths: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Paths as folders and the names in them, in their order; a folder occurs again after each other folder."""
    name = paths.str.extract(r"([^/]*)$", 1).alias("name")
    return _runs(paths.str.strip_suffix(name).alias("folder")), name


def _runs(folders: pl.Series) -> pl.DataFrame:
    """The columns of `FOLDERS`, from a folder for each file."""
    runs = folders.rle().struct
    return pl.DataFrame({"folder": runs.field("value"), "n": runs.field("len")}, schema=FOLDERS)


# --- keys ----------------------------------------------------------------------------------------------------

_Node = tuple[str, bool, tuple[str, ...] | None]
"""A folder's pattern, whether a path pattern ends there, and the only names that count in it (None: all)."""


def from_keys(keys: pl.DataFrame, reach: Reach, *, is_local: bool = False) -> Listing:
    """Convert the keys of a bucket to the form of a walk: files that patterns lead to, and directories.

    A directory is a prefix of some key; a key that ends in `/` only marks a directory; `LOG/` is never data.

    Args:
        keys: The columns of `STATS`, `path` relative to the root.
        reach: Which folders a walk would enter.
        is_local: Whether the root is on this machine.
    """
    path = pl.col("path")
    is_odd = path.str.contains(r"(?:^|/)\.{0,2}(?:/|$)")
    markers = keys.filter(path.str.ends_with("/")).select(path.alias("folder"))
    keys = _in_order(keys.filter(~is_odd & ~path.str.starts_with("LOG/")))
    folders = keys.select(path.str.extract(r"(?s)^(.*/)[^/]*$", 1).fill_null("").alias("folder")).to_series()
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
    kept = kept.fill_null(value=False) if not reach.everything else pl.lit(value=True)
    files = keys.with_columns(at["node"], folders).filter(kept)
    directories = _directories(distinct, nodes)
    alone = directories.join(files.select("path"), on="path", how="anti", maintain_order="left")
    return Listing(
        _runs(files["folder"]),
        files.select(name.alias("name")).to_series(),
        directories["path"],
        is_local=is_local,
        stats=pl.concat([files, alone], how="diagonal").select(*STATS),
        empty=_markers(markers, nodes, directories),
    )


def _in_order(keys: pl.DataFrame) -> pl.DataFrame:
    """The distinct keys, sorted by path. Most listings are sorted; checking this costs a hundredth of sorting."""
    if not keys["path"].is_sorted():
        keys = keys.sort("path", maintain_order=True)
    path = pl.col("path")
    return keys.filter(path.ne_missing(path.shift(-1)))


def _directories(folders: pl.DataFrame, nodes: Sequence[_Node]) -> pl.DataFrame:
    """The folders at which a pattern ends and that hold a key at any depth."""
    found = [pl.DataFrame(schema={"path": pl.String})]
    for pattern, ends, _ in nodes:
        if ends:
            prefix = pl.col("folder").str.extract(f"^({pattern})", 1).str.strip_suffix("/")
            found.append(folders.select(prefix.alias("path")).drop_nulls())
    return pl.concat(found).filter(pl.col("path") != "").unique().sort("path")


def _markers(markers: pl.DataFrame, nodes: Sequence[_Node], directories: pl.DataFrame) -> tuple[str, ...]:
    """The folders at which a pattern ends that have a marker and no content."""
    if markers.is_empty():
        return ()
    return tuple(_directories(markers, nodes).join(directories, on="path", how="anti")["path"].sort())


def _nodes(
    reach: Reach, depth: int, folder: str, among: Sequence[tuple[str | None, ...]] | None = None
) -> Iterator[_Node]:
    """The folders that a walk would enter, as patterns: literal names come before variable ones."""
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
