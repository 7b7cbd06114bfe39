"""Presence of files: matches listed files to patterns and records, and so finds the present paths per record. Pure.

The presence of a bound pattern's paths is one Boolean column with a row per record.
"""

from __future__ import annotations

from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.files.path_sets import cut, is_below, meets
from sinagot_catalog.catalog.files.record_ids import RecordIds
from sinagot_catalog.patterns import WILD, match_columns, paths_of, wild_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.catalog.structure.layout import Link
    from sinagot_catalog.patterns import Template


class Presence(RecordIds):
    """Which paths of the records and groups of one listing are present."""

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
