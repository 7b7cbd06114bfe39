"""Record ids: finds the records of a workspace in the names of its files, and the groups of the records. Pure.

A record is an integer code: its position among the sorted ids.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import polars as pl

from sinagot_catalog.catalog.files.group_rows import GroupRows, group_rows
from sinagot_catalog.patterns import id_columns, match_columns, match_names, with_directories
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from sinagot_catalog.catalog.structure.layout import Layout
    from sinagot_catalog.storage import IdRange, Listing


@dataclass(frozen=True)
class RecordIds:
    """The records of one listing of a workspace, and which files are theirs by name.

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
