"""Unused files: the files of a listing that fit no pattern, or that no record needs. Pure."""

from __future__ import annotations

from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.files.path_sets import folded, meets, visible
from sinagot_catalog.patterns import match_columns, near_misses, refused_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sinagot_catalog.catalog.files.presence import Presence
    from sinagot_catalog.patterns import Template

_MOST_MISSED = 10_000
"""Number of files without a pattern that are compared with all patterns."""


class UnusedFiles:
    """The files of one listing that no row uses.

    Args:
        presence: The records of the listing and their paths.
    """

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self._layout = presence.layout
        self._listings = presence.listings

    def unmatched(self, most: int = 3) -> tuple[int, list[tuple[str, str]]]:
        """Count the files in the folders of raw inputs that fit no pattern.

        Folders that scripts write to are skipped: scripts may leave further files next to their outputs.

        Returns:
            The number of files, and examples: a path with the pattern that is most similar. Files of `refused`
            and `without_record` are not counted.
        """
        count, examples = 0, list[tuple[str, str]]()
        told = pl.Series([*self.without_record, *(path for path, _, _ in self._refused)], dtype=pl.String)
        for templates, missed in self._missed:
            others = visible(missed.filter(~missed.is_in(told.implode())) if len(told) else missed, templates)
            count += len(others)
            examples += near_misses(others.bottom_k(most).sort(), templates, self._layout.ids, most)
        return count, examples[:most]

    def refused(self, most: int = 3) -> tuple[int, list[tuple[str, str, str]]]:
        """Count the files whose id fits `id_pattern` and cannot be a record, for example because a field is `..`.

        Returns:
            The number of files, and examples: a path, its id, and why the id is not a record.
        """
        return len(self._refused), self._refused[:most]

    @cached_property
    def _refused(self) -> list[tuple[str, str, str]]:
        return [
            (path, record_id, self._layout.ids.refusal(record_id))
            for templates, missed in self._missed
            for path, record_id in refused_ids(
                missed.bottom_k(_MOST_MISSED).sort(), templates, self._layout.ids
            )
        ]

    @cached_property
    def without_record(self) -> pl.Series:
        """Files of inputs that find no records, such as optional ones, whose record has no other file."""
        silent = {self._layout.places[place].template for place in self._layout.silent}
        span = self._presence.span
        found = [pl.Series([], dtype=pl.String)]
        for templates, missed in self._missed:
            matches = match_columns(missed, [way for way in templates if way in silent], self._layout.ids)
            if span is not None:
                matches = matches.filter(span.holds(pl.col("record_id")))
            found.append(missed.gather(matches["row"].unique()))
        paths = pl.concat(found)
        return paths.filter(~paths.is_in([path for path, _, _ in self._refused])).sort()

    @cached_property
    def _missed(self) -> list[tuple[list[Template], pl.Series]]:
        """For each root its patterns of raw inputs, and the files near them that fit none."""
        pairs = []
        for root, listing in self._listings.items():
            places = [
                place
                for place in self._layout.raw
                if root in self._layout.places[place].telling and place not in self._layout.columns
            ]  # a table of records need not use every file that its columns may name
            templates = [self._layout.places[place].template for place in places]
            finding = [
                self._layout.places[place].template for place in places if place not in self._layout.silent
            ]
            near = self._near(templates, finding)
            if not near:
                continue
            coded = self._presence.coded.filter(pl.col("root") == root)["row"]
            fits = pl.Series([False]).new_from_index(0, listing.n_files + len(listing.directories))
            fits = fits.scatter(coded, values=True)
            if fits.head(listing.n_files).all():
                continue
            others = listing.paths.filter(~fits)  # few, mostly
            missed = others.filter(pl.any_horizontal(near), pl.col("kind") == "file")["path"]
            missed = missed.filter(~meets(missed, self._of_many(root)))
            for place in self._layout.raw_folders:
                one = self._layout.places[place]
                if one.root == root:  # every file in a folder of raw data is part of it
                    missed = missed.filter(~self._presence.fit_above(missed, one.template))
            pairs.append((templates, missed))
        return pairs

    def _of_many(self, root: str) -> pl.Series:
        """The files under a root that many records or a group share, and the raw inputs that are many folders."""
        raw, by_id = set(self._layout.raw), self._presence.by_id
        places = [
            index
            for index, place in enumerate(self._layout.places)
            if index not in by_id or (index in raw and place.template.is_wild and place.template.is_directory)
        ]
        matched = pl.concat([self._presence.coded, self._presence.shared])
        rows = matched.filter(pl.col("root") == root, pl.col("place").is_in(places))["row"]
        return self._listings[root].paths["path"].gather(rows.unique())

    @cached_property
    def twins(self) -> pl.DataFrame:
        """Files that fit no pattern and differ from a fitting file only in case or Unicode form.

        Columns `first, second`: the file that fits, and the other one.
        """
        parts = [pl.DataFrame(schema={"first": pl.String, "second": pl.String})]
        missed = pl.concat([pl.Series("path", [], dtype=pl.String), *(paths for _, paths in self._missed)])
        for root, listing in self._listings.items() if len(missed) else ():
            rows = self._presence.coded.filter(pl.col("root") == root)["row"].unique().sort()
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
        for root, listing in self._listings.items():
            empty = pl.Series(listing.empty, dtype=pl.String)
            templates = [place.template for place in self._layout.places if root in place.roots]
            named.append(
                empty.gather(match_columns(empty, templates, self._layout.ids)["row"].unique().sort())
            )
        return pl.concat(named).unique().sort().alias("path")

    @cached_property
    def outputs_without_input(self) -> pl.DataFrame:
        """Files that steps write, for records without any raw input: columns `path` and `_rec`."""
        shared = self._layout.silent - self._layout.telling  # other inputs of their steps find the records
        raw = [
            place
            for place in self._layout.raw
            if self._layout.places[place].template.fields and place not in shared
        ]
        written = {place for cell in self._layout.cells for place in cell.written}
        there = [self._presence.presence[place] for place in raw]
        hidden = [unknown for place in raw if (unknown := self._presence.unknown[place]) is not None]
        out = [pl.DataFrame(schema={"path": pl.String, "_rec": pl.UInt32})]
        gone = reduce(or_, [*there, *hidden]).not_().arg_true() if there else pl.Series([], dtype=pl.UInt32)
        for root, listing in self._listings.items() if len(gone) else ():
            rows = self._presence.coded.filter(
                pl.col("root") == root,
                pl.col("place").is_in(sorted(written - set(self._layout.raw))),
                pl.col("_rec").is_in(gone.implode()),
            ).unique(["row"], maintain_order=True)
            out.append(
                pl.DataFrame({"path": listing.paths["path"].gather(rows["row"]), "_rec": rows["_rec"]})
            )
        return pl.concat(out).sort("path")

    def _near(self, templates: Iterable[Template], finding: Iterable[Template]) -> list[pl.Expr]:
        """For each folder of raw inputs whether a path lies in it.

        In the root only names count that are similar to those of `finding`, the inputs that find records: beside
        these, a dataset has other files of each record, which are no misnamed optional ones.
        """
        path = pl.col("path")
        written = {
            prefix
            for cell in self._layout.cells
            for place in cell.written
            if (prefix := self._layout.places[place].template.prefix)
        }
        near = {
            template.prefix: path.str.starts_with(template.prefix)
            for template in templates
            if template.prefix or self._presence.ids.is_empty()
        }
        has_dots = self._presence.ids.head(1).str.contains(".", literal=True).any()
        alike = [way.alike(has_dots=has_dots) for way in finding if not way.prefix and way.fields]
        own = pl.lit(value=True)
        for prefix in written:
            own &= ~path.str.starts_with(prefix)
        return [*near.values(), *(path.str.contains(f"^(?i:{regex})$") & own for regex in alike)]
