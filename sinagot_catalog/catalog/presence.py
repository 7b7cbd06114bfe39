"""Presence of files: matches listed files to patterns and records, and so finds the present paths per record. Pure.

A record is an integer code: its position among the sorted ids. The presence of a bound pattern's paths is one
Boolean column with a row per record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Self

import polars as pl

from sinagot_catalog.catalog.notices import folded
from sinagot_catalog.patterns import (
    id_columns,
    match_columns,
    match_names,
    near_misses,
    paths_of,
    refused_ids,
    with_directories,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sinagot_catalog.catalog.layout import Layout
    from sinagot_catalog.patterns import Template
    from sinagot_catalog.storage import Listing

__all__ = ["Presence"]

_MOST_MISSED = 10_000
"""Number of files without a pattern that are compared with all patterns."""


@dataclass(frozen=True)
class Presence:
    """The records of one listing of a workspace, and which of their paths are present.

    Attributes:
        layout: What the config and the scripts declare.
        listings: One listing per root, `dataset` first.
        expected: Ids of a table that count as records even without a file.
        asked: Ids that the user asked for; they count as records even without a file.
    """

    layout: Layout
    listings: dict[str, Listing]
    expected: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def with_records(self, ids: pl.Series) -> Self:
        """Return this catalog with further records, also those without a file."""
        new = ids.filter(~ids.is_in(self.ids.implode())).unique()
        return self if new.is_empty() else replace(self, asked=(*self.asked, *new))

    @cached_property
    def ids(self) -> pl.Series:
        """The record ids, sorted; a record's code is its position here."""
        rows, texts = self._fits
        # a folder may name an id and contain no file that fits
        guesses = [index for index, place in enumerate(self.layout.places) if place.is_guess]
        telling = rows
        if guesses:
            telling = rows.filter(~(pl.col("place").is_in(guesses) & (pl.col("root") == "outputs")))
        used = pl.Series([False]).new_from_index(0, len(texts)).scatter(telling["key"], True)
        others = [self._hidden_ids(), pl.Series(self.asked, dtype=pl.String)]
        if self.expected:
            # a row of the table may use another Unicode form than the files of its record
            found = pl.concat([texts.filter(used), *others]).unique().str.normalize("NFC")
            expected = pl.Series(self.expected, dtype=pl.String)
            others.append(expected.filter(~expected.str.normalize("NFC").is_in(found.implode())))
        return pl.concat([texts.filter(used), *others]).unique().sort().alias("record_id")

    @cached_property
    def coded(self) -> pl.DataFrame:
        """Columns `root, row, place, _rec`: which file fits which pattern for which record."""
        rows, texts = self._fits
        # an id is looked up once per key; a folder that names the id has one key
        codes = self.ids.to_frame().with_row_index("_rec")
        code = texts.to_frame().join(codes, on="record_id", how="left", maintain_order="left")["_rec"]
        coded = rows.drop("key").with_columns(code.gather(rows["key"]))
        return coded.drop_nulls("_rec") if coded["_rec"].has_nulls() else coded

    @cached_property
    def _fits(self) -> tuple[pl.DataFrame, pl.Series]:
        """Which file fits which pattern, columns `root, row, place, key`, and the id of each key."""
        rows, texts = [], []
        n_keys = 0
        for root, listing in self.listings.items():
            places = [
                index
                for index, place in enumerate(self.layout.places)
                if root in place.roots and index in self.layout.telling
            ]
            templates = [self.layout.places[index].template for index in places]
            files = match_names(listing.folders, listing.names, templates, self.layout.ids)
            directories = match_columns(listing.directories, templates, self.layout.ids)
            both = with_directories(files, directories, n_files=listing.n_files)
            place = pl.Series("place", places, dtype=pl.UInt16).gather(both.rows["template"])
            rows.append(
                both.rows.select(
                    pl.lit(root).alias("root"), "row", place, pl.col("key") + pl.lit(n_keys, pl.UInt32)
                )
            )
            texts.append(both.ids)
            n_keys += len(both.ids)
        return pl.concat(rows), pl.concat(texts)

    def _hidden_ids(self) -> pl.Series:
        """The ids in names of unreadable folders: their content is unknown, not absent."""
        found = [pl.Series([], dtype=pl.String)]
        for root, listing in self.listings.items():
            if listing.unreadable:
                places = [place.template for place in self.layout.places if root in place.roots]
                heads = {head for one in places for head in one.folders() if self.layout.ids.is_told_by(head)}
                folders = pl.Series(listing.unreadable, dtype=pl.String)
                found.append(match_columns(folders, list(heads), self.layout.ids)["record_id"])
        return pl.concat(found)

    @cached_property
    def record_values(self) -> pl.DataFrame:
        """`record_id` and the named groups of the id pattern, a row per record."""
        return id_columns(self.ids, self.layout.ids)

    @cached_property
    def presence(self) -> list[pl.Series]:
        """For each bound pattern whether its path is present, a row per record."""
        there = self._present(self.coded)
        return [
            self._holds_own(index)
            if index in self.layout.raw_folders
            else there[index]
            if index in self.layout.telling
            else reduce(or_, [self._shared(index, root) for root in place.roots])
            for index, place in enumerate(self.layout.places)
        ]

    def _present(self, coded: pl.DataFrame) -> list[pl.Series]:
        """For each bound pattern whether rows of `coded` contain its path, a row per record."""
        n_places, n_records = len(self.layout.places), len(self.ids)
        there = pl.Series([False], dtype=pl.Boolean).new_from_index(0, n_places * n_records)
        spots = coded.select(pl.col("place").cast(pl.UInt64) * n_records + pl.col("_rec")).to_series()
        there = there.scatter(spots, True)
        return [there.slice(index * n_records, n_records) for index in range(n_places)]

    def _shared(self, index: int, root: str) -> pl.Series:
        """Presence under a root of a path that several records share."""
        place = self.layout.places[index]
        listing = self.listings[root].paths
        if place.template.is_directory:
            listing = listing.filter(pl.col("kind") == "directory")
        paths = self.record_values.select(paths_of(place.template).alias("path"))
        return paths.select(pl.col("path").is_in(listing["path"].implode()).fill_null(value=False))["path"]

    @cached_property
    def pathless(self) -> dict[int, pl.Series]:
        """For each bound pattern without a path for some records, which records lack it, a row per record.

        A field that the pattern needs has no value, or a part of the path would be empty.
        """
        values = self.record_values
        lacked = {name for name in self.layout.ids.groups if (values[name] == "").any()}
        out = {}
        for index, place in enumerate(self.layout.places):
            if place.template.needed & lacked or place.template.has_bare_parts:
                lacks = values.select(paths_of(place.template).is_null().alias("path"))["path"]
                if lacks.any():
                    out[index] = lacks
        return out

    def _holds_own(self, index: int) -> pl.Series:
        """Presence of a folder of raw data that steps also write to: files that steps declare do not count."""
        place = self.layout.places[index]
        template = place.template
        declared = [self.layout.places[one].template for one in self.layout.raw_folders[index]]
        ways = {way for one in declared for way in one.folders() if way.depth > template.depth}
        listed = self.listings[place.root].paths["path"]
        inside = _cut(listed, template.depths[0] + 1).is_not_null() & listed.str.starts_with(template.prefix)
        own = listed.filter(inside)
        for one in declared:
            own = own.filter(~self._fit_above(own, one))
        for way in ways:
            own = own.filter(~self._fit(own, way))
        paths = self.record_values.select(paths_of(template).alias("path"))["path"]
        folders = pl.concat([_cut(own, depth) for depth in template.depths]).unique()
        return paths.is_in(folders.implode()).fill_null(value=False)

    def _fit_above(self, paths: pl.Series, template: Template) -> pl.Series:
        """Whether each path, or a folder around it, fits a pattern, for any record."""
        return reduce(or_, [self._fit(_cut(paths, depth), template) for depth in template.depths])

    def _fit(self, paths: pl.Series, template: Template) -> pl.Series:
        """Whether each path fits a pattern, for any record."""
        if self.layout.ids.is_told_by(template):
            fits = pl.Series([False]).new_from_index(0, len(paths))
            return fits.scatter(match_columns(paths, [template], self.layout.ids)["row"].unique(), True)
        shared = self.record_values.select(paths_of(template).alias("path"))["path"]
        return paths.is_in(shared.unique().implode()).fill_null(value=False)

    @cached_property
    def _only_in_other(self) -> dict[int, pl.Series]:
        """For each bound pattern with a second root whether its path is present only there, a row per record."""
        two = {index: place for index, place in enumerate(self.layout.places) if place.other is not None}
        if not two:
            return {}
        firsts = self.coded.filter(pl.col("root") == "outputs")
        there = self._present(firsts)
        return {
            index: self.presence[index]
            & ~(there[index] if index in self.layout.telling else self._shared(index, place.root))
            for index, place in two.items()
        }

    def root_of(self, index: int, records: pl.Series) -> pl.Series:
        """The root of a bound pattern's paths for some records: the root that holds them, else the first."""
        place = self.layout.places[index]
        first = pl.Series("root", [place.root]).new_from_index(0, len(records))
        if place.other is None:
            return first
        elsewhere = self._only_in_other[index].gather(records)
        return first.zip_with(~elsewhere, pl.Series([place.other]).new_from_index(0, len(records)))

    @cached_property
    def makers(self) -> dict[int, list[int]]:
        """For each bound pattern the unit steps that write it, for the same record or for another one.

        Patterns that differ in text are joined on the paths of the known records.
        """
        makers = {place: list(cells) for place, cells in self.layout.makers.items()}
        for place, pairs in self.layout.near.items():
            for made, cell in pairs:
                if cell not in makers.get(place, []) and self.met(place, made).any():
                    makers.setdefault(place, []).append(cell)
        return dict(sorted(makers.items()))

    def met(self, place: int, made: int, records: pl.Series | None = None) -> pl.Series:
        """Whether the path of a bound pattern is one that another one names for any record, a row per record.

        Args:
            place: Index of the bound pattern.
            made: Index of the other bound pattern.
            records: The records that count for the other one, a row per record; by default all.
        """
        others = self.paths(made)
        others = others if records is None else others.filter(records)
        return _within(self.paths(place), others)

    def makers_of(self, place: int, rec: int) -> list[int]:
        """The unit steps that write a bound pattern's path of one record."""
        found = {cell: self.waits_for(place, cell) for cell in self.makers.get(place, [])}
        return [cell for cell, rows in found.items() if rows is None or rows[rec]]

    def waits_for(self, place: int, cell: int) -> pl.Series | None:
        """For which records a step makes the path of a bound pattern; None means all."""
        if cell in self.layout.makers.get(place, []):
            return None
        met = [self.met(place, made) for made, maker in self.layout.near.get(place, []) if maker == cell]
        return reduce(or_, met)

    def paths(self, place: int) -> pl.Series:
        """The paths of a bound pattern, a row per record."""
        template = self.layout.places[place].template
        return self.record_values.select(paths_of(template).alias("path"))["path"]

    @cached_property
    def unknown(self) -> list[pl.Series | None]:
        """For each bound pattern whether its path lies in an unreadable folder; None if no path does."""
        out: list[pl.Series | None] = []
        for place in self.layout.places:
            unreadable = [one for root in place.roots for one in self.listings[root].unreadable]
            folders = [one and one + "/" for one in unreadable]
            near = [one for one in folders if one.startswith(place.template.prefix)]
            if any(place.template.prefix.startswith(one) for one in folders):
                out.append(pl.Series([True]).new_from_index(0, len(self.ids)))
            elif near:
                paths = self.record_values.select(paths_of(place.template).alias("path"))
                out.append(_below(paths["path"], near))
            else:
                out.append(None)
        return out

    def unmatched(self, most: int = 3) -> tuple[int, list[tuple[str, str]]]:
        """Count the files in the folders of raw inputs that fit no pattern.

        Folders that scripts write to are skipped: scripts may leave further files next to their outputs.

        Returns:
            The number of files, and examples: a path with the pattern that is most similar. Files of `refused`
            are not counted.
        """
        count, examples = 0, list[tuple[str, str]]()
        told = {path for path, _, _ in self._refused}
        for templates, missed in self._missed:
            others = missed.filter(~missed.is_in(list(told))) if told else missed
            count += len(others)
            examples += near_misses(others.bottom_k(most).sort(), templates, self.layout.ids, most)
        return count, examples[:most]

    def refused(self, most: int = 3) -> tuple[int, list[tuple[str, str, str]]]:
        """Count the files whose id fits `id_pattern` and cannot be a record, for example because a field is `..`.

        Returns:
            The number of files, and examples: a path, its id, and why the id is no record.
        """
        return len(self._refused), self._refused[:most]

    @cached_property
    def _refused(self) -> list[tuple[str, str, str]]:
        return [
            (path, record_id, self.layout.ids.refusal(record_id))
            for templates, missed in self._missed
            for path, record_id in refused_ids(
                missed.bottom_k(_MOST_MISSED).sort(), templates, self.layout.ids
            )
        ]

    @cached_property
    def _missed(self) -> list[tuple[list[Template], pl.Series]]:
        """For each root its patterns of raw inputs, and the files near them that fit none."""
        found = []
        for root, listing in self.listings.items():
            templates = [
                self.layout.places[place].template
                for place in self.layout.raw
                if root in self.layout.places[place].telling
            ]
            near = self._near(templates)
            if not near:
                continue
            missed = (
                listing.paths.with_row_index("row")
                .filter(pl.any_horizontal(near), pl.col("kind") == "file")
                .join(self.coded.filter(pl.col("root") == root), on="row", how="anti")["path"]
            )
            for depth, shared in self._shared_inputs(root).items():
                missed = missed.filter(~_cut(missed, depth).is_in(shared.implode()).fill_null(value=False))
            for place in self.layout.raw_folders:
                one = self.layout.places[place]
                if one.root == root:  # every file in a folder of raw data is part of it
                    missed = missed.filter(~self._fit_above(missed, one.template))
            found.append((templates, missed))
        return found

    def _shared_inputs(self, root: str) -> dict[int, pl.Series]:
        """The raw inputs under a root whose paths tell no record, by depth: several records may read one."""
        found: dict[int, list[pl.Series]] = {}
        for index in self.layout.raw:
            place = self.layout.places[index]
            if index not in self.layout.telling and root in place.roots:
                literal = pl.Series("path", [place.template.text.removesuffix("/")])
                paths = self.paths(index).drop_nulls().unique() if place.template.fields else literal
                for depth in (depths := paths.str.count_matches("/", literal=True) + 1).unique():
                    found.setdefault(depth, []).append(paths.filter(depths == depth))
        return {depth: pl.concat(paths) for depth, paths in found.items()}

    @cached_property
    def twin_files(self) -> pl.DataFrame:
        """Files that fit no pattern and differ from a fitting file only in case or Unicode form.

        Columns `first, second`: the file that fits, and the other one.
        """
        parts = [pl.DataFrame(schema={"first": pl.String, "second": pl.String})]
        missed = pl.concat([pl.Series("path", [], dtype=pl.String), *(paths for _, paths in self._missed)])
        for root, listing in self.listings.items() if len(missed) else ():
            rows = self.coded.filter(pl.col("root") == root)["row"].unique().sort()
            fit = listing.paths["path"].gather(rows)
            pairs = pl.DataFrame({"first": fit, "form": folded(fit)}).join(
                pl.DataFrame({"second": missed, "form": folded(missed)}), on="form"
            )
            parts.append(pairs.select("first", "second"))
        return pl.concat(parts).unique().sort("first", "second")

    @cached_property
    def empty_folders(self) -> pl.Series:
        """Empty folders that a pattern names for a record: they count as absent."""
        named = [pl.Series([], dtype=pl.String)]
        for root, listing in self.listings.items():
            empty = pl.Series(listing.empty, dtype=pl.String)
            templates = [place.template for place in self.layout.places if root in place.roots]
            named.append(
                empty.gather(match_columns(empty, templates, self.layout.ids)["row"].unique().sort())
            )
        return pl.concat(named).unique().sort().alias("path")

    @cached_property
    def outputs_without_input(self) -> pl.DataFrame:
        """Files that steps write, for records without any raw input: columns `path` and `_rec`."""
        raw = [place for place in self.layout.raw if self.layout.places[place].template.fields]
        written = {
            place
            for cell in self.layout.cells
            for role in ("output", "control")
            for place in cell.places(role)
        }
        there = [self.presence[place] for place in raw]
        hidden = [unknown for place in raw if (unknown := self.unknown[place]) is not None]
        out = [pl.DataFrame(schema={"path": pl.String, "_rec": pl.UInt32})]
        gone = reduce(or_, [*there, *hidden]).not_().arg_true() if there else pl.Series([], dtype=pl.UInt32)
        for root, listing in self.listings.items() if len(gone) else ():
            rows = self.coded.filter(
                pl.col("root") == root,
                pl.col("place").is_in(sorted(written - set(self.layout.raw))),
                pl.col("_rec").is_in(gone.implode()),
            ).unique(["row"], maintain_order=True)
            out.append(
                pl.DataFrame({"path": listing.paths["path"].gather(rows["row"]), "_rec": rows["_rec"]})
            )
        return pl.concat(out).sort("path")

    def _near(self, templates: Iterable[Template]) -> list[pl.Expr]:
        """For each folder of raw inputs whether a path lies in it; in the root only similar names count."""
        path = pl.col("path")
        written = {
            place.template.prefix
            for cell in self.layout.cells
            for link in cell.links
            if link.role in ("output", "control")
            and (place := self.layout.places[link.place]).template.prefix
        }
        near = {
            one.prefix: path.str.starts_with(one.prefix)
            for one in templates
            if one.prefix or self.ids.is_empty()
        }
        alike = [one.alike for one in templates if not one.prefix and one.fields]
        own = pl.lit(value=True)
        for prefix in written:
            own &= ~path.str.starts_with(prefix)
        return [*near.values(), *(path.str.contains(f"^(?i:{one})$") & own for one in alike)]

    def shared_matches(self) -> pl.DataFrame:
        """The columns of `coded` for files of patterns without an id: they belong to no record."""
        parts = [self.coded.clear()]
        for index, place in enumerate(self.layout.places):
            if index not in self.layout.telling:
                paths = (
                    self.record_values.select(paths_of(place.template).alias("path")).unique().drop_nulls()
                )
                if not place.template.fields:
                    paths = pl.DataFrame({"path": [place.template.text]})
                for root in place.roots:
                    listed = self.listings[root].paths.with_row_index("row")
                    rows = listed.join(paths, on="path", how="semi").select(
                        pl.lit(root).alias("root"),
                        "row",
                        pl.lit(index, dtype=pl.UInt16).alias("place"),
                        pl.lit(None, dtype=pl.UInt32).alias("_rec"),
                    )
                    parts.append(rows)
        return pl.concat(parts)


def _cut(paths: pl.Series, depth: int) -> pl.Series:
    """The first parts of each path, null if it has fewer."""
    return paths.str.extract(f"(?s)^((?:[^/]+/){{{depth - 1}}}[^/]+)", 1)


def _within(paths: pl.Series, others: pl.Series) -> pl.Series:
    """Whether each path is one of the other paths, lies in one of them, or contains one of them."""
    known = others.drop_nulls().unique()
    found = paths.is_in(known.implode())
    if _depths(paths) != _depths(known):
        inside, around = _folders(known), _folders(paths.alias("path"))
        found = found | paths.is_in(inside["folder"].unique().implode())
        rows = around.filter(pl.col("folder").is_in(known.implode()))["row"]
        found = found.scatter(rows, [True] * len(rows)) if len(rows) else found
    return found.fill_null(value=False)


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


def _below(paths: pl.Series, folders: Iterable[str]) -> pl.Series:
    """Whether each path lies in one of the folders, which end in `/`: one comparison per depth."""
    depths: dict[int, list[str]] = {}
    for one in folders:
        depths.setdefault(one.count("/"), []).append(one)
    path = pl.col("path")
    within = [
        path.str.extract(f"^((?:[^/]*/){{{depth}}})", 1).is_in(some).fill_null(value=False)
        for depth, some in depths.items()
    ]
    told = pl.when(path.is_not_null()).then(pl.any_horizontal(within))
    return paths.rename("path").to_frame().select(told.alias("path"))["path"]
