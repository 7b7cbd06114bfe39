"""The planner: makes a `Plan` from selected rows of `steps`: what runs, in which order, and why the rest does not.

It only reads a catalog and sizes of files; it writes nothing.
"""

from __future__ import annotations

from dataclasses import field
from functools import partial, reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import fixed_action, in_words, is_stale
from sinagot_catalog.errors import ConfigError
from sinagot_catalog.journal import JobFrame
from sinagot_catalog.patterns import paths_of
from sinagot_catalog.run.parts import part_of
from sinagot_catalog.run.planning.step_order import StepOrder
from sinagot_catalog.run.planning.upstream import upstream_rows
from sinagot_catalog.run.planning.volume import volume
from sinagot_catalog.run.resources import largest
from sinagot_catalog.schema import ACTION, PLAN
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sinagot_catalog.catalog import Catalog, Stats, UnitStep
    from sinagot_catalog.journal import Resources
    from sinagot_catalog.run.options import RunOptions


@dataclass(frozen=True)
class Plan(JobFrame):
    """What a run would do: every selected row, in order, with its action and reason.

    Attributes:
        frame: `record_id, task, modality, step, action` (`run`, `skip` or `blocked`), `reason, status`.
        rows: The same rows with hidden keys: `row` (from 0), `_rec, _cell, _phase, _component`, and the median time
            of each step.
    """

    _rows_in = "frame", pl.DataFrame, PLAN

    frame: pl.DataFrame
    rows: pl.DataFrame = field(repr=False)
    measure: Callable[[pl.DataFrame], pl.DataFrame] | None = field(repr=False, compare=False, default=None)
    """Returns the columns `step, bytes` for some rows; reads sizes. A pickle is without it."""
    members: Mapping[int, pl.DataFrame] = field(repr=False, compare=False, default_factory=dict)
    """For each group step its members: `_rec` (the group), `_member`, `member` (the id of the member)."""
    resources: Mapping[int, Resources] = field(repr=False, compare=False, default_factory=dict)
    """What a row needs, for each unit step that declares resources."""
    last_inputs: pl.DataFrame | None = field(repr=False, compare=False, default=None)
    """The rows that run only if an input has changed since their last attempt, and that: `row, _inputs, _time`."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without what measures bytes, which holds the files of the workspace."""
        return {**self.__dict__, "measure": None}

    @property
    def running(self) -> pl.DataFrame:
        """Those of `rows` that would run."""
        return self.rows.filter(pl.col("action") == "run")

    @property
    def needs(self) -> dict[str, Resources]:
        """What a row of each step needs, for the steps with rows to run that declare resources."""
        running = self.running.unique("_cell").sort("_cell")
        by_step: dict[str, list[Resources]] = {}
        for step, cell in running.select("step", "_cell").iter_rows():
            if cell in self.resources:
                by_step.setdefault(step, []).append(self.resources[cell])
        return {step: largest(needs) for step, needs in by_step.items()}

    @property
    def n_run(self) -> int:
        """Number of rows that would run."""
        return self.running.height

    @property
    def costs(self) -> pl.DataFrame:
        """Estimated time of the rows that would run: per step the rows, the median of earlier runs, their product.

        Columns `step, rows, seconds_each, seconds`; seconds are null for a step that never ran.
        """
        return (
            self.running.group_by("step", maintain_order=True)
            .agg(pl.len().alias("rows"), pl.col("_median").first().alias("seconds_each"))
            .with_columns((pl.col("rows") * pl.col("seconds_each")).alias("seconds"))
        )

    def volume(self) -> pl.DataFrame:
        """Estimated bytes of existing inputs that the rows that would run read: columns `step, bytes`.

        Reads the sizes of about 2,000 of the files (about 200 in a bucket) and scales the sum to all of them.
        """
        if self.measure is None:
            return pl.DataFrame(schema={"step": pl.String, "bytes": pl.Int64})
        return self.measure(self.running)

    def counts(self) -> dict[str, int]:
        """Number of rows per action."""
        found = dict(self.frame.group_by("action").len().iter_rows())
        return {action: found.get(action, 0) for action in ACTION.categories}

    def __repr__(self) -> str:
        counts = self.counts()
        return f"<Plan | run: {counts['run']}, skip: {counts['skip']}, blocked: {counts['blocked']}>\n{self.frame}"

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{count} to {action}" for action, count in self.counts().items() if count)
        return self._html("Plan", counts or "no rows", self.frame, "rows ")


def joined(plans: Sequence[Plan]) -> Plan:
    """Return the plan of several ranges of records. It does not measure bytes: their catalogs are not kept."""
    keys = ["record_id", "step", "action", "_median", "_cell"]
    return Plan(
        pl.concat([plan.frame for plan in plans]),
        pl.concat([plan.rows.select(keys) for plan in plans]),
        resources=plans[0].resources,
    )


def make_plan(
    catalog: Catalog,
    selected: pl.DataFrame,
    options: RunOptions,
    stats: Stats,
    causes: frozenset[str] = frozenset(),
    *,
    retries_unchanged: bool = True,
) -> Plan:
    """Plan some rows of `steps`.

    Args:
        catalog: A catalog of a fresh listing.
        selected: Rows of the catalog's `steps` with their hidden keys.
        options: The options of the run. If the user named steps, their rows are tried without their inputs, too.
        stats: Reads sizes and times, if `causes` needs them.
        causes: Run rows that are stale by one of these causes, and the rows that read their outputs.
        retries_unchanged: Also run rows that failed, if nothing that they read changed since.

    Raises:
        SelectionError: When steps wait for each other.
        ConfigError: When the table of exclusions cannot be read.
    """
    if (unread := catalog.exclusions.unread) is not None:
        raise ConfigError(
            f"nothing runs, because it is not known what to leave out: {unread}", catalog.exclusions.hint
        )
    order = StepOrder(catalog.layout, catalog.makers, catalog.faults)
    selected = selected.with_columns(pl.lit(True).alias("_selected"))
    if options.upstream:
        selected = pl.concat([selected, upstream_rows(catalog, selected)], how="diagonal")
    decisions = _Decisions(catalog, selected, options, stats, causes, retries_unchanged or options.force)
    rows = decisions.decide(order)
    rows = rows.join(order.table, on="_cell", how="left")
    spot = pl.col("_phase").cast(pl.Int64) * catalog.n_rows + pl.col("_rec")  # sorts faster than three keys
    rows = rows.sort(spot * len(catalog.layout.cells) + pl.col("_position"))
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
    rows = rows.join(medians, on="step", how="left", maintain_order="left").with_row_index("row")
    resources = {cell.index: cell.resources for cell in catalog.layout.cells if any(cell.resources)}
    last = catalog.with_attempt(rows.select("row", _last="_since").drop_nulls(), ["_inputs", "_time"])
    return Plan(rows.select(*PLAN), rows, partial(volume, catalog, stats), decisions.members, resources, last)


@dataclass
class _Decisions:
    """Decides the rows of a plan, unit step by unit step, as whole columns over all records.

    Attributes:
        made: By bound pattern: whether this run writes its file, a row per record.
        members: For each group step its members: `_rec` (the group), `_member`, `member` (the id of the member).
        jobs: By set of outputs: whether a row of this run makes them, a row per record.
    """

    catalog: Catalog
    selected: pl.DataFrame
    options: RunOptions
    stats: Stats
    causes: frozenset[str]
    retries_unchanged: bool
    made: dict[int, pl.Series] = field(default_factory=dict)
    members: dict[int, pl.DataFrame] = field(default_factory=dict)
    jobs: dict[frozenset[int], pl.Series] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nothing = pl.Series([False], dtype=pl.Boolean).new_from_index(0, self.catalog.n_rows)
        self.part = part_of(self.options.part)
        numbered = None if self.part is None or self.part.is_last else self.part
        self.in_part = None if numbered is None else numbered.records(self.catalog.ids)

    def decide(self, order: StepOrder) -> pl.DataFrame:
        """Give every row its action and reason."""
        parts = self.selected.partition_by("_cell", as_dict=True)
        out = []
        for cell in order.steps_in(self.part):
            part = parts.get((cell,))
            if self.options.downstream or part is not None:
                found = self._cell(self.catalog.layout.cells[cell], part)
                if found is not None:
                    out.append(found)
        nothing = self.selected.clear().with_columns(
            action=pl.lit(None, ACTION), reason=pl.lit(None, pl.String), _since="_last"
        )
        return pl.concat([rows[list(_KEPT)] for rows in (nothing, *out)])

    def _cell(self, cell: UnitStep, part: pl.DataFrame | None) -> pl.DataFrame | None:
        rows = self._rows(cell, part)
        if rows is not None and self.in_part is not None:
            rows = rows.join(self.in_part, on="record_id", how="semi", maintain_order="left")
        if rows is None or rows.is_empty():
            return None
        rows = rows.with_columns(
            *self._stale(rows),
            self._futile(rows).alias("_futile"),
            self._held(rows).alias("_held"),
            *(column[rows["_rec"]] for column in self._inputs(cell)),
        )
        rows = rows.with_columns(self._runs(cell).cast(ACTION).alias("action"))
        rows = self._one_job(cell, rows)
        is_asked = pl.lit(self.options.force) & pl.col("_selected") | pl.col("_stale")
        only_after = (pl.col("action") == "run") & (pl.col("status") == "DONE") & ~is_asked
        rows = rows.with_columns(pl.when(only_after).then("_last").alias("_since"))
        # a row that is tried without its inputs makes nothing
        makes = pl.col("_has_inputs") | self.options.ignore_missing
        self._note(cell, rows.filter(pl.col("action") == "run", makes)["_rec"])
        return self._explain(cell, rows)

    def _rows(self, cell: UnitStep, part: pl.DataFrame | None) -> pl.DataFrame | None:
        """The selected rows of a unit step; with `downstream`, also the rows that this run makes ready."""
        if not self.options.downstream:
            return part
        every = self.catalog.steps.filter(pl.col("_cell") == cell.index)
        none = self.nothing.clone()
        chosen = none if part is None else none.scatter(part.filter("_selected")["_rec"], True)
        added = self.nothing if part is None else self.nothing.clone().scatter(part["_rec"], True)
        fresh = self._fresh(cell)
        picked = chosen.gather(every["_rec"]).alias("_selected")
        return every.with_columns(picked).filter(pl.lit((chosen | added | fresh).gather(every["_rec"])))

    def _fresh(self, cell: UnitStep) -> pl.Series:
        """Whether this run makes an input, a row per record and group; of a group also an input of a member."""
        made = [self.made[place] for place in cell.places("input") if place in self.made]
        fresh = reduce(or_, made, self.nothing)
        if cell.by is None or not fresh.any():
            return fresh
        members = self.catalog.group_steps.members(cell)
        groups = members["_rec"].filter(fresh.gather(members["_member"]))
        own = [
            self.made[link.place]
            for port in cell.input_ports
            if self.catalog.layout.is_own(cell, port)
            for link in port
            if link.place in self.made
        ]
        return reduce(or_, own, self.nothing).clone().scatter(groups, True)

    def _stale(self, rows: pl.DataFrame) -> list[pl.Series]:
        """Whether each row is stale by one of the causes that count, and the causes in words."""
        if not self.causes:
            nothing = pl.Series([None], dtype=pl.String).new_from_index(0, rows.height)
            return [nothing.is_not_null().alias("_stale"), nothing.alias("_causes")]
        causes = self.catalog.stale_causes(rows, self.stats)
        stale = is_stale(causes, self.causes).fill_null(value=False)
        return [stale.alias("_stale"), in_words(causes, self.causes).alias("_causes")]

    def _futile(self, rows: pl.DataFrame) -> pl.Series:
        """Whether a row failed and nothing that it read has changed since, so that it would fail again."""
        if self.retries_unchanged:
            return pl.Series([False]).new_from_index(0, rows.height)
        return self.catalog.fails_again(rows, self.stats)

    def _held(self, rows: pl.DataFrame) -> pl.Series:
        """Whether a live run is running each row; logs of sinagot name no run, so they never hold a row."""
        at_work = rows["status"].eq_missing("PROCESSING")
        if not at_work.any():
            return at_work
        return at_work & self.catalog.steps_with(rows, ["run_id"])["run_id"].is_not_null()

    def _inputs(self, cell: UnitStep) -> list[pl.Series]:
        """Whether the inputs will exist, whether also nothing else is to come, and whether this run makes an input.

        Each has a row per record.
        """
        new_outputs = {place: self.made.get(place, self.nothing) for place in cell.places("input")}
        layout = self.catalog.layout
        own = [port for port in cell.required if layout.is_own(cell, port)]
        there = [
            reduce(or_, [self.catalog.presence[link.place] | new_outputs[link.place] for link in port])
            for port in own
        ]
        after = self._fresh(cell)
        if cell.by is not None:
            states = self.catalog.group_steps.states_with(cell, self.made)
            members = states.members.filter("is_in")
            ids = self.catalog.row_ids.gather(members["_member"]).alias("member")
            self.members[cell.index] = members.select("_rec", "_member", ids)
            there.append(states.sums["ready"])
        # a step outside this run has yet to make an optional file, an alternative, or one of many
        waits = [rows & ~after for _, rows in self.catalog.soft_waits.get(cell.index, ())]
        has_inputs = reduce(and_, there, self.nothing.is_null() | True)
        return [
            has_inputs.alias("_has_inputs"),
            (has_inputs & ~reduce(or_, waits, self.nothing)).alias("_will_be_ready"),
            after.alias("_after"),
        ]

    def _runs(self, cell: UnitStep) -> pl.Expr:
        """The action of each row of a unit step."""
        options = self.options
        again = pl.lit(options.force) & pl.col("_selected") | pl.col("_stale")
        if self.causes:
            again = again | pl.col("_after")
        # a group whose members are still to come is not tried for being named
        tried = pl.lit(options.ignore_missing or (options.step is not None and cell.by is None)) & pl.col(
            "_selected"
        )
        return (
            pl.when(pl.col("_held"))
            .then(pl.lit("skip"))
            .when(fixed_action().is_not_null())
            .then(fixed_action())
            .when((pl.col("status") == "DONE") & ~again)
            .then(pl.lit("skip"))
            .when(pl.col("_futile") & ~pl.col("_after"))
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
        is_repeat = self.jobs.get(frozenset(outputs), self.nothing)[rows["_rec"]]
        template = self.catalog.layout.places[outputs[0]].template
        if outputs[0] not in self.catalog.by_id:
            path = self.catalog.row_values[rows["_rec"]].select(paths_of(template).alias("path"))
            runs = rows.select("action").with_columns(path["path"])
            first = runs.select((pl.col("action") == "run").cum_sum().over("path").alias("_nth"))["_nth"]
            is_repeat = is_repeat | (first > 1)
        twin = (pl.col("action") == "run") & pl.lit(is_repeat)
        return rows.with_columns(
            twin.alias("_twin"),
            pl.when(twin).then(pl.lit("skip")).otherwise(pl.col("action")).cast(ACTION).alias("action"),
        )

    def _note(self, cell: UnitStep, records: pl.Series) -> None:
        """Record which files the rows that run will write."""
        outputs = cell.places("output")
        if not outputs:
            return
        written = self.catalog.sharing(outputs[0], self.nothing.clone().scatter(records, True))
        job = frozenset(outputs)
        self.jobs[job] = self.jobs.get(job, self.nothing) | written
        for place, makers in self.catalog.makers.items():
            if cell.index in makers:
                made = self.catalog.made_by(place, cell.index, written)
                self.made[place] = self.made.get(place, self.nothing) | made

    def _explain(self, cell: UnitStep, rows: pl.DataFrame) -> pl.DataFrame:
        rows = self.catalog.steps_with(rows, ["reason"])
        run = pl.col("action") == "run"
        makers = {
            self.catalog.layout.cells[maker].step
            for place in cell.places("input")
            for maker in self.catalog.makers.get(place, [])
            if maker != cell.index
        }
        after = f"after {', '.join(sorted(makers))}"
        reason = (
            pl.when(pl.col("_twin"))
            .then(pl.lit("another row of this run makes the same outputs"))
            .when(pl.col("_futile") & (pl.col("action") == "skip"))
            .then(pl.concat_str(pl.lit("nothing changed since it failed: "), pl.col("reason")))
            .when(run & pl.col("_stale"))
            .then(pl.concat_str(pl.lit("stale: "), pl.col("_causes")))
            .when(run & pl.col("_since").is_not_null())
            .then(pl.lit(f"{after}, if an input changes"))
            .when(run & pl.col("_after"))
            .then(pl.lit(after))
            .when(run & (pl.col("status") == "DONE"))
            .then(pl.lit("forced: it is done already"))
            .when(run & pl.col("status").is_in(["ERROR", "PROCESSING"]))
            .then(pl.concat_str(pl.lit("again: "), pl.col("reason")))
            .when(run & ~pl.col("_will_be_ready"))
            .then(pl.concat_str(pl.lit("tried anyway: "), pl.col("reason")))
            .otherwise(pl.col("reason"))
        )
        return rows.with_columns(reason.alias("reason"))


_KEPT = (
    *("_rec", "_cell", "_event", "n_outputs_found", "_since"),
    *("record_id", "task", "modality", "step", "action", "reason", "status"),
)
