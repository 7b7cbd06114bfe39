"""The catalog: joins a layout, a listing and the last events of the journal to all tables. Pure.

Internally a record is an integer code, a step of a unit is the index of its unit step, and the presence of a bound
pattern's paths is one Boolean column with a row per record. Strings are attached to the rows of a result; sentences
(`reason`, `missing`) and times are attached last, to the remaining rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import and_, or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import status_rules
from sinagot_catalog.catalog.file_columns import FileColumns
from sinagot_catalog.catalog.file_stats import FOLDERS, Stats
from sinagot_catalog.catalog.metadata import joined
from sinagot_catalog.catalog.notices import Notice, listing_notices
from sinagot_catalog.catalog.presence import Presence
from sinagot_catalog.catalog.refusals import settled
from sinagot_catalog.catalog.staleness import CAUSES, causes_of, is_stale
from sinagot_catalog.patterns import RawFolder, paths_of
from sinagot_catalog.schema import LINKS, ROLE, STATUS, STATUS_COUNTS, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sinagot_catalog.catalog.layout import Link, UnitStep
    from sinagot_catalog.catalog.metadata import Table
    from sinagot_catalog.catalog.row_files import RowFiles

__all__ = ["Catalog", "Stats"]

_ATTEMPT = ("outcome", "run_id", "started", "ended", "seconds", "attempts", "error_type", "message", "host")
_ROLES = ("output", "input", "control", "data")
_TEXT = pl.String()


@dataclass(frozen=True)
class Catalog(Presence):
    """Every table of one listing of a workspace: the present files, and the journal's events for them.

    Attributes:
        last: The last state of each step in the journal, see `journal.LAST`.
        alive: The runs that are alive now.
        tables: The config's tables of records.
        workspace_version: `[info] version`.
        code_of: Returns the present hash of a step's code, None if it is unknown.
        row_files: Reads the files of columns from files.
    """

    last: pl.DataFrame = field(kw_only=True)
    alive: frozenset[str] = frozenset()
    tables: tuple[Table, ...] = ()
    workspace_version: str | None = None
    code_of: Callable[[UnitStep], str | None] = field(default=lambda _: None, compare=False)
    row_files: RowFiles | None = field(default=None, compare=False)

    @cached_property
    def file_columns(self) -> FileColumns:
        """The columns from files."""
        return FileColumns(self, self.row_files)

    @cached_property
    def notices(self) -> list[Notice]:
        """What the listing left out or could not use."""
        return listing_notices(self)

    # --- steps -------------------------------------------------------------------------------------------

    @cached_property
    def faults(self) -> dict[int, str]:
        """Why unit steps cannot run, by their index: the script cannot be used, or the paths are refused."""
        faults = {cell.index: cell.error for cell in self.layout.cells if cell.error is not None}
        if self.layout.doubts and len(self.ids):
            faults = settled(self.layout.doubts, self.layout.ids, self.record_values) | faults
        return faults

    def is_refused(self, cell: int) -> bool:
        """Whether the paths of a unit step put data at risk; a script that cannot be used is a different fault."""
        return cell in self.faults and (
            self.layout.cells[cell].error is None or self.layout.cells[cell].is_refused
        )

    @cached_property
    def cell_table(self) -> pl.DataFrame:
        """The columns that are the same for every record: a row per unit step."""
        cells = self.layout.cells
        return pl.DataFrame(
            {
                "task": [cell.task for cell in cells],
                "modality": [cell.modality for cell in cells],
                "step_index": [cell.step_index for cell in cells],
                "step": [cell.step for cell in cells],
                "n_inputs": [len(cell.places("input")) for cell in cells],
                "n_outputs": [len(cell.places("output")) for cell in cells],
                "_unit": [cell.unit for cell in cells],
            },
            schema={
                **{
                    name: STEPS[name]
                    for name in ("task", "modality", "step_index", "step", "n_inputs", "n_outputs")
                },
                "_unit": pl.UInt16(),
            },
        )

    @cached_property
    def last_coded(self) -> pl.DataFrame:
        """`last` with the hidden keys `_rec` and `_cell`; events of rows that do not exist are left out."""
        cells = self.cell_table.select("task", "modality", "step").with_row_index("_cell")
        codes = self.ids.to_frame().with_row_index("_rec")
        return (
            self.last.join(cells, on=["task", "modality", "step"], how="inner", nulls_equal=True)
            .join(codes, on="record_id", how="inner")
            .with_columns(pl.col("_cell").cast(pl.UInt16), status_rules.outcome(self.alive))
        )

    @property
    def highest_claim(self) -> int:
        """The highest claim number in the journal, 0 if it has none."""
        highest = self.last["_claim"].max()
        return highest if isinstance(highest, int) else 0

    @cached_property
    def steps(self) -> pl.DataFrame:
        """The core of `steps`: hidden keys, names, counts and status, a row per record and unit step."""
        count, n_cells = len(self.ids), len(self.layout.cells)
        if count * n_cells == 0:
            return self._named(pl.DataFrame(schema=_CORE))
        core = pl.concat([self._cell_core(cell) for cell in self.layout.cells])
        core = core.with_columns(self._event_columns(core.height)).with_columns(status_rules.status())
        # rows are ordered by unit step; a gather orders them by record and is cheaper than a sort
        order = pl.select(
            (pl.int_range(count * n_cells) % n_cells) * count + pl.int_range(count * n_cells) // n_cells
        ).to_series()
        return self._named(core.select(pl.col(*_CORE).gather(order)))

    def _cell_core(self, cell: UnitStep) -> pl.DataFrame:
        """Return the presence of one unit step's paths, a row per record."""
        records = pl.DataFrame({"_rec": pl.int_range(len(self.ids), dtype=pl.UInt32, eager=True)})
        inputs = [self.presence[place] for place in cell.places("input")]
        outputs = [self.presence[place] for place in cell.places("output")]
        unknown = [
            hidden & ~self.presence[link.place]
            for link in cell.links
            if link.role in ("input", "output") and (hidden := self.unknown[link.place]) is not None
        ]
        return records.with_columns(
            pl.lit(cell.index, dtype=pl.UInt16).alias("_cell"),
            _count(inputs).alias("n_inputs_found"),
            _count(outputs).alias("n_outputs_found"),
            pl.lit(_all(inputs)).alias("_ready") if inputs else pl.lit(True).alias("_ready"),
            pl.lit(_all(outputs)).alias("_made")
            if outputs
            else pl.lit(None, dtype=pl.Boolean).alias("_made"),
            pl.lit(reduce(or_, unknown)).alias("_unknown") if unknown else pl.lit(False).alias("_unknown"),
            self._broken(cell).alias("_broken"),
        )

    def _broken(self, cell: UnitStep) -> pl.Expr:
        """Whether the script cannot be used, or one of its patterns names no path; a row per record."""
        lacks = [self.pathless[link.place] for link in cell.links if link.place in self.pathless]
        return (
            pl.lit(value=True)
            if cell.index in self.faults
            else pl.lit(reduce(or_, lacks) if lacks else False)
        )

    def _event_columns(self, height: int) -> list[pl.Series]:
        """The last event of each row, by unit step: its position, its kind, and whether its run is alive."""
        last = self.last_coded
        at = _positions(_spots(last, len(self.ids)), height)
        # an event without a run comes from a log of sinagot: whether it is dead is unknown
        alive = last.select(pl.col("run_id").is_null() | pl.col("run_id").is_in(list(self.alive))).to_series()
        return [
            at.alias("_last"),
            last["event"].gather(at).alias("_event"),
            alive.gather(at).fill_null(value=False).alias("_alive"),
        ]

    def _named(self, core: pl.DataFrame) -> pl.DataFrame:
        """Attach the names that belong to the hidden keys."""
        return core.with_columns(
            self.ids.gather(core["_rec"]).alias("record_id"), *self.cell_table[core["_cell"]].get_columns()
        )

    @cached_property
    def whole_steps(self) -> pl.DataFrame:
        """`steps` with all columns that need no stats; computed when a query needs all rows."""
        return self.steps_with(self.steps, STEPS.keys() - {"stale"})

    @property
    def held_steps(self) -> pl.DataFrame:
        """`steps` with the derived columns that are already computed."""
        held: pl.DataFrame = vars(self).get("whole_steps", self.steps)
        return held

    def steps_with(
        self, rows: pl.DataFrame, names: Iterable[str], stats: Stats | None = None
    ) -> pl.DataFrame:
        """Attach derived columns to rows of `steps`; `stale` needs `stats`."""
        wanted = set(names) - set(rows.columns)
        if attempt := [name for name in _ATTEMPT if name in wanted]:
            rows = self.with_attempt(rows, attempt)
        if "missing" in wanted:
            rows = rows.with_columns(self._missing(rows))
        if "reason" in wanted:
            rows = rows.with_columns(self._reason(rows))
        if "stale" in wanted and stats is not None:
            rows = rows.with_columns(is_stale(self.stale_causes(rows, stats)).alias("stale"))
        return rows

    def with_attempt(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """Attach the journal's columns on the last attempt to rows of `steps`."""
        last = self.last_coded
        if last.is_empty():
            return rows.with_columns(pl.lit(None, dtype=last.schema[name]).alias(name) for name in names)
        return rows.with_columns(last[name].gather(rows["_last"]) for name in names)

    def _by_cell(
        self,
        name: str,
        rows: pl.DataFrame,
        where: pl.Expr,
        derive: Callable[[UnitStep, pl.DataFrame], pl.Series],
        dtype: pl.DataType = _TEXT,
    ) -> pl.Series:
        """Derive a column per unit step, because its patterns are the same for all rows; null for other rows."""
        some = rows.select("_rec", "_cell", "_last", where.alias("_some")).with_row_index("_row")
        parts = some.filter("_some").partition_by("_cell", as_dict=True)
        derived = [
            (
                part["_row"],
                derive(self.layout.cells[int(str(key[0]))], part).cast(dtype),
            )
            for key, part in parts.items()
        ]
        if not derived:
            return pl.Series(name, [None], dtype=dtype).new_from_index(0, rows.height)
        at = _positions(pl.concat([row for row, _ in derived]), rows.height)
        return pl.concat([value.alias(name) for _, value in derived]).gather(at)

    def _missing(self, rows: pl.DataFrame) -> pl.Series:
        """The absent inputs of rows of `steps`, joined by `; `."""

        def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
            places = dict.fromkeys(cell.places("input"))
            return self._absent(part, [([one], paths_of(self.layout.places[one].template)) for one in places])

        return self._by_cell("missing", rows, pl.col("n_inputs_found") < pl.col("n_inputs"), derive)

    def _waits(self, rows: pl.DataFrame) -> pl.Series:
        """The steps that would make the absent inputs of rows of `steps`, joined by `, `."""

        def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
            makers: dict[str, list[int]] = {}
            near: list[tuple[list[int], pl.Expr]] = []
            for place in cell.places("input"):
                others = [made for made in self.makers.get(place, []) if made != cell.index]
                if not others:
                    continue
                name = self.step_name(self.layout.cells[others[0]], cell)
                rows = self.waits_for(place, others[0])
                if rows is None:
                    makers.setdefault(name, []).append(place)
                else:
                    near.append(([place], pl.when(pl.lit(rows.gather(part["_rec"]))).then(pl.lit(name))))
            texts = [(made, pl.lit(name)) for name, made in makers.items()]
            return self._absent(part, [*texts, *near], ", ")

        return self._by_cell("_waits", rows, pl.col("n_inputs_found") < pl.col("n_inputs"), derive)

    def _unnamed(self, rows: pl.DataFrame) -> pl.Series:
        """Which pattern of rows of `steps` names no path, and why."""

        def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
            records = self.record_values[part["_rec"]]
            told: list[pl.Expr] = []
            for place in dict.fromkeys(link.place for link in cell.links if link.place in self.pathless):
                template = self.layout.places[place].template
                lacks = pl.lit(self.pathless[place].gather(part["_rec"]))
                text = pl.lit(f"the pattern {template.text} would have an empty part")
                for name in sorted(template.needed & set(self.layout.ids.groups)):
                    needs = f"the pattern {template.text} needs {{{name}}}, and this id has no value for it"
                    hint = f"; write {{{name}?}} where a path may lack it"
                    text = pl.when(pl.col(name) == "").then(pl.lit(needs + hint)).otherwise(text)
                told.append(pl.when(lacks).then(text))
            if not told:
                return pl.Series([None], dtype=pl.String).new_from_index(0, part.height)
            return records.select(pl.coalesce([*told, pl.lit(None, pl.String)]).alias("text")).to_series()

        return self._by_cell("_unnamed", rows, pl.col("_broken"), derive)

    def step_name(self, cell: UnitStep, seen_from: UnitStep) -> str:
        """Return the name of a step as seen from another: with its task and modality if these differ."""
        if (cell.task, cell.modality) == (seen_from.task, seen_from.modality):
            return cell.step
        return " ".join(part for part in (cell.task, cell.modality, cell.step) if part)

    def _absent(
        self, part: pl.DataFrame, texts: Sequence[tuple[Sequence[int], pl.Expr]], separator: str = "; "
    ) -> pl.Series:
        """Join the texts of the bound patterns whose paths are absent; null if none is absent."""
        if not texts:
            return pl.Series([None], dtype=pl.String).new_from_index(0, part.height)
        records = self.record_values[part["_rec"]]
        absent = [
            pl.when(~pl.lit(_all([self.presence[place].gather(part["_rec"]) for place in places]))).then(text)
            for places, text in texts
        ]
        joined = pl.concat_str(absent, separator=separator, ignore_nulls=True)
        return records.select(pl.when(joined != "").then(joined).alias("absent")).to_series()

    def _reason(self, rows: pl.DataFrame) -> pl.Series:
        """One short sentence per row of `steps` that explains its status."""
        kept = pl.col("_event").is_in(["error", "start"]).fill_null(value=False)
        plain = rows.select(
            pl.when((pl.col("status") == "DONE") & ~kept)
            .then(pl.lit("all outputs are there"))
            .when(pl.col("status") == "DATA_READY")
            .then(pl.lit("all inputs are there"))
            .alias("reason")
        ).to_series()
        # the other rows are few, and each gets its own sentence
        others = plain.is_null().arg_true()
        used = [name for name in (*_CORE, "n_inputs", "missing") if name in rows.columns]
        some = rows.select(pl.col(used).gather(others))
        some = self.steps_with(some, ("run_id", "host", "error_type", "message", "missing"))
        some = some.with_columns(self._waits(some), self._unnamed(some)).select(
            status_rules.reason(self.faults, self._unreadable())
        )
        return plain.zip_with(plain.is_not_null(), some["reason"].gather(_positions(others, rows.height)))

    def _unreadable(self) -> list[str]:
        return sorted({folder or "." for listing in self.listings.values() for folder in listing.unreadable})[
            :3
        ]

    def stale_causes(self, rows: pl.DataFrame, stats: Stats) -> pl.Series:
        """For each cause whether it makes a DONE row stale, null if unknown; a struct of `CAUSES`."""

        def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
            names = ("_inputs", "_script", "_workspace", "_code")
            done = self.with_attempt(part.select("_last"), names)
            inputs, outputs = (
                [self.link_stats(part["_rec"], link, stats) for link in cell.linked(role)]
                for role in ("input", "output")
            )
            return causes_of(
                done,
                inputs,
                outputs,
                version=cell.version,
                workspace_version=self.workspace_version,
                code=None if cell.version else self.code_of(cell),
            )

        return self._by_cell("causes", rows, pl.col("status") == "DONE", derive, CAUSES)

    def link_stats(self, codes: pl.Series, link: Link, stats: Stats) -> pl.DataFrame:
        """Return size, time and fingerprint of one link's path for records, and whether it is a folder."""
        place = self.layout.places[link.place]
        path = paths_of(place.template).alias("path")
        paths = self.record_values[codes].select(path, self.root_of(link.place, codes)).with_row_index("_row")
        parts = [
            self.stat_paths(str(root), part, stats).with_columns(part["_row"])
            for (root,), part in paths.partition_by("root", as_dict=True).items()
        ]
        if not parts:
            return self.stat_paths(place.root, paths, stats)
        return pl.concat(parts).sort("_row").drop("_row")

    def stat_paths(self, root: str, paths: pl.DataFrame, stats: Stats) -> pl.DataFrame:
        """Return the columns of `FOLDERS` and `is_folder` for paths, in their order; of a folder its content."""
        folders = self.listings[root].directories
        distinct = paths["path"].drop_nulls().unique()
        is_folder = distinct.is_in(folders.implode())
        files = stats(root, distinct.filter(~is_folder)).with_columns(count=pl.lit(None, pl.Int64))
        held = stats.folders(root, self._folders(root, distinct.filter(is_folder)))
        parts = [
            part.select(*FOLDERS, pl.lit(value).alias("is_folder"))
            for part, value in ((files, False), (held, True))
        ]
        return paths.select("path").join(pl.concat(parts), on="path", how="left", maintain_order="left")

    def _folders(self, root: str, paths: pl.Series) -> dict[str, RawFolder | None]:
        """Return folders, each with the rule that excludes the files in it that steps declare."""
        folders: dict[str, RawFolder | None] = dict.fromkeys(paths)
        for place, inside in self.layout.raw_folders.items() if folders else ():
            template = self.layout.places[place].template
            if self.layout.places[place].root != root:
                continue
            declared = [self.layout.places[one].template for one in inside]
            rows = self.record_values.with_columns(paths_of(template).alias("path"))
            for row in (
                rows.filter(pl.col("path").is_in(paths.implode())).unique("path").iter_rows(named=True)
            ):
                values = self.layout.ids.values(row["record_id"]) or {}
                folders[row["path"]] = RawFolder(template, declared, self.layout.ids, values)
        return folders

    # --- units and records -------------------------------------------------------------------------------

    @cached_property
    def described(self) -> pl.DataFrame:
        """The values of each record that do not come from files: the groups of its id and its metadata."""
        return joined(self.record_values, self.tables)

    @cached_property
    def units(self) -> pl.DataFrame:
        """The table `units` with its hidden keys."""
        units = self.layout.units
        table = (
            pl.DataFrame(
                {"task": [unit.task for unit in units], "modality": [unit.modality for unit in units]},
                schema={"task": pl.String, "modality": pl.String},
            )
            .with_row_index("_unit")
            .with_columns(pl.col("_unit").cast(pl.UInt16))
        )
        records = pl.DataFrame({"_rec": pl.int_range(len(self.ids), dtype=pl.UInt32, eager=True)})
        has_data = [
            records.with_columns(
                pl.lit(unit.index, dtype=pl.UInt16).alias("_unit"),
                self._has_data(unit.index).alias("has_data"),
            )
            for unit in units
        ]
        if not has_data:
            has_data = [
                records.clear().with_columns(_unit=pl.lit(0, pl.UInt16), has_data=pl.lit(None, pl.Boolean))
            ]
        counts = self.steps.group_by("_rec", "_unit", maintain_order=True).agg(
            *status_rules.counts(),
            pl.col("step").filter(pl.col("status").ne_missing("DONE")).first().alias("next_step"),
        )
        return (
            pl.concat(has_data)
            .sort("_rec", "_unit")
            .join(table, on="_unit", how="left", maintain_order="left")
            .join(counts, on=["_rec", "_unit"], how="left", maintain_order="left")
            .with_columns(pl.col("n_steps", *STATUS_COUNTS).fill_null(0))
            .with_columns(
                self.ids.gather(pl.concat(has_data).sort("_rec", "_unit")["_rec"]).alias("record_id")
            )
        )

    def _has_data(self, unit: int) -> pl.Series:
        """Whether a unit's first step has its inputs, or the unit's data file is present."""
        one = self.layout.units[unit]
        first = self.layout.cells[one.cells[0]].places("input") if one.cells else []
        groups = [_all([self.presence[place] for place in group]) for group in (first, one.data) if group]
        return reduce(or_, groups) if groups else pl.Series([False]).new_from_index(0, len(self.ids))

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
            folders = self._folders(root, files.filter(is_folder)["path"].unique())
            raw = [path for path, one in folders.items() if one is not None]
            whole = [path for path, one in folders.items() if one is None]
            declared = pl.col("role").is_in(["output", "control"]).fill_null(value=False)
            for paths, counted in ((raw, ~declared), (whole, pl.lit(value=True))):
                for depth in {path.count("/") for path in paths}:
                    head = pl.col("path").str.extract(f"(?s)^((?:[^/]+/){{{depth}}}[^/]+)/", 1)
                    inside = inside | ((pl.col("root") == root) & head.is_in(paths) & counted)
        return files.filter(~inside.fill_null(value=False))

    def seen_in(self, units: Sequence[int]) -> pl.Series:
        """Return the codes of the records with at least one file that matches a pattern of these units."""
        places = {
            place
            for unit in units
            for place in (
                *self.layout.units[unit].data,
                *(
                    link.place
                    for cell in self.layout.units[unit].cells
                    for link in self.layout.cells[cell].links
                ),
            )
        }
        return self.coded.filter(pl.col("place").is_in(sorted(places)))["_rec"].unique()

    # --- files and links ---------------------------------------------------------------------------------

    @cached_property
    def place_table(self) -> pl.DataFrame:
        """The owner of each bound pattern's files: a row per bound pattern that a step or a modality names."""
        rows = [self._owner(index) for index in range(len(self.layout.places))]
        names = {"task": pl.String(), "modality": pl.String(), "step": pl.String(), "role": ROLE}
        schema: dict[str, pl.DataType] = {"place": pl.UInt16(), **names, "rank": pl.UInt8()}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _owner(self, place: int) -> tuple[int, str | None, str | None, str | None, str, int]:
        """Return the step that makes a bound pattern, else its only reader, else none."""
        for rank, role in enumerate(_ROLES):
            cells = [cell for cell in self.layout.cells if place in cell.places(role)]
            if cells:
                only = [_only(getattr(cell, name) for cell in cells) for name in ("task", "modality", "step")]
                return (place, *only, role, rank)  # type: ignore[return-value]
        units = [unit for unit in self.layout.units if place in unit.data]
        return (
            place,
            _only(unit.task for unit in units),
            _only(unit.modality for unit in units),
            None,
            "data",
            _ROLES.index("data"),
        )

    @cached_property
    def files(self) -> pl.DataFrame:
        """The core of `files` with the hidden keys `root` and `row`; sizes are attached by `files_with`."""
        owned = pl.concat([self.coded, self.shared_matches()])
        parts = []
        for root, listing in self.listings.items():
            mine = owned if len(self.listings) == 1 else owned.filter(pl.col("root") == root)
            owner = self._owner_of_rows(mine, listing.paths.height)
            found = [self.ids.gather(owner["_rec"]), owner["place"], pl.lit(root).alias("root")]
            parts.append(listing.paths.with_row_index("row").with_columns(found))
        rows = pl.concat(parts)
        # a folder has a row only if a pattern names it
        rows = rows.filter((pl.col("kind") == "file") | pl.col("place").is_not_null()).sort("path")
        owners = self.place_table.drop("place", "rank").select(pl.all().gather(rows["place"]))
        return rows.drop("place").hstack(owners)

    def _owner_of_rows(self, owned: pl.DataFrame, height: int) -> pl.DataFrame:
        """The record and the bound pattern of each listed file; of several bound patterns the first in rank."""
        at = _positions(owned["row"], height)
        if height - at.null_count() < owned.height:
            ranks = self.place_table.select("place", "rank")
            owned = owned.join(ranks, on="place", how="left", maintain_order="left").sort(
                "rank", "place", descending=True, maintain_order=True
            )
            at = _positions(owned["row"], height)  # the last written value wins
        return owned.select(pl.col("_rec", "place").gather(at))

    def files_with(self, rows: pl.DataFrame, stats: Stats) -> pl.DataFrame:
        """Attach size, time and etag to rows of `files`."""
        numbered = rows.select("root", "path").with_row_index("_row")
        parts = []
        for root in self.listings:
            some = numbered.filter(pl.col("root") == root)
            parts.append(self.stat_paths(root, some, stats).with_columns(some["_row"]))
        read = pl.concat(parts)
        at = _positions(read["_row"], rows.height)
        modified = (pl.col("mtime_ns") // 1000).cast(pl.Datetime("us", "UTC")).alias("modified")
        return rows.with_columns(read[name].gather(at) for name in ("size", "mtime_ns", "etag")).with_columns(
            modified
        )

    def links(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the table `links` for rows of `steps`, with the hidden keys `_rec`, `_cell`, `_place`."""
        parts = []
        for key, part in (
            rows.select("_rec", "_cell", "record_id", "task", "modality", "step")
            .partition_by("_cell", as_dict=True)
            .items()
        ):
            values = self.record_values.drop("record_id")[part["_rec"]]
            for order, link in enumerate(self.layout.cells[int(str(key[0]))].links):
                place = self.layout.places[link.place]
                parts.append(
                    part.with_columns(values.get_columns())
                    .with_columns(
                        pl.lit(link.role).cast(ROLE).alias("role"),
                        pl.lit(link.label, dtype=pl.String).alias("label"),
                        paths_of(place.template).alias("path"),
                        self.root_of(link.place, part["_rec"]),
                        self.presence[link.place].gather(part["_rec"]).alias("exists"),
                        pl.lit(link.place, dtype=pl.UInt16).alias("_place"),
                        pl.lit(order, dtype=pl.UInt16).alias("_order"),
                    )
                    .drop(values.columns)
                )
        hidden = {"_rec": pl.UInt32(), "_cell": pl.UInt16(), "_place": pl.UInt16(), "_order": pl.UInt16()}
        if not parts:
            return pl.DataFrame(schema={**hidden, **LINKS})
        return pl.concat(parts).drop_nulls("path").select(*hidden, *LINKS).sort("_rec", "_cell", "_order")


_CORE: dict[str, pl.DataType] = {
    "_rec": pl.UInt32(),
    "_cell": pl.UInt16(),
    "status": STATUS,
    "n_inputs_found": pl.UInt16(),
    "n_outputs_found": pl.UInt16(),
    "_last": pl.UInt32(),
    "_event": pl.String(),
    "_broken": pl.Boolean(),
}


def _spots(rows: pl.DataFrame, count: int) -> pl.Series:
    """Return the positions of rows among all rows by unit step; `count` is the number of records.

    Example:
        >>> rows = pl.DataFrame({"_rec": [7], "_cell": [50]}, schema={"_rec": pl.UInt32, "_cell": pl.UInt16})
        >>> _spots(rows, 10**8).item()
        5000000007
    """
    return rows.select(pl.col("_cell").cast(pl.Int64) * count + pl.col("_rec")).to_series()


def _positions(spots: pl.Series, height: int) -> pl.Series:
    """Return the position of each of `height` rows in a list of rows, null if it is not in the list."""
    nowhere = pl.Series([None], dtype=pl.UInt32).new_from_index(0, height)
    return nowhere.scatter(spots, pl.int_range(len(spots), dtype=pl.UInt32, eager=True))


def _count(columns: Sequence[pl.Series]) -> pl.Expr:
    """Count the true columns among Boolean columns."""
    if not columns:
        return pl.lit(0, dtype=pl.UInt16)
    return pl.sum_horizontal([pl.lit(one).cast(pl.UInt16) for one in columns]).cast(pl.UInt16)


def _all(columns: Sequence[pl.Series]) -> pl.Series:
    return reduce(and_, columns)


def _only(values: Iterable[str | None]) -> str | None:
    """Return the value that all values equal, else None."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
