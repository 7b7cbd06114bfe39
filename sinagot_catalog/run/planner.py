"""The planner: makes a `Plan` from selected rows of `steps`: what runs, in which order, and why the rest does not.

It only reads a catalog and sizes of files; it writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial, reduce
from graphlib import CycleError, TopologicalSorter
from operator import and_, or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import fixed_action, in_words, is_stale, stat_paths
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.patterns import paths_of
from sinagot_catalog.run.parts import Part, part_of, steps_of_no_part
from sinagot_catalog.run.upstream import upstream_rows
from sinagot_catalog.schema import ACTION, PLAN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sinagot_catalog.catalog import Catalog, Layout, Stats, UnitStep
    from sinagot_catalog.run.request import RunOptions

__all__ = ["Plan", "make_plan"]

_SAMPLE, _SAMPLE_REMOTE = 2000, 200
_SHOWN = 10


@dataclass(frozen=True)
class Plan:
    """What a run would do: every selected row, in order, with its action and reason.

    Attributes:
        frame: `record_id, task, modality, step, action` (`run`, `skip` or `blocked`), `reason, status`.
        rows: The same rows with hidden keys: `_rec, _cell, _phase, _component`, and the median time of each step.
    """

    frame: pl.DataFrame
    rows: pl.DataFrame = field(repr=False)
    measure: Callable[[pl.DataFrame], pl.DataFrame] | None = field(repr=False, compare=False, default=None)
    """Returns the columns `step, bytes` for some rows; reads sizes."""

    @property
    def n_run(self) -> int:
        """Number of rows that would run."""
        return self.frame.filter(pl.col("action") == "run").height

    @property
    def costs(self) -> pl.DataFrame:
        """Estimated time of the rows that would run: per step the rows, the median of earlier runs, their product.

        Columns `step, rows, seconds_each, seconds`; seconds are null for a step that never ran.
        """
        run = self.rows.filter(pl.col("action") == "run")
        return (
            run.group_by("step", maintain_order=True)
            .agg(pl.len().alias("rows"), pl.col("_median").first().alias("seconds_each"))
            .with_columns((pl.col("rows") * pl.col("seconds_each")).alias("seconds"))
        )

    def volume(self) -> pl.DataFrame:
        """Estimated bytes of existing inputs that the rows that would run read: columns `step, bytes`.

        Reads the sizes of about 2,000 of the files (about 200 in a bucket) and scales the sum to all of them.
        """
        if self.measure is None:
            return pl.DataFrame(schema={"step": pl.String, "bytes": pl.Int64})
        return self.measure(self.rows.filter(pl.col("action") == "run"))

    def counts(self) -> dict[str, int]:
        """Number of rows per action."""
        found = dict(self.frame.group_by("action").len().iter_rows())
        return {action: found.get(action, 0) for action in ACTION.categories}

    def __len__(self) -> int:
        return self.frame.height

    def __bool__(self) -> bool:
        return True

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        counts = self.counts()
        return f"<Plan | run: {counts['run']}, skip: {counts['skip']}, blocked: {counts['blocked']}>\n{self.frame}"

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{count} to {action}" for action, count in self.counts().items() if count)
        cut = f", the first {_SHOWN} rows shown" if len(self) > _SHOWN else ""
        return f"<p><b>Plan</b>: {counts or 'no rows'}{cut}</p>{self.frame.head(_SHOWN)._repr_html_()}"


def make_plan(
    catalog: Catalog,
    selected: pl.DataFrame,
    options: RunOptions,
    stats: Stats,
    causes: frozenset[str] = frozenset(),
) -> Plan:
    """Plan some rows of `steps`.

    Args:
        catalog: A catalog of a fresh listing.
        selected: Rows of the catalog's `steps` with their hidden keys.
        options: The options of the run. If the user named steps, their rows are tried without their inputs, too.
        stats: Reads sizes and times, if `causes` needs them.
        causes: Run rows that are stale by one of these causes, and the rows that read their outputs.

    Raises:
        SelectionError: When steps wait for each other.
    """
    order = _Order(catalog.layout, catalog.makers, catalog.faults)
    selected = selected.with_columns(pl.lit(True).alias("_selected"))
    if options.upstream:
        selected = pl.concat([selected, upstream_rows(catalog, selected)], how="diagonal")
    rows = _Considered(catalog, selected, options, stats, causes).decide(order)
    rows = rows.join(order.table, on="_cell", how="left").sort("_phase", "_rec", "_position")
    if options.limit is not None:
        beyond = (pl.col("action") == "run") & ((pl.col("action") == "run").cum_sum() > options.limit)
        rows = rows.with_columns(
            pl.when(beyond).then(pl.lit("skip")).otherwise(pl.col("action")).cast(ACTION).alias("action"),
            pl.when(beyond)
            .then(pl.lit(f"beyond the limit of {options.limit} rows"))
            .otherwise(pl.col("reason"))
            .alias("reason"),
        )
    medians = catalog.last_coded.group_by("step").agg(pl.col("seconds").median().alias("_median"))
    rows = rows.join(medians, on="step", how="left", maintain_order="left")
    return Plan(rows.select(*PLAN), rows, partial(_volume, catalog, stats))


def _volume(catalog: Catalog, stats: Stats, rows: pl.DataFrame) -> pl.DataFrame:
    """Estimated bytes of the existing inputs per step, from the sizes of a sample."""
    links = catalog.links(rows).filter(pl.col("role") == "input", pl.col("exists"))
    links = links.unique(["step", "root", "path"], maintain_order=True)
    sums = []
    for (root,), part in links.partition_by("root", as_dict=True).items():
        every = max(1, part.height // (_SAMPLE if catalog.listings[str(root)].is_local else _SAMPLE_REMOTE))
        some = part.gather_every(every)
        sized = some.with_columns(stat_paths(catalog, str(root), some, stats)["size"])
        counts = part.group_by("step", maintain_order=True).len("n")
        means = sized.group_by("step").agg(pl.col("size").mean())
        sums.append(counts.join(means, on="step", how="left", maintain_order="left"))
    if not sums:
        return pl.DataFrame(schema={"step": pl.String, "bytes": pl.Int64})
    scaled = (pl.col("size").fill_null(0) * pl.col("n")).round().cast(pl.Int64).sum().alias("bytes")
    return pl.concat(sums).group_by("step", maintain_order=True).agg(scaled)


class _Order:
    """The order of the unit steps: which run in a chain per record, and which must wait for a whole phase.

    A step waits for a phase if it can read outputs of other records; else its rows follow record by record.
    """

    def __init__(
        self, layout: Layout, makers: Mapping[int, Sequence[int]], faults: Collection[int] = ()
    ) -> None:
        self.layout = layout
        self.makers = makers
        self.before: dict[int, set[int]] = {cell.index: set() for cell in layout.cells}
        self.shared: set[tuple[int, int]] = set()
        for unit in layout.units:
            for first, second in zip(unit.cells, unit.cells[1:], strict=False):
                self.before[second].add(first)
        for cell in layout.cells:
            if cell.index in faults:
                continue  # a step whose paths are refused never runs
            for place in cell.places("input"):
                for maker in makers.get(place, []):
                    if maker != cell.index and maker not in faults:
                        self.before[cell.index].add(maker)
                        made = layout.cells[maker].places("output")
                        is_near = maker not in layout.makers.get(place, [])
                        if is_near or any(one not in layout.telling for one in (place, *made)):
                            self.shared.add((maker, cell.index))
        self.cells = self._sorted()

    def _sorted(self) -> list[int]:
        """The unit steps in topological order; otherwise in the order of the config."""
        sorter = TopologicalSorter(self.before)
        try:
            sorter.prepare()
        except CycleError as error:
            names = " -> ".join(self._name(cell) for cell in error.args[1])
            raise SelectionError(
                f"steps wait for each other: {names}",
                "Reorder the scripts in workspace.toml, or mend their paths.",
            ) from error
        out: list[int] = []
        ready: list[int] = []
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()])
            out.append(ready.pop(0))
            sorter.done(out[-1])
        return out

    def steps_in(self, part: Part | None) -> list[int]:
        """The unit steps that have rows in a part, in order; without a part, all."""
        if part is None:
            return self.cells
        last = steps_of_no_part(self.layout, self.makers, self.cells, self.shared)
        return [cell for cell in self.cells if (cell in last) == part.is_last]

    def _name(self, cell: int) -> str:
        one = self.layout.cells[cell]
        return "-".join(part for part in (one.task, one.modality, one.step) if part)

    @property
    def table(self) -> pl.DataFrame:
        """Per unit step: its position, its phase, and its component; rows of a component and record run in turn."""
        phase: dict[int, int] = {}
        component = {cell: cell for cell in self.cells}
        for cell in self.cells:
            phase[cell] = max(
                (phase[one] + ((one, cell) in self.shared) for one in self.before[cell]), default=0
            )
            for one in self.before[cell]:
                if (one, cell) not in self.shared:
                    old, new = component[one], component[cell]
                    component = {key: new if value == old else value for key, value in component.items()}
        rows = [(cell, spot, phase[cell], component[cell]) for spot, cell in enumerate(self.cells)]
        names = ("_cell", "_position", "_phase", "_component")
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.UInt16), orient="row")


class _Considered:
    """Decides the rows of a plan, unit step by unit step, as whole columns over all records."""

    def __init__(
        self,
        catalog: Catalog,
        selected: pl.DataFrame,
        options: RunOptions,
        stats: Stats,
        causes: frozenset[str],
    ) -> None:
        self.catalog = catalog
        self.options = options
        self.causes = causes
        self.count = len(catalog.ids)
        self.selected = selected
        self.stats = stats
        nothing = pl.Series([False], dtype=pl.Boolean).new_from_index(0, self.count)
        self.nothing = nothing
        self.part = part_of(options.part)
        self.in_part = pl.DataFrame() if self.part is None else self.part.records(catalog.ids)
        self.made: dict[int, pl.Series] = {}
        """By bound pattern: whether this run writes its file, a row per record."""
        self.jobs: dict[frozenset[int], pl.Series] = {}
        """By set of outputs: whether a row of this run makes them, a row per record."""

    def decide(self, order: _Order) -> pl.DataFrame:
        """Give every row its action and reason."""
        parts = self.selected.partition_by("_cell", as_dict=True)
        out = []
        for cell in order.steps_in(self.part):
            part = parts.get((cell,))
            if self.options.downstream or part is not None:
                found = self._cell(self.catalog.layout.cells[cell], part)
                if found is not None:
                    out.append(found)
        if not out:
            empty = self.selected.clear().with_columns(
                action=pl.lit(None, ACTION), reason=pl.lit(None, pl.String)
            )
            return empty.select(*_KEPT)
        return pl.concat(out).select(*_KEPT)

    def _cell(self, cell: UnitStep, part: pl.DataFrame | None) -> pl.DataFrame | None:
        rows = self._rows(cell, part)
        if rows is not None and self.part is not None and not self.part.is_last:
            rows = rows.join(self.in_part, on="record_id", how="semi", maintain_order="left")
        if rows is None or rows.is_empty():
            return None
        rows = rows.with_columns(
            *self._stale(rows),
            self._held(rows).alias("_held"),
            *(column.gather(rows["_rec"]) for column in self._inputs(cell)),
        )
        rows = rows.with_columns(self._runs().cast(ACTION).alias("action"))
        rows = self._one_job(cell, rows)
        self._note(cell, rows.filter(pl.col("action") == "run")["_rec"])
        return self._explain(cell, rows)

    def _rows(self, cell: UnitStep, part: pl.DataFrame | None) -> pl.DataFrame | None:
        """The selected rows of a unit step; with `downstream`, also the rows that this run makes ready."""
        if not self.options.downstream:
            return part
        every = self.catalog.steps.filter(pl.col("_cell") == cell.index)
        none = self.nothing.clone()
        chosen = none if part is None else none.scatter(part.filter("_selected")["_rec"], True)
        added = self.nothing if part is None else self.nothing.clone().scatter(part["_rec"], True)
        fresh = reduce(
            or_, [self.made.get(place, self.nothing) for place in cell.places("input")], self.nothing
        )
        picked = chosen.gather(every["_rec"]).alias("_selected")
        return every.with_columns(picked).filter(pl.lit((chosen | added | fresh).gather(every["_rec"])))

    def _stale(self, rows: pl.DataFrame) -> list[pl.Series]:
        """Whether each row is stale by one of the causes that count, and the causes in words."""
        if not self.causes:
            nothing = pl.Series([None], dtype=pl.String).new_from_index(0, rows.height)
            return [nothing.is_not_null().alias("_stale"), nothing.alias("_causes")]
        causes = self.catalog.stale_causes(rows, self.stats)
        stale = is_stale(causes, self.causes).fill_null(value=False)
        return [stale.alias("_stale"), in_words(causes, self.causes).alias("_causes")]

    def _held(self, rows: pl.DataFrame) -> pl.Series:
        """Whether a live run is running each row; logs of sinagot name no run, so they never hold a row."""
        at_work = rows["status"].eq_missing("PROCESSING")
        if not at_work.any():
            return at_work
        return at_work & self.catalog.steps_with(rows, ["run_id"])["run_id"].is_not_null()

    def _inputs(self, cell: UnitStep) -> list[pl.Series]:
        """Whether all inputs will exist, and whether this run makes any of them; a row per record."""
        made = {place: self.made.get(place, self.nothing) for place in cell.places("input")}
        there = [
            reduce(or_, [self.catalog.presence[link.place] | made[link.place] for link in port])
            for port in cell.required
        ]
        after = reduce(or_, made.values(), self.nothing)
        # a step outside this run has yet to make an optional file, an alternative, or one of many
        waits = [rows & ~after for _, rows in self.catalog.soft_waits.get(cell.index, ())]
        yes = self.nothing.is_null() | True
        return [
            (reduce(and_, there, yes) & ~reduce(or_, waits, self.nothing)).alias("_will_be_ready"),
            after.alias("_after"),
        ]

    def _runs(self) -> pl.Expr:
        """The action of each row of a unit step."""
        options = self.options
        again = pl.lit(options.force) & pl.col("_selected") | pl.col("_stale")
        if self.causes:
            again = again | pl.col("_after")
        tried = pl.lit(options.ignore_missing or options.step is not None) & pl.col("_selected")
        return (
            pl.when(pl.col("_held"))
            .then(pl.lit("skip"))
            .when(fixed_action().is_not_null())
            .then(fixed_action())
            .when((pl.col("status") == "DONE") & ~again)
            .then(pl.lit("skip"))
            .when(pl.col("_will_be_ready") | tried)
            .then(pl.lit("run"))
            .otherwise(pl.lit("skip"))
        )

    def _one_job(self, cell: UnitStep, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the same outputs are a single job: only the first row runs."""
        rows = rows.with_columns(pl.lit(False).alias("_twin"))
        outputs = cell.places("output")
        if not outputs:
            return rows
        made = self.jobs.get(frozenset(outputs), self.nothing).gather(rows["_rec"])
        template = self.catalog.layout.places[outputs[0]].template
        if outputs[0] not in self.catalog.layout.telling:
            values = self.catalog.record_values.drop("record_id")[rows["_rec"]]
            path = (
                rows.select("record_id")
                .with_columns(values.get_columns())
                .select(paths_of(template).alias("path"))
            )
            first = rows.with_columns(path["path"]).with_columns(
                (pl.col("action") == "run").cum_sum().over("path").alias("_nth")
            )["_nth"]
            made = made | (first > 1)
        twin = (pl.col("action") == "run") & pl.lit(made)
        return rows.with_columns(
            twin.alias("_twin"),
            pl.when(twin).then(pl.lit("skip")).otherwise(pl.col("action")).cast(ACTION).alias("action"),
        )

    def _note(self, cell: UnitStep, records: pl.Series) -> None:
        """Record which files the rows that run will write."""
        layout = self.catalog.layout
        outputs = cell.places("output")
        if not outputs:
            return
        written = self._spread(self.nothing.clone().scatter(records, True), outputs[0])
        job = frozenset(outputs)
        self.jobs[job] = self.jobs.get(job, self.nothing) | written
        for place, makers in layout.makers.items():
            if cell.index in makers:
                self.made[place] = self.made.get(place, self.nothing) | self._spread(written, place)
        for place, pairs in layout.near.items():
            for made in (made for made, maker in pairs if maker == cell.index):
                met = self.catalog.met(place, made, written)
                self.made[place] = self.made.get(place, self.nothing) | met

    def _spread(self, written: pl.Series, place: int) -> pl.Series:
        """Extend a mask of records to all records that share the path of the output."""
        template = self.catalog.layout.places[place].template
        if place in self.catalog.layout.telling:
            return written
        paths = self.catalog.record_values.select(paths_of(template).alias("path"))["path"]
        return paths.is_in(paths.filter(written).drop_nulls().unique().implode()).fill_null(value=False)

    def _explain(self, cell: UnitStep, rows: pl.DataFrame) -> pl.DataFrame:
        rows = self.catalog.steps_with(rows, ["reason"])
        run = pl.col("action") == "run"
        makers = {
            self.catalog.layout.cells[maker].step
            for place in cell.places("input")
            for maker in self.catalog.makers.get(place, [])
            if maker != cell.index
        }
        reason = (
            pl.when(pl.col("_twin"))
            .then(pl.lit("another row of this run makes the same outputs"))
            .when(run & pl.col("_stale"))
            .then(pl.concat_str(pl.lit("stale: "), pl.col("_causes")))
            .when(run & pl.col("_after"))
            .then(pl.lit("after " + ", ".join(sorted(makers))))
            .when(run & (pl.col("status") == "DONE"))
            .then(pl.lit("forced: it is done already"))
            .when(run & pl.col("status").is_in(["ERROR", "PROCESSING"]))
            .then(pl.concat_str(pl.lit("again: "), pl.col("reason")))
            .when(run & ~pl.col("_will_be_ready"))
            .then(pl.concat_str(pl.lit("tried although "), pl.col("reason")))
            .otherwise(pl.col("reason"))
        )
        return rows.with_columns(reason.alias("reason"))


_KEPT = ("_rec", "_cell", "_event", "record_id", "task", "modality", "step", "action", "reason", "status")
