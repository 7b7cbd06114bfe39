"""Listings: the files, folders and stats under one root, from one pass of a walk or from keys, as frames.

The protocol of listing, in this order. Local folders and buckets give the same listing.

    reach      The patterns decide which folders count (`reach_of`). No other folder is entered, and no other key is
               kept. So files beside the data cost nothing, and `LOG/` is never data.
    list       Local: one `scandir` for each folder, depth first, without a `stat` of a file, as names alone decide
               what exists (`local.local_walk`). Bucket: the keys below the literal folders of the patterns, in
               parallel ranges if the store can list from any key on (`remote.remote_listing`).
    reuse      Local: a folder whose stamp is unchanged since the last listing is not listed again
               (`local.folder_stamps`). The kernel keeps the stamps, so nothing else needs to be trusted.
    share      Local: if a listing takes longer than the start of a process, helper processes list a part of the
               tree (`local.parallel_walk`).
    convert    Keys are brought to the form of a walk (`from_keys`): a prefix is a directory, a key that ends in `/`
               only marks one. An empty directory is absent, as a bucket cannot hold it.
    stat       Sizes and times are read for the rows that need them, if the listing itself does not have them
               (`stat_columns`).

Unreadable folders, links to folders, broken links, pipes and names that are not UTF-8 are counted, never dropped in
silence: what an unreadable folder holds is unknown, not absent.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import cached_property

import polars as pl

from sinagot_catalog.patterns import FOLDERS, MOST_FOLDERS, Template, expanded, repeated, whole_paths
from sinagot_catalog.schema import KIND
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage.protocol import Level, Reach, Store

STATS: dict[str, pl.DataType] = {
    "path": pl.String(),
    "size": pl.Int64(),
    "mtime_ns": pl.Int64(),
    "etag": pl.String(),
}

_LARGE = 1000
"""From this many names on, those of a folder are sorted."""


@dataclass(frozen=True)
class Listing:
    """The names under one root.

    Attributes:
        folders: The columns of `FOLDERS`: folders, and how many files each has.
        names: The names of the files, folder by folder.
        directories: Paths of the directories that a pattern may name.
        unreadable: Folders that could not be listed; their content is unknown, not absent.
        links: Links to folders that were left out.
        undecodable: How many names are not UTF-8 and were left out.
        dangling: Broken links, which count as absent.
        special: Pipes, sockets and devices, which count as absent and are never opened.
        stats: Size, time and etag of the paths, if the listing itself has them; then no other path exists.
        empty: Paths of directories that a pattern may name and that hold no file: they count as absent.
        twofold: Keys that are prefixes of other keys, too: they count as files, as for a worker that reads them.
        is_local: Whether the root is on this machine, where a stat of a file costs little.
    """

    folders: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FOLDERS))
    names: pl.Series = field(default_factory=lambda: pl.Series("name", [], dtype=pl.String))
    directories: pl.Series = field(default_factory=lambda: pl.Series("path", [], dtype=pl.String))
    unreadable: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    undecodable: int = 0
    dangling: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    is_local: bool = True
    stats: pl.DataFrame | None = None
    empty: tuple[str, ...] = ()
    twofold: tuple[str, ...] = ()

    @cached_property
    def paths(self) -> pl.DataFrame:
        """Columns `path` and `kind`, a row per file, in the order of `names`, and then one per directory."""
        parts = (("file", whole_paths(self.folders, self.names)), ("directory", self.directories))
        return pl.concat(
            [part.alias("path").to_frame().with_columns(kind=pl.lit(kind).cast(KIND)) for kind, part in parts]
        )

    @property
    def n_files(self) -> int:
        """How many files there are."""
        return len(self.names)

    def only(self, rows: pl.DataFrame) -> "Listing":
        """This listing with only some rows of its `paths`."""
        folders, names = in_folders(rows.filter(pl.col("kind") == "file")["path"])
        directories = rows.filter(pl.col("kind") == "directory")["path"]
        return replace(self, folders=folders, names=names, directories=directories, empty=())

    def with_paths(self, new: pl.DataFrame) -> "Listing":
        """This listing with further paths: columns `path` and `kind`; paths that it has already are left out."""
        new = new.select("path", pl.col("kind").cast(KIND)).unique().sort("path")
        known = self.paths.filter(pl.col("path").is_in(new["path"].implode()))
        new = new.join(known, on=["path", "kind"], how="anti", maintain_order="left")
        folders, names = in_folders(new.filter(pl.col("kind") == "file")["path"])
        return replace(
            self,
            folders=pl.concat([self.folders, folders]),
            names=pl.concat([self.names, names]),
            directories=pl.concat([self.directories, new.filter(pl.col("kind") == "directory")["path"]]),
        )


def reach_of(templates: Sequence[Template], *, everything: bool = False, follow_links: bool = False) -> Reach:
    """Which folders a listing must enter for some patterns."""
    patterns = {
        tuple(None if vary else part[0][1] for vary, part in zip(variant.varies, variant.parts, strict=True))
        for template in templates
        for variant in expanded(template, MOST_FOLDERS)
    }
    may_be_bare = any(not template.is_directory and "." not in template.text_end for template in templates)
    return Reach(tuple(sorted(patterns, key=str)), everything, follow_links, may_be_bare)


def scan(store: Store, reach: Reach) -> Listing:
    """List one root by names only."""
    return store.find(reach) if reach.patterns or reach.everything else Listing()


def without_hidden(folders: pl.DataFrame, names: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Folders that hold files, and the names of these files, without hidden temporary files of a killed run."""
    names = _sorted_in_large(folders["n"], names)
    name = pl.col("name")
    told = names.to_frame("name").select(name.str.starts_with(".") & name.str.ends_with(".tmp"))
    hidden = told.to_series()
    if not hidden.any():
        return (folders if (folders["n"] > 0).all() else folders.filter(pl.col("n") > 0)), names
    every = folders["folder"].gather(repeated(folders["n"]))
    return _runs(every.filter(~hidden)), names.filter(~hidden)


def _sorted_in_large(counts: pl.Series, names: pl.Series) -> pl.Series:
    """The names, sorted within each large folder: a disk gives them in no order, and sorted ids join faster."""
    if not (counts >= _LARGE).any():
        return names
    ends = pl.DataFrame({"end": counts.cum_sum(), "n": counts}).filter(pl.col("n") >= _LARGE)
    parts, begin = list[pl.Series](), 0
    for end, count in ends.iter_rows():
        parts += [names[begin : end - count], names[end - count : end].sort()]
        begin = end
    return pl.concat([*parts, names[begin:]])


def in_folders(paths: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Paths as folders and the names in them, in their order; a folder occurs again after each other folder."""
    name = paths.str.extract(r"([^/]*)$", 1).alias("name")
    return _runs(paths.str.strip_suffix(name).alias("folder")), name


def _runs(folders: pl.Series) -> pl.DataFrame:
    """The columns of `FOLDERS`, from a folder for each file."""
    runs = folders.rle().struct
    return pl.DataFrame({"folder": runs.field("value"), "n": runs.field("len")}, schema=FOLDERS)


# --- keys ----------------------------------------------------------------------------------------------------

_REST = pl.col("rest")


@dataclass(frozen=True)
class _Folder:
    """The keys below one folder that a walk enters, or below many that only differ in their names.

    Attributes:
        keys: The columns of `STATS`, and `rest`, the path inside the folder.
        folder: The folder, `""` or ending in `/`; None for many.
        is_end: Whether a pattern ends at the folder.
        only: The only names of files that count in it; None for all.
    """

    keys: pl.DataFrame
    folder: str | None
    is_end: bool
    only: tuple[str, ...] | None

    @property
    def files(self) -> pl.DataFrame:
        """The files directly inside that count."""
        if self.only is None:
            return self.keys.filter(~_REST.str.contains("/", literal=True))
        return self.keys.filter(_REST.is_in(self.only)) if self.only else self.keys.clear()

    def folders_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The columns of `FOLDERS` of some of the keys."""
        if self.folder is not None:
            return pl.DataFrame({"folder": [self.folder], "n": [keys.height]}, schema=FOLDERS)
        path = pl.col("path")
        head = path.cast(pl.Binary).bin.head(path.str.len_bytes() - _REST.str.len_bytes()).cast(pl.String)
        return _runs(keys.select(head).to_series())


def from_keys(keys: pl.DataFrame, reach: Reach) -> Listing:
    """Convert the keys of a bucket to the form of a walk: files that patterns lead to, and directories.

    A directory is a prefix of some key; a key that ends in `/` only marks a directory; `LOG/` is never data.

    Args:
        keys: The columns of `STATS`, `path` relative to the root.
        reach: Which folders a walk would enter.
    """
    path = pl.col("path")
    is_odd = path.str.contains(r"(?:^|/)\.{0,2}(?:/|$)")
    markers = keys.filter(path.str.ends_with("/")).with_columns(rest=path)
    keys = _in_order(keys.filter(~is_odd & ~path.str.starts_with("LOG/"))).with_columns(rest=path)
    level = Level(reach.patterns)
    entered = list(_folders(keys, level, "", is_end=False))
    directories = _directories(entered)
    marked = _directories(_folders(markers, level, "", is_end=False))
    if reach.everything:
        folders, names, files = *in_folders(keys["path"]), keys
    else:
        parts = [(one.folders_of(files), files) for one in entered if (files := one.files).height]
        folders = pl.concat([pl.DataFrame(schema=FOLDERS), *(part for part, _ in parts)])
        files = pl.concat([keys.clear(), *(part for _, part in parts)])
        names = files["rest"].alias("name")
    # In this direction: a set of all files would take twice as long to make as all the rest here.
    twofold = files["path"].filter(files["path"].is_in(directories.implode())).sort().alias("path")
    directories = directories.filter(~directories.is_in(twofold.implode()))
    return Listing(
        folders,
        names,
        directories,
        is_local=False,
        stats=pl.concat([files.select(*STATS), directories.to_frame()], how="diagonal"),
        empty=tuple(marked.filter(~marked.is_in(pl.concat([directories, twofold]).implode()))),
        twofold=tuple(twofold),
    )


def _in_order(keys: pl.DataFrame) -> pl.DataFrame:
    """The distinct keys, sorted by path. Most listings are sorted; checking this costs a hundredth of sorting."""
    if not keys["path"].is_sorted():
        keys = keys.sort("path", maintain_order=True)
    path = pl.col("path")
    return keys.filter(path.ne_missing(path.shift(-1)))


def _folders(
    keys: pl.DataFrame, level: Level | None, folder: str | None, *, is_end: bool
) -> Iterator[_Folder]:
    """The folders that a walk would enter: those of a literal name come apart from those whose names vary."""
    if level is None:
        yield _Folder(keys, folder, is_end, ())
        return
    yield _Folder(keys, folder, is_end, tuple(level.names) if level.is_literal else None)
    for name in level.names:
        fits = _REST.str.starts_with(f"{name}/")
        inside = keys.filter(fits).with_columns(_REST.str.slice(len(name) + 1))
        ends, deeper = level.below(name)
        yield from _folders(inside, deeper, None if folder is None else f"{folder}{name}/", is_end=ends)
        keys = keys if level.is_literal else keys.filter(~fits)
    if not level.is_literal:
        end = _REST.str.find("/", literal=True)
        inside = keys.filter(end > 0)
        inside = inside.with_columns(_REST.cast(pl.Binary).bin.slice(end + 1).cast(pl.String))
        ends, deeper = level.below(None)
        yield from _folders(inside, deeper, None, is_end=ends)


def _directories(entered: Iterable[_Folder]) -> pl.Series:
    """The folders at which a pattern ends and that hold a key at any depth."""
    found = [one.folders_of(one.keys)["folder"] for one in entered if one.is_end and one.keys.height]
    folders = pl.concat([pl.Series("folder", [], dtype=pl.String), *found])
    return folders.str.strip_suffix("/").unique().sort().alias("path")


def stat_columns(store: Store, paths: pl.Series) -> pl.DataFrame:
    """Read size, time and etag of some paths of one root."""
    columns = (paths, *store.stat(paths.to_list()))
    return pl.DataFrame(dict(zip(STATS, columns, strict=True)), schema=STATS)
