"""The table `steps`: joins the presence of each step's paths with the last events of the journal. Pure.

A step of a unit is the index of its unit step. Names and statuses are columns of whole tables; sentences (`reason`,
`missing`), attempts and `stale` are attached to the remaining rows of a query.
"""

from __future__ import annotations

from dataclasses import field
from functools import cached_property, reduce
from operator import and_, or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.files.file_stats import files_stats, port_stats
from sinagot_catalog.catalog.files.presence import Presence
from sinagot_catalog.catalog.files.row_positions import positions, spots
from sinagot_catalog.catalog.rules import status_rules
from sinagot_catalog.catalog.rules.groups import GroupSteps
from sinagot_catalog.catalog.rules.reasons import missing, reason
from sinagot_catalog.catalog.rules.staleness import is_stale, row_causes
from sinagot_catalog.catalog.stored_tables.exclusions import ExcludedRows, Exclusions
from sinagot_catalog.catalog.structure.path_conflicts import settled
from sinagot_catalog.errors import row_label
from sinagot_catalog.schema import STATUS, STEPS
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sinagot_catalog.catalog.files.file_stats import Stats
    from sinagot_catalog.catalog.structure.layout import Link, UnitStep

_ATTEMPT = ("outcome", "run_id", "started", "ended", "seconds", "attempts", "error_type", "message", "host")
_TEXT = pl.String()


@dataclass(frozen=True)
class StepsTable(Presence):
    """The rows of `steps` of one listing of a workspace.

    Attributes:
        last: The last state of each step in the journal, see `journal.LAST`.
        alive: The runs that are alive now.
        workspace_version: `[info] version`.
        code_of: Returns the present hash of a step's code, None if it is unknown.
        exclusions: The table of exclusions.
    """

    last: pl.DataFrame = field(kw_only=True)
    alive: frozenset[str] = frozenset()
    workspace_version: str | None = None
    code_of: Callable[[UnitStep], str | None] = field(default=lambda _: None, compare=False)
    exclusions: Exclusions = field(default_factory=Exclusions)

    @cached_property
    def faults(self) -> dict[int, str]:
        """Why unit steps cannot run, by their index: the script cannot be used, or the paths are refused."""
        faults = {cell.index: cell.error for cell in self.layout.cells if cell.error is not None}
        if self.layout.doubts and len(self.ids):
            faults = settled(self.layout.doubts, self.layout.ids, self.record_values) | faults
        return faults

    @cached_property
    def exclusion_texts(self) -> dict[int, pl.DataFrame]:
        """Why rows are excluded, by unit step; see `ExcludedRows.texts`."""
        return ExcludedRows(self).texts if self.exclusions.rows.height else {}

    @cached_property
    def excluded(self) -> dict[int, pl.Series]:
        """By unit step, if it has excluded rows: whether its row is excluded, a row per record."""
        return {cell: text["reason"].is_not_null() for cell, text in self.exclusion_texts.items()}

    def is_refused(self, cell: int) -> bool:
        """Whether the paths of a unit step put data at risk; a script that cannot be used is a different fault."""
        return cell in self.faults and (
            self.layout.cells[cell].error is None or self.layout.cells[cell].is_refused
        )

    @cached_property
    def cell_table(self) -> pl.DataFrame:
        """The columns that are the same for every record: a row per unit step."""
        names = ("task", "modality", "step_index", "step", "n_inputs", "by", "n_outputs")
        rows = [
            (
                *(cell.task, cell.modality, cell.step_index, cell.step, len(cell.required)),
                None if cell.by is None else ",".join(cell.by),
                len(cell.places("output")),
                cell.unit,
            )
            for cell in self.layout.cells
        ]
        schema = {**{name: STEPS[name] for name in names}, "_unit": pl.UInt16()}
        return pl.DataFrame(rows, schema=schema, orient="row")

    @cached_property
    def last_coded(self) -> pl.DataFrame:
        """`last` with the hidden keys `_rec` and `_cell`; events of rows that do not exist are left out."""
        cells = self.cell_table[["task", "modality", "step"]].with_row_index("_cell")
        codes = self.row_ids.to_frame().with_row_index("_rec")
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
        count, n_cells = self.n_rows, len(self.layout.cells)
        if count * n_cells == 0:
            return self._named(pl.DataFrame(schema=_CORE))
        parts = [self._judged(cell.index) for cell in self.layout.cells]
        for cell, waits in self.soft_waits.items():
            is_waiting = reduce(or_, [rows for _, rows in waits])
            parts[cell] = _judge(parts[cell].with_columns(pl.col("_ready") & ~pl.lit(is_waiting)))
        core = pl.concat([part[list(_CORE)] for part in parts], rechunk=True)
        # rows are ordered by unit step; a gather orders them by record and is cheaper than a sort
        order = pl.select(
            (pl.int_range(count * n_cells) % n_cells) * count + pl.int_range(count * n_cells) // n_cells
        ).to_series()
        if self.layout.bys:  # each unit step has rows of records, or rows of its groups
            valid = pl.concat([self.group_steps.valid(cell) for cell in self.layout.cells])
            order = order.filter(valid.gather(order))
        return self._named(core.select(pl.all().gather(order)))

    @cached_property
    def group_steps(self) -> GroupSteps:
        """Judges the groups of group steps."""
        return GroupSteps(self)

    @cached_property
    def _held_judged(self) -> dict[int, pl.DataFrame]:
        return {}

    def _judged(self, cell: int) -> pl.DataFrame:
        """The core of `steps` of one unit step, judged as if no input could still appear.

        A group is judged after the steps of its members.
        """
        if cell not in self._held_judged:
            events = [column.slice(cell * self.n_rows, self.n_rows) for column in self._events]
            self._held_judged[cell] = _judge(self._cell_core(self.layout.cells[cell]).hstack(events))
        return self._held_judged[cell]

    def _status(self, cell: int) -> pl.Series:
        return self._judged(cell)["status"].cast(pl.String)

    @cached_property
    def soft_waits(self) -> dict[int, list[tuple[int, pl.Series]]]:
        """For each unit step the steps that are still to make one of its soft inputs, and for which records.

        Optional inputs, alternatives and many files may be there in part while a step has yet to make the others.
        """
        waits: dict[int, list[tuple[int, pl.Series]]] = {}
        for cell in self.layout.cells:
            soft = [
                port for port in cell.input_ports if self.is_soft(port) and self.layout.is_own(cell, port)
            ]
            for link in (link for port in soft for link in port):
                for maker in self.makers.get(link.place, ()):
                    if maker == cell.index:
                        continue
                    coming = self.is_coming(maker, frozenset({cell.index}))
                    coming = coming & self.made_by(link.place, maker)
                    if coming.any():
                        waits.setdefault(cell.index, []).append((maker, coming))
        return waits

    def is_soft(self, port: Sequence[Link]) -> bool:
        """Whether an input may be there in part: it is optional, has alternatives, or is many files."""
        return len(port) > 1 or port[0].is_optional or self.layout.places[port[0].place].template.is_wild

    def is_coming(self, cell: int, seen: frozenset[int]) -> pl.Series:
        """Whether a step is running, can run, is unknown, or waits only for steps of which this is true.

        A row per record and group; the rows below a group have its value.

        Args:
            cell: The step.
            seen: The steps that asked, so that a circle of steps ends.
        """
        return self._outlook(self._is_coming, cell, seen)

    def is_failing(self, cell: int, seen: frozenset[int]) -> pl.Series:
        """Whether a step failed, or can only wait for a step of which this is true; as `is_coming`."""
        return self._outlook(self._is_failing, cell, seen)

    def _outlook(
        self, judge: Callable[[int, frozenset[int]], pl.Series], cell: int, seen: frozenset[int]
    ) -> pl.Series:
        """Judge a step once, though several others ask: of the steps that asked, those before it matter."""
        key = (judge.__name__, cell, seen & self.group_steps.upstream(cell))
        if key not in self._held_outlooks:
            self._held_outlooks[key] = judge(cell, seen)
        return self._held_outlooks[key]

    @cached_property
    def _held_outlooks(self) -> dict[tuple[str, int, frozenset[int]], pl.Series]:
        return {}

    def _is_coming(self, cell: int, seen: frozenset[int]) -> pl.Series:
        step, status = self.layout.cells[cell], self._status(cell)
        coming = status.is_in(["DATA_READY", "PROCESSING"]).fill_null(value=True)
        waits = status.eq_missing("INIT")
        if waits.any():
            if step.by is not None:
                states = self.group_steps.states(step)
                waits = waits & (states.sums["ready"] | states.sums["waiting"])
            for port in self._own_required(step):
                made = self._of_makers(port, seen | {cell}, self.is_coming)
                waits = waits & reduce(or_, made, self.port_presence(port))
            coming = coming | waits
        return self.group_steps.spread(step, coming)

    def has_failed(self, cell: int) -> pl.Series:
        """Whether a step itself failed, a row per record and group."""
        return self._status(cell).eq_missing("ERROR")

    def _is_failing(self, cell: int, seen: frozenset[int]) -> pl.Series:
        step, failed = self.layout.cells[cell], self.has_failed(cell)
        status = self._status(cell)
        waits = status.eq_missing("INIT")
        unmade = waits | status.eq_missing("DATA_NOT_AVAILABLE")
        if step.by is not None and unmade.any():
            failed = failed | (unmade & self.group_steps.states(step).sums["lost"])
        if waits.any():
            for port in self._own_required(step):
                lacks = waits & ~self.port_presence(port)
                if lacks.any():
                    held = self._of_makers(port, seen | {cell}, self.is_failing)
                    failed = failed | (lacks & reduce(or_, held, ~lacks))
        spread = self.group_steps.spread(step, failed)
        return spread & ~self.is_coming(cell, seen) if waits.any() else spread

    def _own_required(self, cell: UnitStep) -> list[list[Link]]:
        """The required inputs of a unit step that are not of single members."""
        return [port for port in cell.required if self.layout.is_own(cell, port)]

    def _of_makers(
        self, port: Sequence[Link], seen: frozenset[int], judge: Callable[[int, frozenset[int]], pl.Series]
    ) -> Iterator[pl.Series]:
        """For each step that makes an input, which of its rows are so by a judgement; a row per record."""
        for link in port:
            for maker in set(self.makers.get(link.place, ())) - seen:
                yield judge(maker, seen) & self.made_by(link.place, maker)

    def _cell_core(self, cell: UnitStep) -> pl.DataFrame:
        """Return the presence of one unit step's paths, a row per record."""
        records = pl.DataFrame({"_rec": pl.int_range(self.n_rows, dtype=pl.UInt32, eager=True)})
        own = [port for port in cell.input_ports if self.layout.is_own(cell, port)]
        inputs = [self.port_presence(port) for port in self._own_required(cell)]
        outputs = [self.presence[place] for place in cell.places("output")]
        unknown = [
            hidden & ~self.port_presence(port)
            for port in (*own, *([link] for link in cell.linked("output")))
            for link in port
            if (hidden := self.unknown[link.place]) is not None
        ]
        if len(own) < len(cell.input_ports):  # the others are of single members
            states = self.group_steps.states(cell).sums
            inputs += [states["ready"]] * max(len(cell.required) - len(inputs), 1)
            unknown.append(states["unknown"])
        needed = [*(port[0].place for port in self._own_required(cell) if len(port) == 1), *cell.written]
        lacks = [self.pathless[place] for place in needed if place in self.pathless]
        lacks += [~self.nobody] if cell.index in self.faults else []
        return records.with_columns(
            pl.lit(cell.index, pl.UInt16).alias("_cell"),
            _count(inputs).alias("n_inputs_found"),
            _count(outputs).alias("n_outputs_found"),
            pl.lit(reduce(and_, inputs, ~self.nobody)).alias("_ready"),
            pl.lit(reduce(and_, outputs) if outputs else None, pl.Boolean).alias("_made"),
            pl.lit(reduce(or_, unknown, self.nobody)).alias("_unknown"),
            pl.lit(reduce(or_, lacks, self.nobody)).alias("_broken"),
            pl.lit(self.excluded.get(cell.index, False)).alias("_excluded"),
        )

    @cached_property
    def _events(self) -> list[pl.Series]:
        """The last event of each row, by unit step: its position, its kind, and whether its run is alive."""
        last = self.last_coded
        at = positions(spots(last, self.n_rows), self.n_rows * len(self.layout.cells))
        # an event without a run comes from a log of sinagot: whether it is dead is unknown
        alive = pl.col("run_id").is_null() | pl.col("run_id").is_in(list(self.alive))
        told = last.select(
            pl.col("event").gather(at).alias("_event"),
            alive.gather(at).fill_null(value=False).alias("_alive"),
        )
        return [at.alias("_last"), *told.get_columns()]

    def _named(self, core: pl.DataFrame) -> pl.DataFrame:
        """Attach the names that belong to the hidden keys."""
        return core.with_columns(
            self.row_ids.gather(core["_rec"]).alias("record_id"),
            *self.cell_table[core["_cell"]].get_columns(),
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
            rows = rows.with_columns(missing(self, rows))
        if "reason" in wanted:
            rows = rows.with_columns(reason(self, rows))
        if "stale" in wanted and stats is not None:
            rows = rows.with_columns(is_stale(self.stale_causes(rows, stats)).alias("stale"))
        return rows

    @cached_property
    def metadata(self) -> pl.DataFrame:
        """`record_id` and the metadata of each record, as scripts see it."""
        return self.record_values.select("record_id")

    def with_attempt(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """Attach the journal's columns on the last attempt to rows of `steps`."""
        last = self.last_coded
        if last.is_empty():
            return rows.with_columns(pl.lit(None, dtype=last.schema[name]).alias(name) for name in names)
        return rows.hstack(last.select(pl.col(names).gather(rows["_last"])).get_columns())

    def by_unit_step(
        self,
        name: str,
        rows: pl.DataFrame,
        where: pl.Expr,
        derive: Callable[[UnitStep, pl.DataFrame], pl.Series],
        dtype: pl.DataType = _TEXT,
    ) -> pl.Series:
        """Derive a column per unit step, because its patterns are the same for all rows; null for other rows."""
        some = rows.select("_rec", "_cell", "_last", where.alias("_some")).with_row_index("_row")
        if not some["_some"].any():
            return pl.Series(name, [None], dtype=dtype).new_from_index(0, rows.height)
        parts = some.filter("_some").partition_by("_cell", as_dict=True)
        derived = [
            (
                part["_row"],
                derive(self.layout.cells[int(str(key[0]))], part).cast(dtype),
            )
            for key, part in parts.items()
        ]
        at = positions(pl.concat([row for row, _ in derived]), rows.height)
        return pl.concat([value.alias(name) for _, value in derived]).gather(at)

    def step_name(self, cell: UnitStep, seen_from: UnitStep) -> str:
        """Return the name of a step as seen from another: with its task and modality if these differ."""
        if (cell.task, cell.modality) == (seen_from.task, seen_from.modality):
            return cell.step
        return row_label(cell.task, cell.modality, cell.step)

    @property
    def unreadable(self) -> list[str]:
        """The folders that could not be read, sorted."""
        return sorted({folder or "." for listing in self.listings.values() for folder in listing.unreadable})

    def stale_causes(self, rows: pl.DataFrame, stats: Stats) -> pl.Series:
        """For each cause whether it makes a DONE row stale, null if unknown; a struct of `CAUSES`."""
        return row_causes(self, rows, stats, "DONE", ("done", "accepted"))

    def fails_again(self, rows: pl.DataFrame, stats: Stats) -> pl.Series:
        """Whether a row failed, and what it reads, its code and its parameters are the same as then."""
        return (
            is_stale(row_causes(self, rows, stats, "ERROR", ("error", "half"))).not_().fill_null(value=False)
        )

    def port_stats(self, cell: UnitStep, codes: pl.Series, port: list[Link], stats: Stats) -> pl.DataFrame:
        """Return size, time and fingerprint of one path or input of rows of a unit step."""
        if port[0].role != "input" or self.layout.is_own(cell, port):
            return port_stats(self, codes, port, stats)
        files = self.group_steps.paths(cell, port, codes.unique().to_frame("_rec"))
        return files_stats(self, codes, files.filter("exists"), stats)


_CORE: dict[str, pl.DataType] = {
    "_rec": pl.UInt32(),
    "_cell": pl.UInt16(),
    "status": STATUS,
    "n_inputs_found": pl.UInt16(),
    "n_outputs_found": pl.UInt16(),
    "_last": pl.UInt32(),
    "_event": pl.String(),
    "_rule": status_rules.RULE,
}


def _judge(core: pl.DataFrame) -> pl.DataFrame:
    return core.with_columns(status_rules.deciding_rule()).with_columns(status_rules.status())


def _count(columns: Sequence[pl.Series]) -> pl.Expr:
    """Count the true columns among Boolean columns."""
    numbers = [pl.lit(column).cast(pl.UInt16) for column in columns]
    return pl.sum_horizontal(pl.lit(0, pl.UInt16), *numbers).cast(pl.UInt16)
