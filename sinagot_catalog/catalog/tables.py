"""The catalog: joins a layout, a listing and the last events of the journal to all tables. Pure.

Internally a record is an integer code, a step of a unit is the index of its unit step, and the presence of a bound
pattern's paths is one Boolean column with a row per record. Strings are attached to the rows of a result; sentences
(`reason`, `missing`) and times are attached last, to the remaining rows.
"""

from __future__ import annotations

from dataclasses import field
from functools import cached_property, reduce
from operator import and_, or_
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs

from sinagot_catalog.catalog.expressions import only
from sinagot_catalog.catalog.files.file_stats import folder_rules, stat_rows
from sinagot_catalog.catalog.files.path_sets import is_below
from sinagot_catalog.catalog.files.row_positions import positions
from sinagot_catalog.catalog.files.unused_files import UnusedFiles
from sinagot_catalog.catalog.rules import status_rules
from sinagot_catalog.catalog.rules.notices import Notice, listing_notices
from sinagot_catalog.catalog.steps_table import StepsTable
from sinagot_catalog.catalog.stored_tables.file_columns import FileColumns
from sinagot_catalog.catalog.stored_tables.metadata import joined
from sinagot_catalog.catalog.stored_tables.metadata_values import text_of
from sinagot_catalog.schema import LINKS, ROLE, STATUS_COUNTS
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from sinagot_catalog.catalog.files.file_stats import Stats
    from sinagot_catalog.catalog.stored_tables.metadata import Table
    from sinagot_catalog.catalog.stored_tables.row_files import RowFiles


@dataclass(frozen=True)
class Catalog(StepsTable):
    """Every table of one listing of a workspace: the present files, and the journal's events for them.

    Attributes:
        tables: The config's tables of records.
        row_files: Reads the files of columns from files.
        owned: For a root, which of its paths count as files here, if other catalogs count the others.
    """

    tables: tuple[Table, ...] = ()
    row_files: RowFiles | None = field(default=None, compare=False)
    owned: dict[str, pl.Expr] = field(default_factory=dict, compare=False)

    @cached_property
    def unused(self) -> UnusedFiles:
        """The listed files that no row uses."""
        return UnusedFiles(self)

    @cached_property
    def file_columns(self) -> FileColumns:
        """The columns from files."""
        return FileColumns(self, self.row_files)

    @cached_property
    def notices(self) -> list[Notice]:
        """What the listing left out or could not use."""
        return listing_notices(self)

    # --- units and records -------------------------------------------------------------------------------

    @cached_property
    def described(self) -> pl.DataFrame:
        """The values of each record that do not come from files: the groups of its id and its metadata."""
        return joined(self.record_values, self.tables)

    @cached_property
    def path_values(self) -> pl.DataFrame:
        """`record_values`, and the metadata columns that patterns name: `""` where a path cannot have the value."""
        wanted = sorted({name for names in self.layout.columns.values() for name in names})
        if not wanted:
            return self.row_values
        absent = [pl.lit("").alias(name) for name in wanted if name not in self.metadata.columns]
        is_record = pl.int_range(pl.len()) < len(self.ids)  # a group has no row in a table
        return self.row_values.hstack(
            self.metadata.with_columns(absent).select(
                pl.when(is_record).then(_as_path_part(name)).otherwise(pl.lit("")).alias(name)
                for name in wanted
            )
        )

    @cached_property
    def metadata(self) -> pl.DataFrame:
        """`record_id` and the metadata of each record, as scripts see it: numbers, Booleans and texts.

        The groups follow, with the values that all records of a group share.
        """
        own = [name for name in self.record_values.columns if name != "record_id"]
        frame = self.described.drop(own)
        numbers = cs.float() | cs.decimal()
        texts = frame.select(~(cs.numeric() | cs.boolean() | cs.by_name("record_id"))).schema
        frame = frame.with_columns(
            numbers.cast(pl.Float64).fill_nan(None), *(text_of(name, dtype) for name, dtype in texts.items())
        )
        if not self.layout.bys:
            return frame
        frame = self.group_steps.with_group_values(frame)
        return self.row_ids.to_frame().join(frame, on="record_id", how="left", maintain_order="left")

    @cached_property
    def units(self) -> pl.DataFrame:
        """The table `units` with its hidden keys."""
        units = self.layout.units
        schema = {"_unit": pl.UInt16, "task": pl.String, "modality": pl.String}
        names = [(unit.index, unit.task, unit.modality) for unit in units]
        has_data = [pl.Series([], dtype=pl.Boolean), *(self._has_data(unit.index) for unit in units)]
        rows = (
            pl.DataFrame(names, schema=schema, orient="row")
            .join(self.ids.to_frame().with_row_index("_rec"), how="cross")
            .with_columns(pl.concat(has_data).alias("has_data"))
            .sort("_rec", "_unit")
        )
        is_through = pl.col("status").is_in(["DONE", "EXCLUDED"]).fill_null(value=False)
        counts = self.steps.group_by("_rec", "_unit", maintain_order=True).agg(
            *status_rules.counts(),
            pl.col("step").filter(~is_through).first().alias("next_step"),
        )
        found = rows.join(counts, on=["_rec", "_unit"], how="left", maintain_order="left")
        return found.with_columns(pl.col("n_steps", *STATUS_COUNTS).fill_null(0))

    def _has_data(self, index: int) -> pl.Series:
        """Whether a unit's first step has its inputs, or the unit's data file is present."""
        unit = self.layout.units[index]
        ports = self.layout.cells[unit.cells[0]].required if unit.cells else []
        first = [self.port_presence(port) for port in ports]
        data = [self.presence[place] for place in unit.data]
        groups = [reduce(and_, group) for group in (first, data) if group]
        return reduce(or_, groups, self.nobody).head(len(self.ids))

    @cached_property
    def records(self) -> pl.DataFrame:
        """The core of `records` with its hidden key; `size` and times are attached by `records_with`."""
        counts = self.steps.group_by("_rec").agg(*status_rules.counts())
        units = len(self.layout.units)
        files = (
            self.coded.select("_rec", "root", "row").unique().group_by("_rec").agg(pl.len().alias("n_files"))
        )
        frame = self.described.with_row_index("_rec")
        return (
            frame.with_columns(pl.lit(units, dtype=pl.UInt32).alias("n_units"))
            .join(counts, on="_rec", how="left", maintain_order="left")
            .join(files, on="_rec", how="left", maintain_order="left")
            .with_columns(pl.col("n_steps", *STATUS_COUNTS, "n_files").fill_null(0).cast(pl.UInt32))
        )

    def records_with(self, rows: pl.DataFrame, stats: Stats) -> pl.DataFrame:
        """Attach size and times of the records' files."""
        files = self.coded.select("_rec", "root", "row").unique()
        files = files.join(rows.select("_rec"), on="_rec", how="semi")
        read = self.files_with(self._apart(self.files.join(files, on=["root", "row"], how="semi")), stats)
        sums = (
            files.join(read, on=["root", "row"], how="left")
            .group_by("_rec")
            .agg(
                pl.col("size").sum(),
                pl.col("modified").min().alias("first_modified"),
                pl.col("modified").max().alias("last_modified"),
            )
        )
        return rows.join(sums, on="_rec", how="left", maintain_order="left")

    def _apart(self, files: pl.DataFrame) -> pl.DataFrame:
        """Return rows of `files` without those that already count for a folder among them."""
        inside = pl.lit(value=False)
        for root in self.listings:
            is_folder = (pl.col("root") == root) & (pl.col("kind") == "directory")
            folders = folder_rules(self, root, files.filter(is_folder)["path"].unique())
            raw = [path for path, item in folders.items() if item is not None]
            whole = [path for path, item in folders.items() if item is None]
            declared = pl.col("role").is_in(["output", "control"]).fill_null(value=False)
            for paths, counted in ((raw, ~declared), (whole, pl.lit(value=True))):
                if not paths:
                    continue
                is_inside = pl.lit(is_below(files["path"], [f"{path}/" for path in paths]))
                inside = inside | ((pl.col("root") == root) & is_inside & counted)
        return files.filter(~inside)

    # --- files and links ---------------------------------------------------------------------------------

    @cached_property
    def place_table(self) -> pl.DataFrame:
        """The owner of each bound pattern's files: the step that makes it, else its only reader, else none."""
        cells, units = self.layout.cells, self.layout.units
        users: list[tuple[object, ...]] = [
            (link.place, link.role, cell.task, cell.modality, cell.step)
            for cell in cells
            for link in cell.links
        ]
        users += [(place, "data", unit.task, unit.modality, None) for unit in units for place in unit.data]
        names = {"task": pl.String(), "modality": pl.String(), "step": pl.String()}
        uses = pl.DataFrame(users, schema={"place": pl.UInt16(), "role": ROLE, **names}, orient="row")
        role = pl.col("role")
        owners = uses.group_by("place").agg(
            role.min(), *(only(pl.col(name).filter(role == role.min())).alias(name) for name in names)
        )
        places = pl.DataFrame({"place": range(len(self.layout.places))}, schema={"place": pl.UInt16})
        found = places.join(owners, on="place", how="left", maintain_order="left")
        return found.with_columns(role.fill_null(pl.lit("data", ROLE)))

    @property
    def n_files(self) -> int:
        """How many files the listing has."""
        return sum(
            item.paths.filter(self.owned[root], pl.col("kind") == "file").height
            if root in self.owned
            else item.n_files
            for root, item in self.listings.items()
        )

    @cached_property
    def files(self) -> pl.DataFrame:
        """The core of `files` with the hidden keys `root` and `row`; sizes are attached by `files_with`."""
        # a file that records share belongs to none of them
        shared = self.shared.filter(~pl.col("place").is_in(sorted(self.layout.telling))).drop("_rec").unique()
        owned = pl.concat([self.coded, shared], how="diagonal")
        parts = []
        for root, listing in self.listings.items():
            mine = owned if len(self.listings) == 1 else owned.filter(pl.col("root") == root)
            owner = self._owner_of_rows(mine, listing.paths.height)
            found = [self.ids.gather(owner["_rec"]), owner["place"], pl.lit(root).alias("root")]
            rows = listing.paths.with_row_index("row").with_columns(found)
            parts.append(rows.filter(self.owned[root]) if root in self.owned else rows)
        rows = pl.concat(parts)
        # a folder has a row only if a pattern names it
        rows = rows.filter((pl.col("kind") == "file") | pl.col("place").is_not_null()).sort("path")
        owners = self.place_table.drop("place").select(pl.all().gather(rows["place"]))
        return rows.drop("place").hstack(owners)

    def _owner_of_rows(self, owned: pl.DataFrame, height: int) -> pl.DataFrame:
        """The record and the bound pattern of each listed file; of several bound patterns the first by role."""
        at = positions(owned["row"], height)
        if height - at.null_count() < owned.height:
            roles = self.place_table.select("place", "role")
            owned = owned.join(roles, on="place", how="left", maintain_order="left").sort(
                "role", "place", descending=True, maintain_order=True
            )
            at = positions(owned["row"], height)  # the last written value wins
        return owned.select(pl.col("_rec", "place").gather(at))

    def files_with(self, rows: pl.DataFrame, stats: Stats) -> pl.DataFrame:
        """Attach size, time and etag to rows of `files`."""
        read = stat_rows(self, rows, stats).select("size", "mtime_ns", "etag")
        modified = (pl.col("mtime_ns") // 1000).cast(pl.Datetime("us", "UTC")).alias("modified")
        return rows.with_columns(read.get_columns()).with_columns(modified)

    def links(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the table `links` for rows of `steps`, with the hidden keys `_rec`, `_cell`, `_place`."""
        hidden = {"_rec": pl.UInt32(), "_cell": pl.UInt16(), "_place": pl.UInt16(), "_order": pl.UInt16()}
        parts = [pl.DataFrame(schema={**hidden, **LINKS})]
        rows = rows.select("_rec", "_cell", "record_id", "task", "modality", "step")
        for (key,), part in rows.partition_by("_cell", as_dict=True).items():
            cell = self.layout.cells[int(str(key))]
            ports = [*cell.input_ports, *([link] for link in cell.links if link.role != "input")]
            for order, port in enumerate(ports):
                is_own = self.layout.is_own(cell, port)
                found = self.port_paths(port, part) if is_own else self.group_steps.paths(cell, port, part)
                columns = (
                    pl.lit(port[0].role, ROLE).alias("role"),
                    pl.lit(port[0].label, pl.String).alias("label"),
                    pl.lit(order, pl.UInt16).alias("_order"),
                )
                parts.append(found.with_columns(columns).select(*hidden, *LINKS))
        return pl.concat(parts).drop_nulls("path").sort("_rec", "_cell", "_order", "path")


def _as_path_part(name: str) -> pl.Expr:
    """A metadata column as a part of paths: `""` for a value that is no plain name, as for ids."""
    text = pl.col(name).cast(pl.String).fill_null("")
    is_plain = ~(text.str.contains(r"[/\p{Cc}]") | text.is_in([".", ".."]))
    return pl.when(is_plain).then(text).otherwise(pl.lit("")).alias(name)
