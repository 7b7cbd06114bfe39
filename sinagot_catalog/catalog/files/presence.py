"""Presence of files: matches listed files to patterns and records, and so finds the present paths per record. Pure.

A record is an integer code: its position among the sorted ids. The presence of a bound pattern's paths is one
Boolean column with a row per record.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Self

import polars as pl

from sinagot_catalog.catalog.files.group_rows import GroupRows, group_rows
from sinagot_catalog.catalog.files.path_sets import cut, is_below, meets
from sinagot_catalog.patterns import (
    WILD,
    id_columns,
    match_columns,
    match_names,
    paths_of,
    wild_paths,
    with_directories,
)
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.catalog.structure.layout import Layout, Link
    from sinagot_catalog.patterns import Template
    from sinagot_catalog.storage import IdRange, Listing


@dataclass(frozen=True)
class Presence:
    """The records of one listing of a workspace, and which of their paths are present.

    Attributes:
        layout: What the config and the scripts declare.
        listings: One listing per root, `dataset` first.
        expected: Ids of a table that count as records even without a file.
        asked: Ids that the user asked for; they count as records even without a file.
        span: The only ids that count; None for all.
    """

    layout: Layout
    listings: dict[str, Listing]
    expected: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    span: IdRange | None = None

    def with_records(self, ids: pl.Series) -> Self:
        """Return this catalog with further records, also those without a file."""
        new = ids.filter(~ids.is_in(self.row_ids.implode())).unique()
        return self if new.is_empty() else replace(self, asked=(*self.asked, *new))

    @cached_property
    def ids(self) -> pl.Series:
        """The record ids, sorted; a record's code is its position here."""
        # a folder may name an id and contain no file that fits
        guesses = [index for index, place in enumerate(self.layout.places) if place.is_guess]
        telling = self._fits[0].filter(~pl.col("place").is_in(sorted(self.layout.silent)))
        if guesses:
            telling = telling.filter(~(pl.col("place").is_in(guesses) & (pl.col("root") == "outputs")))
        distinct, codes = self._numbered
        used = pl.Series([False]).new_from_index(0, len(distinct)).scatter(codes[telling["key"]], True)
        ids = distinct.filter(used)
        others = [self._hidden_ids(), pl.Series(self.asked, dtype=pl.String)]
        if self.expected:
            # a row of the table may use another Unicode form than the files of its record
            nfc_ids = pl.concat([ids, *others]).unique().str.normalize("NFC")
            expected = pl.Series(self.expected, dtype=pl.String)
            others.append(expected.filter(~expected.str.normalize("NFC").is_in(nfc_ids.implode())))
        if any(map(len, others)):
            ids = pl.concat([ids, *others]).unique().sort()
        if self.span is not None:
            ids = ids.to_frame().filter(self.span.holds(pl.col("record_id"))).to_series()
        if self.layout.bys:
            ids = ids.filter(~ids.is_in(self._names_of_groups(ids).implode()))
        return ids.rechunk()  # `pl.format` panics on a column whose first chunk is empty (Polars 2.1)

    @cached_property
    def _numbered(self) -> tuple[pl.Series, pl.Series]:
        """The distinct ids of all keys, sorted, and the position of each key's id among them."""
        texts = self._fits[1]
        order = texts.arg_sort()  # cheap: a listing comes in long sorted runs
        ordered = texts[order]
        is_new = ordered.ne_missing(ordered.shift(1))
        codes = pl.Series("_rec", [0], dtype=pl.UInt32).new_from_index(0, len(texts))
        return ordered.filter(is_new).alias("record_id"), codes.scatter(order, is_new.cum_sum() - 1)

    def _names_of_groups(self, ids: pl.Series) -> pl.Series:
        """The ids that are also names of groups, and so cannot be records."""
        if not ids.str.contains("=", literal=True).any():
            return ids.clear()
        names = group_rows(id_columns(ids, self.layout.ids), self.layout.bys).values["record_id"]
        return ids.filter(ids.is_in(names.implode()))

    @cached_property
    def like_groups(self) -> pl.Series:
        """The ids in names of files that are left out, as they are also names of groups."""
        return self._names_of_groups(self._fits[1].unique().sort()) if self.layout.bys else self.ids.clear()

    @cached_property
    def coded(self) -> pl.DataFrame:
        """Columns `root, row, place, _rec`: which file fits which pattern for which record."""
        distinct, codes = self._numbered
        if not distinct.equals(self.ids):
            known = self.ids.to_frame().with_row_index("_rec")
            at = distinct.to_frame().join(known, on="record_id", how="left", maintain_order="left")["_rec"]
            codes = at[codes]
        rows, _ = self._fits
        coded = rows.drop("key").hstack([codes[rows["key"]]])
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
            wild = [
                n for n, template in enumerate(templates) if template.is_wild and not template.is_directory
            ]
            if wild:  # without a final slash a pattern with `*` names files alone
                directories = directories.filter(~pl.col("template").is_in(wild))
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
        ids = [pl.Series([], dtype=pl.String)]
        for root, listing in self.listings.items():
            if listing.unreadable:
                places = [place.template for place in self.layout.places if root in place.roots]
                heads = {
                    head for place in places for head in place.folders() if self.layout.ids.is_told_by(head)
                }
                folders = pl.Series(listing.unreadable, dtype=pl.String)
                ids.append(match_columns(folders, list(heads), self.layout.ids)["record_id"])
        return pl.concat(ids)

    @cached_property
    def record_values(self) -> pl.DataFrame:
        """`record_id` and the named groups of the id pattern, a row per record."""
        return id_columns(self.ids, self.layout.ids)

    @cached_property
    def groups(self) -> GroupRows:
        """The groups of the records, for the steps that run over groups."""
        return group_rows(self.record_values, self.layout.bys)

    @cached_property
    def row_ids(self) -> pl.Series:
        """The ids of the records, then those of their groups; the code of a row is its position here."""
        return pl.concat([self.ids, self.groups.values["record_id"]]) if self.layout.bys else self.ids

    @property
    def n_rows(self) -> int:
        """The number of records and groups."""
        return len(self.row_ids)

    @property
    def nobody(self) -> pl.Series:
        """A new mask with a row per record and group, all of them False."""
        return pl.Series([False]).new_from_index(0, self.n_rows)

    @cached_property
    def row_values(self) -> pl.DataFrame:
        """`record_id` and the named groups of the id pattern, a row per record, then a row per group."""
        if not self.layout.bys:
            return self.record_values
        return pl.concat([self.record_values, self.groups.values])

    @cached_property
    def path_values(self) -> pl.DataFrame:
        """`row_values`, and the metadata columns that patterns name: `""` where a path cannot have the value."""
        return self.row_values

    @cached_property
    def by_id(self) -> frozenset[int]:
        """The bound patterns whose paths are found by their record; the others are found by their text."""
        return frozenset(
            place
            for place in self.layout.telling
            if not any(self.layout.places[place].template.fields <= set(by) for by in self.layout.bys)
        )

    @cached_property
    def shared(self) -> pl.DataFrame:
        """The columns of `coded` for patterns that are found by their text: a row per file, record and group.

        A literal pattern has its path even without records; then `_rec` is null.
        """
        parts = [self.coded.clear()]
        for index, place in enumerate(self.layout.places):
            template = place.template
            for root in place.roots if index not in self.by_id else ():
                listed = self.listings[root].paths.with_row_index("row")
                if template.is_directory or template.is_wild:
                    kind = "directory" if template.is_directory else "file"
                    listed = listed.filter(
                        pl.col("kind") == kind, pl.col("path").str.starts_with(template.prefix)
                    )
                if template.is_wild:
                    found = wild_paths(listed["path"], self.row_values, template, self.layout.ids)
                    found = found.with_columns(listed["row"].gather(found["row"]))
                elif self.n_rows:
                    found = listed.join(self.paths(index).to_frame().with_row_index("_rec"), on="path")
                else:
                    found = listed.filter(path=template.text).with_columns(_rec=None)
                columns = (pl.lit(root).alias("root"), "row", pl.lit(index, pl.UInt16).alias("place"))
                parts.append(found.select(*columns, pl.col("_rec").cast(pl.UInt32)))
        return pl.concat(parts)

    @cached_property
    def matched(self) -> pl.DataFrame:
        """Which file is a path of which pattern for which record or group: the columns of `coded`."""
        return pl.concat([self.coded, self.shared.drop_nulls("_rec")])

    @cached_property
    def presence(self) -> list[pl.Series]:
        """For each bound pattern whether its path is present, a row per record."""
        there = self._present(self.matched)
        return [
            self._holds_own(index) if index in self.layout.raw_folders else there[index]
            for index in range(len(self.layout.places))
        ]

    def _present(self, matched: pl.DataFrame) -> list[pl.Series]:
        """For each bound pattern whether rows of `matched` contain its path, a row per record."""
        n_places, n_records = len(self.layout.places), self.n_rows
        spots = matched.select(pl.col("place").cast(pl.UInt64) * n_records + pl.col("_rec")).to_series()
        there = pl.Series([False]).new_from_index(0, n_places * n_records).scatter(spots, True)
        return [there.slice(index * n_records, n_records) for index in range(n_places)]

    def many_files(self, index: int) -> pl.DataFrame:
        """The files of a pattern with wildcards: columns `_rec`, `root`, `path`, sorted by record and path."""
        parts = []
        for root in self.layout.places[index].roots:
            paths = self.listings[root].paths["path"]
            rows = self.matched.filter(pl.col("place") == index, pl.col("root") == root)
            parts.append(rows.select("_rec", "root", paths.gather(rows["row"]).alias("path")))
        # a file of the first root hides one of the same path in the other
        return (
            pl.concat(parts).unique(["_rec", "path"], keep="first", maintain_order=True).sort("_rec", "path")
        )

    def port_paths(self, port: Sequence[Link], rows: pl.DataFrame) -> pl.DataFrame:
        """Attach the paths of an input, or of another link, to rows with the hidden key `_rec`.

        Of alternatives they are those of the first that is present, else of the first; of many files there is a row
        per file. The columns are `root`, `path`, `exists` and `_place`.
        """
        chosen = self.chosen_way(port).gather(rows["_rec"])
        parts = []
        for number, link in enumerate(port):
            some = rows.filter(chosen == number) if len(port) > 1 else rows
            there = self.presence[link.place].gather(some["_rec"]).alias("exists")
            found = some.hstack([*self.located(link.place, some["_rec"]), there])
            if self.layout.places[link.place].template.is_wild:
                files = self.many_files(link.place).with_columns(exists=True)
                found = found.join(files, on="_rec", how="left", maintain_order="left", suffix="_of")
                found = found.with_columns(
                    *(pl.coalesce(f"{name}_of", name).alias(name) for name in ("root", "path")),
                    exists=pl.col("exists_of").is_not_null(),
                ).drop("root_of", "path_of", "exists_of")
            parts.append(found.with_columns(_place=pl.lit(link.place, pl.UInt16)))
        return pl.concat(parts)

    def port_presence(self, port: Sequence[Link]) -> pl.Series:
        """Whether one of the alternatives of an input is present, a row per record."""
        return reduce(or_, [self.presence[link.place] for link in port])

    def chosen_way(self, port: Sequence[Link]) -> pl.Series:
        """The number of the first alternative of an input that is present, else 0, a row per record."""
        ways = [pl.when(pl.lit(self.presence[link.place])).then(n) for n, link in enumerate(port)]
        none = pl.lit(pl.Series([0]).new_from_index(0, self.n_rows))
        return pl.select(pl.coalesce(*ways, none).cast(pl.UInt16).alias("way")).to_series()

    @cached_property
    def pathless(self) -> dict[int, pl.Series]:
        """For each bound pattern without a path for some records (a value is empty), which: a row per record."""
        values = self.row_values
        lacked = {name for name in self.layout.ids.groups if (values[name] == "").any()}
        out = {}
        for index, place in enumerate(self.layout.places):
            if index in self.layout.columns:
                continue  # without its metadata an input is absent
            if place.template.needed & lacked or place.template.has_bare_parts:
                lacks = values.select(paths_of(place.template).is_null().alias("path"))["path"]
                if lacks.any():
                    out[index] = lacks
        return out

    def _holds_own(self, index: int) -> pl.Series:
        """Presence of a folder of raw data that steps also write to: files that steps declare do not count."""
        place = self.layout.places[index]
        template = place.template
        declared = [self.layout.places[folder].template for folder in self.layout.raw_folders[index]]
        ways = {way for other in declared for way in other.folders() if way.depth > template.depth}
        listed = self.listings[place.root].paths["path"]
        inside = cut(listed, template.depths[0] + 1).is_not_null() & listed.str.starts_with(template.prefix)
        own = listed.filter(inside)
        for other in declared:
            own = own.filter(~self.fit_above(own, other))
        for way in ways:
            own = own.filter(~self.fit(own, way))
        paths = self.paths(index)
        folders = pl.concat([cut(own, depth) for depth in template.depths]).unique()
        return paths.is_in(folders.implode()).fill_null(value=False)

    def fit_above(self, paths: pl.Series, template: Template) -> pl.Series:
        """Whether each path, or a folder around it, fits a pattern, for any record."""
        return reduce(or_, [self.fit(cut(paths, depth), template) for depth in template.depths])

    def fit(self, paths: pl.Series, template: Template) -> pl.Series:
        """Whether each path fits a pattern, for any record."""
        if self.layout.ids.is_told_by(template):
            fits = pl.Series([False]).new_from_index(0, len(paths))
            return fits.scatter(match_columns(paths, [template], self.layout.ids)["row"].unique(), True)
        shared = self.path_values.select(paths_of(template).alias("path"))["path"]
        return paths.is_in(shared.unique().implode()).fill_null(value=False)

    @cached_property
    def _in_other(self) -> dict[int, pl.Series]:
        """For each bound pattern with a second root the records whose path is there only, or is absent and raw."""
        there = self._present(self.matched.filter(pl.col("root") == "outputs"))
        out = {}
        for index in (index for index, place in enumerate(self.layout.places) if place.other is not None):
            made = [self.made_by(index, maker) for maker in self.makers.get(index, ())]
            out[index] = ~there[index] & (self.presence[index] | ~reduce(or_, made, self.nobody))
        return out

    def root_of(self, index: int, records: pl.Series) -> pl.Series:
        """The root of a bound pattern's paths for some records: the root that holds them, or should hold them."""
        place = self.layout.places[index]
        first = pl.Series("root", [place.root]).new_from_index(0, len(records))
        if place.other is None:
            return first
        elsewhere = self._in_other[index].gather(records)
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

    def met(self, place: int, other: int, records: pl.Series | None = None) -> pl.Series:
        """Whether the path of a bound pattern is one that another one names for any record, a row per record.

        Args:
            place: Index of the bound pattern.
            other: Index of the other bound pattern.
            records: The records that count for the other one, a row per record; by default all.
        """
        others = self.paths(other)
        others = others if records is None else others.filter(records)
        template = self.layout.places[place].template
        if template.is_wild:
            found = wild_paths(others.drop_nulls(), self.row_values, template, self.layout.ids)["_rec"]
            return self.nobody.scatter(found.unique(), True)
        return meets(self.paths(place), others)

    def sharing(self, place: int, records: pl.Series) -> pl.Series:
        """Extend a mask of records to all records that share the path of a bound pattern with one of them."""
        if place in self.by_id:
            return records
        paths = self.paths(place)
        return paths.is_in(paths.filter(records).drop_nulls().unique().implode()).fill_null(value=False)

    def makers_of(self, place: int, rec: int) -> list[int]:
        """The unit steps that write a bound pattern's path of one record."""
        return [cell for cell in self.makers.get(place, []) if self.made_by(place, cell)[rec]]

    def made_by(self, place: int, cell: int, rows: pl.Series | None = None) -> pl.Series:
        """For which records a step makes the path of a bound pattern, a row per record and group.

        Args:
            place: Index of the bound pattern.
            cell: Index of the unit step.
            rows: Which rows of the step count, a row per record and group; by default all.
        """
        near = self.layout.near.get(place, ())
        made = [self.met(place, output, rows) for output, maker in near if maker == cell]
        if cell in self.layout.makers.get(place, ()):
            made.append(~self.nobody if rows is None else self.sharing(place, rows))
        return reduce(or_, made, self.nobody)

    def paths(self, place: int, codes: pl.Series | None = None) -> pl.Series:
        """The paths of a bound pattern, a row per record, or for some records."""
        values = self.path_values if codes is None else self.path_values[codes]
        return values.select(paths_of(self.layout.places[place].template).alias("path"))["path"]

    def located(self, place: int, codes: pl.Series) -> pl.DataFrame:
        """The paths of a bound pattern for some records: columns `root` and `path`."""
        return pl.DataFrame([self.root_of(place, codes), self.paths(place, codes)])

    @cached_property
    def unknown(self) -> list[pl.Series | None]:
        """For each bound pattern whether its path lies in an unreadable folder; None if no path does."""
        out: list[pl.Series | None] = []
        for index, place in enumerate(self.layout.places):
            unreadable = [folder for root in place.roots for folder in self.listings[root].unreadable]
            folders = [folder and folder + "/" for folder in unreadable]
            near = [folder for folder in folders if folder.startswith(place.template.prefix)]
            if any(place.template.prefix.startswith(folder) for folder in folders):
                out.append(~self.nobody)
            elif near and place.template.is_wild:
                out.append(self._may_hide(index, near))
            elif near:
                out.append(is_below(self.paths(index), near))
            else:
                out.append(None)
        return out

    def _may_hide(self, place: int, folders: Iterable[str]) -> pl.Series:
        """Whether unreadable folders may hold files of a pattern with wildcards, a row per record."""
        parts = self.layout.places[place].template.parts
        first = next(n for n, part in enumerate(parts) if any(kind in WILD for kind, _ in part))
        paths = self.paths(place)
        if not first:
            return paths.is_not_null()
        heads = cut(paths, first)
        inside = cut(pl.Series("path", [folder.rstrip("/") for folder in folders]), first).drop_nulls()
        return (is_below(paths, folders) | heads.is_in(inside.implode())).fill_null(value=False)
