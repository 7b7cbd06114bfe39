"""Run requests: the options of a run (`RunOptions`), checks of the given rows, and the plan of a selection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import polars as pl

from sinagot_catalog.catalog import Query, Resolver, acted_on, no_step
from sinagot_catalog.config import parse_duration
from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.journal import NEVER, unrecorded
from sinagot_catalog.patterns import fitting
from sinagot_catalog.run import planner
from sinagot_catalog.run.machine import cpus
from sinagot_catalog.run.parts import part_of
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session
    from sinagot_catalog.config import Config
    from sinagot_catalog.run.planner import Plan

FRESH = 2.0
"""The greatest age in seconds of a listing that a plan may use."""

_MEASURED, _MEASURED_REMOTE = 2_000, 200
"""The size of the sample of outputs to measure, in a folder and in a bucket."""

_ROWS = "Give a Polars, pandas or Arrow frame with a column 'record_id', or a list of ids."
_MODES = ("processes", "main_process", "prefect")


class PlanArguments(TypedDict, total=False):
    """The keywords of `StepCollection.plan`; `RunOptions` has their meanings."""

    downstream: bool
    upstream: bool
    stale: bool | Literal["code"] | None
    limit: int | None
    part: str | Sequence[int] | None


class SubmitArguments(PlanArguments, total=False):
    """The keywords of `StepCollection.submit`."""

    workers: int | None
    stop_after: int | None


class RunArguments(SubmitArguments, total=False):
    """The keywords of `StepCollection.run`."""

    mode: Literal["processes", "main_process", "prefect"] | None


class WatchArguments(TypedDict, total=False):
    """The keywords of `StepCollection.watch`."""

    workers: int | None
    stale: bool | Literal["code"] | None


@dataclass(frozen=True)
class RunOptions:
    """Options of a run.

    Attributes:
        step: Only this step, or these; their rows are tried even if an input is missing.
        force: Also run rows that are done.
        ignore_missing: Also try rows that lack an input.
        debug: Run in this process, log at DEBUG, and re-raise the errors of a script.
        mode: `processes`, `main_process` or `prefect`; by default as set in `[run] mode`.
        workers: The number of processes; by default the CPUs that this process may use.
        downstream: Add the rows that become ready by this run.
        upstream: Add the rows that make missing inputs of these rows.
        stale: Run rows that are stale by an input or a version, with `"code"` also by a changed script; by default
            as set in `[run] rerun_on`.
        limit: Run at most this many rows, in run order.
        stop_after: End the run after this many failures of one kind; see `failure_limit`.
        part: Only the rows of this part, such as `(3, 8)`; `"last"` has the rows that belong to no part.
    """

    step: str | Sequence[str] | None = None
    force: bool = False
    ignore_missing: bool = False
    debug: bool = False
    mode: str | None = None
    workers: int | None = None
    downstream: bool = False
    upstream: bool = False
    stale: bool | str | None = None
    limit: int | None = None
    stop_after: int | None = None
    part: str | Sequence[int] | None = None

    @classmethod
    def of(
        cls,
        keywords: Any,
        known: type,
        step: str | Sequence[str] | None = None,
        **given: Any,
    ) -> RunOptions:
        """Make the options of a call.

        Args:
            keywords: The further keywords of the call.
            known: The typed dictionary that has all keywords of the function.
            step: The steps that the user named.
            given: The options that the function declares itself.

        Raises:
            TypeError: The function has no such keyword; names similar ones.
        """
        names = known.__annotations__
        for name in keywords:
            if name not in names:
                raise TypeError(f"there is no option {name!r}{did_you_mean(name, [*names, *given])}")
        return cls(step=step, **given, **keywords)

    def __post_init__(self) -> None:
        if not (self.stale is None or isinstance(self.stale, bool) or self.stale == "code"):
            raise SelectionError(
                f"stale: {self.stale!r} is not one of True, False, 'code'{did_you_mean(str(self.stale), ['code'])}"
            )
        part_of(self.part)
        for name, least in (("workers", 1), ("limit", 0), ("stop_after", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise SelectionError(f"{name}: {value!r} is not a whole number from {least} up")

    @property
    def steps(self) -> list[str]:
        """The steps that the user named."""
        return [self.step] if isinstance(self.step, str) else list(self.step or ())

    def causes(self, config: Config) -> frozenset[str]:
        """The causes of staleness that make a row that is done run again."""
        return acted_on(self.stale, config.run.rerun_on)

    def resolved_mode(self, config: Config) -> str:
        """The mode of the run; with `debug`, always this process."""
        if self.mode is not None and self.mode not in _MODES:
            raise SelectionError(
                f"mode: {self.mode!r} is not one of {', '.join(map(repr, _MODES))}{did_you_mean(self.mode, _MODES)}"
            )
        if self.debug:
            return "main_process"
        return self.mode or config.run.mode

    def local_mode(self, config: Config) -> Literal["processes", "main_process"]:
        """Whether rows that run on this machine run in worker processes or in this process."""
        return "main_process" if self.resolved_mode(config) == "main_process" else "processes"

    def most_workers(self, config: Config) -> int:
        """The most processes that a run uses."""
        return self.workers or config.run.workers or cpus()


def seconds_of(name: str, duration: float | str | timedelta) -> float:
    """Return the seconds of a duration: a number of seconds, a text such as `5m`, or a time delta.

    Raises:
        SelectionError: It is not a duration; the message has the name of the argument.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise SelectionError(f"{name}: {error}") from None


def plan(source: Session, query: Query, options: RunOptions) -> Plan:
    """Plan the steps of a selection, from a fresh listing; range by range if the listing is too large to hold."""
    if source.ranges:
        plans = []
        for one in source.ranges.sessions(query, is_fresh=True):
            plans.append(planner.joined([plan(one, query, options)]))  # drops its catalog
            if options.limit is not None:
                options = replace(options, limit=max(0, options.limit - plans[-1].n_run))
        return planner.joined(plans)
    query = of_steps(source, query.seen_as("steps"), options)
    catalog = query.widened(source.catalog(max_age=FRESH))
    rows = Resolver(catalog, source.stats).rows(query)
    is_named = options.step is not None or query.names_rows
    return planner.make_plan(
        catalog,
        rows,
        options,
        source.stats,
        options.causes(source.config),
        retries_unchanged=is_named or source.config.run.retry == "always",
    )


class Replaced(NamedTuple):
    """The existing outputs and control files that a plan replaces.

    Attributes:
        n_outputs: How many there are.
        size: Their bytes, estimated from a sample.
        foreign: Those that no run made, as far as the journal tells.
    """

    n_outputs: int
    size: int
    foreign: pl.Series


def replaced(source: Session, made: Plan) -> Replaced:
    """Find the existing outputs and control files that a plan replaces."""
    catalog = source.catalog()
    rows = made.rows.filter(pl.col("action") == "run").with_row_index("row")
    links = catalog.links(rows)
    there = links.filter(pl.col("role").is_in(["output", "control"]) & pl.col("exists")).unique(
        ["root", "path"]
    )
    total = 0
    for (root,), part in there.partition_by("root", as_dict=True).items():
        store = source.stores[str(root)]
        every = max(1, part.height // (_MEASURED if store.is_local else _MEASURED_REMOTE))
        paths = part["path"].gather_every(every).to_list()
        kinds = store.kinds(paths)
        files = [path for path, kind in zip(paths, kinds, strict=True) if kind == "file"]
        folders = [path for path, kind in zip(paths, kinds, strict=True) if kind == "directory"]
        size = sum(one or 0 for one in store.stat(files).size)
        size += sum(one or 0 for path in folders for one in store.tree(path).values())
        total += round(size * part.height / len(paths))
    unmade = unrecorded(rows, source.events(), catalog)
    outputs = [row for row, since in unmade.outputs.items() if since == NEVER]
    is_unmade = {"output": pl.col("row").is_in(outputs), "control": pl.col("row").is_in(unmade.controls)}
    of_rows = there.join(rows.select("row", "_rec", "_cell"), on=["_rec", "_cell"])
    named = [of_rows.filter(pl.col("role") == role, found)["path"] for role, found in is_unmade.items()]
    return Replaced(there.height, total, pl.concat(named).sort())


def of_steps(source: Session, query: Query, options: RunOptions) -> Query:
    """Narrow a query of steps to the steps that the user named.

    Raises:
        SelectionError: When there is no such step; the message suggests similar names.
    """
    known = source.layout().steps
    for step in options.steps:
        if step not in known:
            raise SelectionError(*no_step(source, step, known))
    return query if options.step is None else query.where(pl.col("step").is_in(options.steps))


def rows_query(frame: Any, layout_keys: Mapping[str, Any] = KEYS) -> Query:
    """Make a query for rows: ids, or any frame with a column `record_id` and optional `task`, `modality`, `step`.

    Raises:
        SelectionError: When the rows cannot be read as a frame, or have no `record_id`.
    """
    frame = _listed(frame)
    try:
        table = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise SelectionError(
            f"rows of type {type(frame).__name__} cannot be read as a frame",
            _ROWS,
        ) from error
    keys = [name for name in layout_keys if name in table.columns]
    if "record_id" not in keys:
        raise SelectionError(
            f"the rows have no column 'record_id', only {', '.join(table.columns) or 'none'}"
            f"{did_you_mean('record_id', table.columns)}",
            _ROWS,
        )
    return Query("steps", rows=table.select(pl.col(keys).cast(pl.String)).unique(maintain_order=True))


def _listed(rows: Any) -> Any:
    """Return a frame of ids that are given as a text or as a collection of texts or records; else the same rows."""
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, str):
        rows = [rows]
    elif isinstance(rows, pl.Series):
        rows = rows.to_list()
    elif isinstance(rows, Iterator):
        rows = list(rows)
    elif hasattr(rows, "tolist"):  # an array, or a column of pandas
        rows = rows.tolist()
    if not isinstance(rows, (list, tuple, set, frozenset)):
        return rows
    given = [getattr(one, "id", one) for one in rows]
    ids = [one for one in given if isinstance(one, str)]
    if len(ids) < len(given):
        return rows
    return pl.DataFrame({"record_id": sorted(ids)}, schema={"record_id": pl.String})


def check_rows(source: Session, rows: pl.DataFrame) -> None:
    """Refuse keys that cannot exist in this workspace.

    Raises:
        SelectionError: An id that does not fit `id_pattern`, or a task, modality or step that is not declared.
        NotFoundError: An id outside the range of ids that the workspace was opened for.
    """
    ids = source.config.ids
    given = rows["record_id"].cast(pl.String).unique()
    wrong = given.filter(~fitting(given, ids).fill_null(value=False))
    if len(wrong) and source.layout().bys:
        wrong = wrong.filter(~wrong.is_in(source.catalog().groups.values["record_id"].implode()))
    if len(wrong):
        known = source.catalog().row_ids.to_list()
        raise SelectionError(
            f"record_id {wrong[0]!r} {ids.refusal(str(wrong[0]))}{did_you_mean(str(wrong[0]), known)}"
        )
    if source.span is not None:
        for one in rows.filter(~source.span.holds(pl.col("record_id")))["record_id"].head(1):
            source.check_span(one)
    cells = source.layout().cells
    named = [name for name in ("task", "modality", "step") if name in rows.columns]
    if not named:
        return
    valid = pl.DataFrame(
        {name: [getattr(cell, name) for cell in cells] for name in named},
        schema=dict.fromkeys(named, pl.String),
    )
    strange = rows.join(valid, on=named, how="anti", nulls_equal=True)
    if strange.is_empty():
        return
    first = strange.row(0, named=True)
    text = " ".join(str(first[name]) for name in named)
    choices = [" ".join(str(part) for part in row) for row in valid.unique(maintain_order=True).iter_rows()]
    raise SelectionError(
        f"the rows name {', '.join(f'{name} {first[name]!r}' for name in named)}, which is not declared"
        f"{did_you_mean(text, choices)}"
    )
