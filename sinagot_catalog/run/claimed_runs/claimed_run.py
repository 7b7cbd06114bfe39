"""A claimed run: the rows that a run holds, their phases and results, from `claim` to the report.

`claim` takes the rows that no live run holds, sweeps what dead runs left, and begins to renew the lease of the
claim. For buckets it opens a spool. The end of the `with` block, or `finish`, makes the report, uploads the rest of
the journal, tells the session which files are new, and gives the rows back, however the run ended.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import polars as pl

from sinagot_catalog.config import count_of
from sinagot_catalog.errors import StorageError, did_you_mean
from sinagot_catalog.journal import LogBuffer, RunReport, new_run_id, provenance_of, with_last_inputs
from sinagot_catalog.run.claimed_runs.failure_limit import FailureLimit
from sinagot_catalog.run.claimed_runs.group_file import remove_groups, write_groups
from sinagot_catalog.run.claimed_runs.lease import Lease
from sinagot_catalog.run.claimed_runs.phases import Blocking, Results, phases_of
from sinagot_catalog.run.claimed_runs.report_builder import outcomes_of, written_paths
from sinagot_catalog.run.claimed_runs.spec_builder import build_spec
from sinagot_catalog.run.claimed_runs.spool import Spool
from sinagot_catalog.run.cleanup import has_left, sweep
from sinagot_catalog.run.executor import RunSetup
from sinagot_catalog.run.planning.preflight import check_places, check_start, make_roots
from sinagot_catalog.schema import KEYS, REPORT
from sinagot_catalog.storage import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sinagot_catalog.catalog import Query, Session
    from sinagot_catalog.journal import Group, Result
    from sinagot_catalog.run.claimed_runs.phases import Phase
    from sinagot_catalog.run.executor import Executor
    from sinagot_catalog.run.options import RunOptions
    from sinagot_catalog.run.planning.planner import Plan

_MOST_NAMED = 4
"""The most steps that the label of a run names."""

_logger = logging.getLogger("sinagot_catalog")


def claim(source: Session, query: Query, plan: Plan, options: RunOptions) -> ClaimedRun:
    """Claim the rows of a plan that are to run.

    Args:
        source: The session of the workspace.
        query: The selection that was planned.
        plan: The plan.
        options: The options of the run.

    Raises:
        SinagotError: The run cannot start; nothing is claimed.
    """
    check_start(source, query, plan, options.steps)
    return ClaimedRun(source, query, plan, options)


class ClaimedRun:
    """The rows that a run holds; `claim` makes it.

    Attributes:
        run_id: The name of the run.
        plan: Every selected row, with its action and reason.
        phases: The groups to run; each phase ends before the next begins.
        n_rows: Number of rows to run.
        spec: The settings that all rows of the run share.
        workers: The most processes to use.
        name: The name of the workspace.
        label: What the run does, in a few words.
        log_buffer: Log lines of its scripts on a cluster whose journal cannot be read here.
    """

    def __init__(self, source: Session, query: Query, plan: Plan, options: RunOptions) -> None:
        self._begin = time.monotonic()
        self.source = source
        self.query = query
        self.plan = plan
        self.options = options
        self.workers = options.most_workers(source.config)
        self.log_buffer = LogBuffer()
        self._results = Results()
        self.failure_limit = FailureLimit(options.stop_after, plan.rows)
        self._lock = threading.Lock()
        self._report: RunReport | None = None
        self._executor: Executor | None = None
        self._lease: Lease | None = None
        self._spool: Spool | None = None
        rows = plan.running
        self.spec = build_spec(source, new_run_id(), options, rows)
        self.run_id = self.spec.run_id
        self._held, self._provenance = rows.clear(), dict[int, str]()
        if rows.height:
            self._provenance = provenance_of(rows, source.events(), source.catalog())
            if plan.last_inputs is not None:
                self._provenance = with_last_inputs(self._provenance, plan.last_inputs)
            self._held = self._take(rows)
        elif has_left(source):
            sweep(source)  # a killed run may have left the inputs of records that are not seen now
        rows = rows.join(self._held, on="row", how="anti")
        self._blocked = plan.rows.filter(pl.col("action") == "blocked")
        self._absent = _rows_without_files(source, query, plan.rows)
        self.n_rows = rows.height
        self._claimed = rows.select("row")
        block = None if options.ignore_missing else self._blocked_of
        self.phases = phases_of(rows, source.catalog(), block) if self.n_rows else []
        self.name = Path(source.config.root).name
        self.label = self._label(rows["step"].unique(maintain_order=True).to_list())
        if self._lease is not None:
            self._lease.start()
        if self._spool is not None:
            self._spool.start()

    def _take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Claim rows, clear what dead runs left, and open the spool; return the rows that a live run holds."""
        source = self.source
        mode = self.options.local_mode(source.config)
        check_places(source, mode)
        make_roots(source)
        taken, keys = source.claims.take(self.run_id, rows, above=source.catalog().highest_claim)
        try:
            sweep(source, taken)
            self.spec = replace(self.spec, claim=taken.number)
            self._spool = Spool.of(source, self.run_id, 1 if mode == "main_process" else self.workers)
            if self._spool is not None:
                self.spec = self._spool.spec(self.spec)
            write_groups(self.plan, self.spec, source.log_store)
        except BaseException:
            source.claims.release(taken)  # the claim would stay live as long as this process
            raise
        self._lease = Lease(source, taken)
        return rows.join(keys, on=list(KEYS), how="semi", nulls_equal=True)

    def _label(self, steps: list[str]) -> str:
        rows = f"{count_of(self.n_rows, 'row')} · {_names(steps)}" if steps else "nothing to do"
        return f"{self.name} · {rows}"

    def label_of(self, groups: Sequence[Group]) -> str:
        """Describe some of its groups in a few words; the number of rows comes last."""
        cells = {cell: None for group in groups for _, cell, _ in group}
        steps = list(dict.fromkeys(self.spec.cells[cell].step for cell in cells))
        first, last = groups[0][0][2], groups[-1][-1][2]
        span = first if first == last else f"{first} … {last}"
        return f"{self.name} · {_names(steps)} · {span} · {count_of(sum(map(len, groups)), 'row')}"

    @property
    def is_claimed(self) -> bool:
        """Whether the run has a claim; a run without rows to run has none."""
        return self._lease is not None

    @property
    def seconds(self) -> dict[int, float]:
        """The known median seconds of a row in earlier runs, by the index of its unit step."""
        known = self.plan.rows.drop_nulls("_median").select("_cell", "_median").unique("_cell")
        return dict(known.iter_rows())

    # -- its rows run -------------------------------------------------------------------------------------

    def setup(self, console: logging.Logger | None = None) -> RunSetup:
        """What an executor needs to know of the run.

        Args:
            console: Receives what scripts log in this process.
        """
        config = self.source.config
        parts = {"dataset": config.dataset, "outputs": config.outputs, "log": config.log}
        return RunSetup(
            self.spec,
            {part: self.source.options(root) for part, root in parts.items() if is_url(root)},
            self._provenance,
            self.n_rows,
            self.plan.needs,
            None if self._lease is None else self._lease.claim,
            self.log_buffer,
            console,
        )

    def use(self, executor: Executor) -> None:
        """Set the executor of the rows: it stops if another run takes the rows, and closes before the report."""
        self._executor = executor
        if self._lease is not None:
            self._lease.on_loss(executor.stop)

    def check_held(self) -> None:
        """Raise an error if another run took the rows."""
        if self._lease is not None:
            self._lease.check()

    @cached_property
    def _blocking(self) -> Blocking:
        rows = self.plan.rows.join(self._claimed, on="row", how="semi")
        return Blocking(self.source.catalog(), rows, self.plan.members)

    def phases_in_turn(self, note: Callable[[list[Result]], None]) -> Iterator[Phase]:
        """Yield the phases in order, each without the rows that wait for an output of a failed row.

        The caller asks for the next phase when the last one has ended.

        Args:
            note: Receives the results of the blocked rows.
        """
        for number, phase in enumerate(self.phases):
            blocked = self._blocked_of(phase.rows) if number and not self.options.ignore_missing else []
            if blocked:
                note(blocked)
            yield phase.without([result.row for result in blocked]) if blocked else phase

    def _blocked_of(self, rows: pl.DataFrame) -> list[Result]:
        """The results of the given rows that wait for an output of a failed row."""
        with self._lock:
            results = self._results.frame()
        return self._blocking.blocked(rows, results)

    def note(self, results: list[Result]) -> None:
        """Collect results; callable from any thread."""
        with self._lock:
            self._results.add(results)
            is_over = self.failure_limit.note(results)
        if is_over:
            _logger.warning("%s; the other rows are cancelled", self.failure_limit.sentence)
            if self._executor is not None:
                self._executor.stop()

    # -- its end ------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> RunReport:
        """Release the rows and report; the session learns the new files. Further calls return the same report."""
        with self._lock:
            if self._report is None:
                self._end()
                outcomes = outcomes_of(
                    self._results.frame(),
                    self._claimed,
                    held=self._held,
                    blocked=self._blocked,
                    absent=self._absent,
                )
                self._report = self._make_report(outcomes)
                if self._spool is not None:
                    remove_groups(self.plan, self.spec, self.source.log_store)
                    self._spool.close()
                if self._lease is not None:
                    self._give_back(self._lease, outcomes)
            return self._report

    def _end(self) -> None:
        """End its threads and its executor."""
        if self._lease is not None:
            self._lease.stop()
        if self._spool is not None:
            self._spool.stop()
        if self._executor is not None:
            self._executor.close()  # its workers may run even if no row ran

    def _make_report(self, outcomes: pl.DataFrame) -> RunReport:
        rows = self.plan.rows
        frame = outcomes.join(rows, on="row", how="left", maintain_order="left").select(*REPORT)
        run_id = self.run_id if self.is_claimed else None
        n_excluded = rows.filter(pl.col("status") == "EXCLUDED").height
        return RunReport(frame, run_id, seconds=time.monotonic() - self._begin, n_excluded=n_excluded)

    def _give_back(self, lease: Lease, outcomes: pl.DataFrame) -> None:
        """Tell the session which paths this run wrote, and release the rows."""
        rows = self.plan.rows.join(outcomes.select("row", "outcome"), on="row", how="inner")
        try:
            self.source.published(written_paths(self.source, rows, self._results.extras), self.run_id)
        except StorageError as error:
            if self.source.log_store.is_local:
                raise
            _logger.warning("%s; what became of the rows is in the report", error.message)
            self.source.refresh()
        finally:
            lease.release()


def _rows_without_files(source: Session, query: Query, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of records that the user selected by id and that have no file; logs a warning."""
    if query.rows is None:
        return rows.clear()
    ids = source.catalog().row_ids
    selected = query.rows["record_id"].unique(maintain_order=True)
    absent = selected.filter(~selected.is_in(ids.implode()))
    if len(absent):
        near = did_you_mean(absent[0], ids.to_list())
        has = "has" if len(absent) == 1 else "have"
        n_selected = count_of(len(selected), "record")
        _logger.warning("%d of %s %s no file, such as %r%s", len(absent), n_selected, has, absent[0], near)
    return rows.filter(pl.col("action") == "skip", pl.col("record_id").is_in(absent.implode()))


def _names(steps: list[str]) -> str:
    return f"{', '.join(steps[:_MOST_NAMED])}{' …' if len(steps) > _MOST_NAMED else ''}"
