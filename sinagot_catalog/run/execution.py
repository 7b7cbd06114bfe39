"""Execution of a run: plans and claims rows, runs them on workers, and reports; the same for every caller.

The stages of a run, in order:

1. Plan: `planner` decides for each selected row whether it runs. Nothing is written yet.
2. Claim: `Execution` takes the rows that no live run holds (see `journal.claims`), sweeps what dead runs left, and
   for buckets opens a spool, the local folder of the run. From now on a thread renews the lease of the claim.
3. Run: the caller opens a runner (this process, a pool, or a cluster) and feeds it phase by phase. Workers write
   the journal and publish outputs; results come back to `note`. For a bucket, a thread uploads the journal.
4. Finish: `finish` makes the report, uploads the rest of the journal, tells the session which files are new, ends
   the journal, releases the claim and compacts the journal. It runs however the run ended.

If the claim is lost (the lease ran out and another run took the rows), the run stops its runner.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from sinagot_catalog.catalog import Query, Session, sql_predicate
from sinagot_catalog.config import check_allowed, read_config
from sinagot_catalog.errors import StorageError, did_you_mean
from sinagot_catalog.journal import (
    JournalUploader,
    LogBuffer,
    Port,
    Remote,
    Result,
    RunReport,
    RunSpec,
    UnitStepSpec,
    close_spool,
    dead_spools,
    keep_report,
    keep_selection,
    new_run_id,
    open_spool,
    provenance_of,
    read_selection,
)
from sinagot_catalog.patterns import id_columns, paths_of
from sinagot_catalog.run.cleanup import has_left, sweep
from sinagot_catalog.run.phases import Blocking, Phase, Results, phases_of
from sinagot_catalog.run.pool import Pool, Runner, open_runner
from sinagot_catalog.run.preflight import check_places, check_start, make_roots
from sinagot_catalog.run.request import RunOptions, plan, rows_query
from sinagot_catalog.schema import KEYS, KIND, OUTCOME, REPORT
from sinagot_catalog.storage import TextReader, is_url
from sinagot_catalog.worker import links_among, parents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from sinagot_catalog.catalog import UnitStep
    from sinagot_catalog.cluster import ClusterConnection, ClusterRunner
    from sinagot_catalog.journal import Claim, Group
    from sinagot_catalog.patterns import Template
    from sinagot_catalog.run.phases import Phase
    from sinagot_catalog.run.planner import Plan

__all__ = ["Execution", "in_words", "prepare", "prepare_query", "run"]

_SHIP_EVERY = 2.0
"""Seconds between two uploads of the journal to a bucket."""

_NAMED = 4
"""The most steps that the label of a run names."""

_logger = logging.getLogger("sinagot_catalog")


# --- the run ------------------------------------------------------------------------------------------------


class Execution:
    """A planned and claimed run.

    Attributes:
        run_id: The name of the run.
        plan: Every selected row, with its action and reason.
        phases: The groups to run; each phase ends before the next begins.
        n_rows: Number of rows to run.
        spec: The settings that all rows of the run share.
        workers: Number of processes to use.
        name: The name of the workspace.
        label: What the run does, in a few words.
        lost: Whether another run took the rows.
        heard: Log lines of its scripts on a cluster whose journal cannot be read here.
    """

    def __init__(
        self,
        source: Session,
        query: Query,
        options: RunOptions,
        *,
        made: Plan | None = None,
        pool: Pool | None = None,
    ) -> None:
        made = plan(source, query, options) if made is None else made
        if pool is not None:
            pool.start_workers(made.n_run)
        check_start(source, query, made, options.steps)
        self.source = source
        self.query = query
        self.plan = made
        self.options = options
        self.run_id = new_run_id()
        self.workers = _workers(source, options)
        self._pool = pool
        self._opening: ClusterConnection | None = None
        self.lost = False
        self.heard = LogBuffer()
        self._runner: Runner | None = None
        self._begin = time.monotonic()
        self._results = Results()
        self._lock = threading.Lock()
        self._report: RunReport | None = None
        self._over = threading.Event()
        self._claim: Claim | None = None
        self._shipper: JournalUploader | None = None
        rows = made.rows.with_row_index("row")
        todo = rows.filter(pl.col("action") == "run")
        self.spec = _spec(source, self.run_id, options, todo)
        self._provenance = {}
        if todo.height:
            self._provenance = provenance_of(todo, source.events(), source.catalog(), replaces=options.force)
        self._blocked = rows.filter(pl.col("action") == "blocked")
        self._absent = self._without_files(rows)
        self._held = todo.clear()
        if todo.height:
            todo = self._take(todo)
        elif has_left(source):
            sweep(source)  # a killed run may have left the inputs of records that are not seen now
        self.n_rows = todo.height
        self._todo = todo.select("row")
        self.phases = phases_of(todo)
        self.name = Path(source.config.root).name
        self.label = self._label(todo["step"].unique(maintain_order=True).to_list())
        if self._claim is not None:
            threading.Thread(target=self._beat, name=f"sinagot-beat-{self.run_id}", daemon=True).start()
        if self._shipper is not None:
            threading.Thread(target=self._ship, name=f"sinagot-ship-{self.run_id}", daemon=True).start()

    def _take(self, todo: pl.DataFrame) -> pl.DataFrame:
        """Claim rows; return those that no other run holds."""
        source = self.source
        check_places(source, self.mode)
        make_roots(source)
        claim, held = source.claims.take(self.run_id, todo, above=source.catalog().highest_claim)
        try:
            self._claim = claim
            self.spec = replace(self.spec, claim=claim.number)
            self._held = todo.join(held, on=list(KEYS), how="semi", nulls_equal=True)
            todo = todo.join(self._held.select("row"), on="row", how="anti")
            sweep(source, claim)
            self._open_spool()
        except BaseException:
            source.claims.release(claim)  # the claim would stay live as long as this process
            raise
        return todo

    def _without_files(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of records that the user selected by id and that have no file; logs a warning."""
        if self.query.rows is None:
            return rows.clear()
        known = self.source.catalog().ids
        asked = self.query.rows["record_id"].unique(maintain_order=True)
        absent = asked.filter(~asked.is_in(known.implode()))
        if len(absent):
            near = did_you_mean(absent[0], known.to_list())
            _logger.warning(
                "%d of %d records have no file, such as %r%s", len(absent), len(asked), absent[0], near
            )
        return rows.filter(pl.col("action") == "skip", pl.col("record_id").is_in(absent.implode()))

    def _label(self, steps: list[str]) -> str:
        rows = f"{in_words(self.n_rows)} · {_some(steps)}" if steps else "nothing to do"
        return f"{self.name} · {rows}"

    def label_of(self, groups: Sequence[Group]) -> str:
        """Describe some of its groups in a few words; the number of rows comes last."""
        cells = {cell: None for group in groups for _, cell, _ in group}
        steps = list(dict.fromkeys(self.spec.cells[cell].step for cell in cells))
        first, last = groups[0][0][2], groups[-1][-1][2]
        span = first if first == last else f"{first} … {last}"
        return f"{self.name} · {_some(steps)} · {span} · {in_words(sum(map(len, groups)))}"

    def keep_selection(self) -> str | None:
        """Store the selected rows as a Parquet file in `LOG`: a selection may not fit in a JSON parameter.

        Returns:
            Its path in the `LOG` folder, or None if the whole workspace is selected.
        """
        if self.query.is_whole and self.source.span is None:
            return None
        return keep_selection(self.source.log_store, self.plan.frame, self.run_id)

    def keep_rows(self, flow_run_id: str) -> None:
        """Store the rows of a flow run in `LOG`, so that a retry of the flow run has the same rows.

        Args:
            flow_run_id: The flow run that drives this run.
        """
        rows = self.plan.frame.filter(pl.col("action") != "skip")
        if rows.is_empty():
            return
        try:
            keep_selection(self.source.log_store, rows, flow_run_id)
        except (StorageError, OSError) as error:
            _logger.warning("The rows of the flow run could not be kept: %s", error)

    def keep_report(self, flow_run_id: str, attempt: int, *, ended: bool) -> None:
        """Store the report in `LOG`, for other processes that wait for the flow run.

        Args:
            flow_run_id: The flow run that drives this run.
            attempt: The number of this attempt, counted from 1.
            ended: Whether the run has ended. At the start the report is empty: it only gives the run id.
        """
        report = self.finish() if ended else RunReport(pl.DataFrame(schema=REPORT), self.run_id)
        try:
            is_claimed = self._claim is not None
            keep_report(
                self.source.log_store, flow_run_id, report, attempt, ended=ended, is_claimed=is_claimed
            )
        except (StorageError, OSError) as error:
            _logger.warning("The report of the flow run could not be kept: %s", error)

    @property
    def seconds(self) -> dict[int, float]:
        """The known median seconds of a row in earlier runs, by the index of its unit step."""
        known = self.plan.rows.drop_nulls("_median").select("_cell", "_median").unique("_cell")
        return dict(known.iter_rows())

    def _beat(self) -> None:
        """Renew the lease of the claim, so that other hosts know that the run is alive."""
        while not self._over.wait(self.source.config.run.lease / 4):
            try:
                is_held = self._claim is None or self.source.claims.heartbeat(self._claim)
            except OSError:
                continue  # the next heartbeat may succeed; if none does, the lease should run out
            if not is_held and not self._over.is_set():
                self.lost = True
                if self._runner is not None:
                    self._runner.stop()
                return

    def _open_spool(self) -> None:
        """If a part of the workspace is in a bucket: open the run's local folder and a journal uploader."""
        config = self.source.config
        if not any(map(is_url, (config.dataset, config.outputs, config.log))):
            return
        _sweep_spools(self.source)
        spool = open_spool(self.run_id, config.log)
        workers = 1 if self.mode == "main_process" else self.workers
        limit = config.run.fetch_limit or shutil.disk_usage(spool).free // (2 * workers)
        log = spool if is_url(config.log) else config.log
        self.spec = replace(self.spec, log=log, remote=Remote(config.log, spool, limit))
        if is_url(config.log):
            self._shipper = JournalUploader(self.source.log_store, spool, self.run_id)

    def _ship(self) -> None:
        """Upload the journal to its bucket during the run, so that others see the progress."""
        while self._shipper is not None and not self._over.wait(_SHIP_EVERY):
            with suppress(StorageError):  # the next upload includes what this one missed
                self._shipper.send_all()

    def _close_spool(self) -> None:
        """Upload the rest of the journal and remove the local folder; if that fails, a later run does it."""
        if self.spec.remote is None:
            return
        try:
            if self._shipper is not None:
                self._shipper.send_all()
        except StorageError as error:
            _logger.warning("%s; the next run from this machine sends the rest of the journal", error.message)
        else:
            close_spool(self.spec.remote.spool)

    @property
    def mode(self) -> Literal["processes", "main_process"]:
        """Whether the rows run in worker processes or in this process."""
        resolved = self.options.resolved_mode(self.source.config)
        return "main_process" if resolved == "main_process" else "processes"

    def start_workers(self) -> None:
        """Start workers (or a cluster connection) early, while the caller still connects to a Prefect server."""
        claim = self._claim
        if claim is None:
            return
        if self.source.config.prefect.task_runner != "threads":
            from sinagot_catalog.cluster import ClusterConnection

            self._opening = self._opening or ClusterConnection(lambda: self._open_cluster(claim))
        elif self.mode == "processes" and self._pool is None:
            self._pool = Pool(self._most_workers, threads_per_worker=self.spec.threads_per_worker)
            self._pool.start_workers()

    def wait_warm(self) -> None:
        """Wait until the cluster is connected, if there is one; raises the error of a failed connection."""
        if self._opening is not None:
            self._opening.runner()

    @property
    def _most_workers(self) -> int:
        return max(1, min(self.workers, sum(map(len, self.phases))))

    def open_runner(self, console: logging.Logger | None = None, *, submitted: bool = False) -> Runner:
        """Start the runner of the rows.

        Args:
            console: Receives what scripts log in this process.
            submitted: Whether a flow runs the rows: then `[prefect] task_runner` chooses the runner.
        """
        if submitted:
            self.start_workers()
        if self._opening is not None:
            self._runner = self._opening.runner()
        else:
            config = self.source.config
            parts = {"dataset": config.dataset, "outputs": config.outputs, "log": config.log}
            options = {part: self.source.options(root) for part, root in parts.items() if is_url(root)}
            self._runner = open_runner(
                self.spec,
                self.mode,
                self._most_workers,
                console=console,
                pool=self._pool,
                options=options,
                provenance=self._provenance,
            )
        if self.lost:
            self._runner.stop()
        return self._runner

    def _open_cluster(self, claim: Claim) -> ClusterRunner:
        from sinagot_catalog.cluster import BatchRequest, open_cluster

        config = self.source.config
        return open_cluster(
            self.source,
            BatchRequest(self.spec, claim, config.log, config.scripts, config.files),
            workers=self.options.workers or config.run.workers,
            ready=sum(map(len, self.phases)),
            local_width=self.workers,
            heard=self.heard,
            provenance=self._provenance,
        )

    def check_held(self) -> None:
        """Raise an error if another run took the rows."""
        if self.lost:
            lease = self.source.config.run.lease
            raise StorageError(
                f"run {self.run_id} was taken for dead, for its lease of {lease:g} s ran out, and ended itself",
                "Did this machine sleep? What is done is kept, and the same command goes on with the rest.",
            )

    @cached_property
    def _blocking(self) -> Blocking:
        rows = self.plan.rows.with_row_index("row").join(self._todo, on="row", how="semi")
        return Blocking(self.source.catalog(), rows)

    def phases_in_turn(self, note: Callable[[list[Result]], None]) -> Iterator[Phase]:
        """Yield the phases in order, each without the rows that wait for an output of a failed row.

        The caller asks for the next phase when the last one has ended.

        Args:
            note: Receives the results of the blocked rows.
        """
        blocks = not self.options.ignore_missing
        for number, phase in enumerate(self.phases):
            with self._lock:
                results = self._results.frame() if number and blocks else None
            blocked = [] if results is None else self._blocking.blocked(phase, results)
            if blocked:
                note(blocked)
            yield phase.without([one.row for one in blocked]) if blocked else phase

    def note(self, results: list[Result]) -> None:
        """Collect results; callable from any thread."""
        with self._lock:
            self._results.add(results)

    def finish(self) -> RunReport:
        """Release the rows and report; the session learns the new files. Further calls return the same report."""
        with self._lock:
            if self._report is None:
                self._over.set()
                if self._pool is not None:
                    self._pool.close()  # its workers may run even if no runner was opened
                if self._opening is not None:
                    self._opening.close()
                self._report = self._make_report()
                self._close_spool()
                if self._claim is not None:
                    try:
                        self._publish()
                    except StorageError as error:
                        if self.source.log_store.is_local:
                            raise
                        _logger.warning("%s; what became of the rows is in the report", error.message)
                        self.source.refresh()
                    finally:
                        self._give_back(self._claim)
            return self._report

    def _give_back(self, claim: Claim) -> None:
        """Release the rows and compact the journal; a full disk must not lose the report."""
        source = self.source
        with suppress(OSError):
            source.journal.end(self.run_id)
        alive: frozenset[str] | None = None
        with suppress(OSError):
            alive = source.claims.alive(claim) - {self.run_id}
        with suppress(OSError):
            source.claims.release(claim)
        with suppress(OSError):
            if alive is not None:
                source.journal.compact(alive)

    def _make_report(self) -> RunReport:
        results = self._results.frame()
        others = [
            self._held.select(
                "row",
                pl.lit("claimed").cast(OUTCOME).alias("outcome"),
                pl.lit("held by another run that is alive").alias("message"),
            ),
            self._blocked.select(
                "row",
                pl.lit("error").cast(OUTCOME).alias("outcome"),
                pl.lit("ScriptError").alias("error_type"),
                pl.col("reason").alias("message"),
            ),
            self._absent.select(
                "row",
                pl.lit("not_available").cast(OUTCOME).alias("outcome"),
                pl.lit("no file of this record was found").alias("message"),
            ),
        ]
        results = pl.concat([results, *others], how="diagonal")
        # The report has every claimed row, however the run ended: rows without a result count as cancelled.
        left = self._todo.join(results, on="row", how="anti").with_columns(
            pl.lit("cancelled").cast(OUTCOME).alias("outcome")
        )
        results = pl.concat([results, left], how="diagonal").sort("row")
        self._outcomes = results.select("row", "outcome")
        frame = results.join(
            self.plan.frame.with_row_index("row"), on="row", how="left", maintain_order="left"
        )
        seconds = time.monotonic() - self._begin
        return RunReport(frame.select(*REPORT), self.run_id if self._claim else None, seconds=seconds)

    def _publish(self) -> None:
        """Tell the session which paths this run wrote."""
        catalog = self.source.catalog()
        layout = catalog.layout
        rows = self.plan.rows.with_row_index("row").join(self._outcomes, on="row", how="inner")
        extras = [path for path in self._results.extras if not path.endswith("/")]
        folders = {path[:-1] for path in self._results.extras if path.endswith("/")}
        written = []
        for key, part in rows.partition_by("_cell", as_dict=True).items():
            cell = layout.cells[int(str(key[0]))]
            values = id_columns(part["record_id"], layout.ids)
            for link in cell.links:
                if link.role in ("output", "control"):
                    place = layout.places[link.place]
                    paths = values.select(paths_of(place.template).alias("path"))
                    sure = part["outcome"].is_in(["done", "already_done"]) if link.role == "output" else None
                    if sure is None:
                        written.append(self._there(place.root, paths.drop_nulls()))
                    else:
                        folders |= set(paths["path"]) if place.template.is_directory else set()
                        written.append(self._there(place.root, paths.filter(sure), folders))
        if extras:
            root = "outputs" if "outputs" in self.source.stores else "dataset"
            written.append(self._there(root, pl.DataFrame({"path": extras}), folders))
        empty = pl.DataFrame(schema={"root": pl.String, "path": pl.String, "kind": KIND})
        self.source.published(pl.concat([empty, *written]), self.run_id)

    def _there(self, root: str, paths: pl.DataFrame, folders: Collection[str] | None = None) -> pl.DataFrame:
        """Which of some paths exist, and their kinds; a bucket is not queried for paths known to exist.

        Args:
            root: The root of the paths.
            paths: A column `path`.
            folders: The paths that are directories; give it only if all paths are known to exist.
        """
        store = self.source.stores[root]
        names = paths["path"].to_list()
        if folders is None or store.is_local:
            kinds = store.kinds(names)
        else:
            kinds = ["directory" if name in folders else "file" for name in names]
        return paths.select(
            pl.lit(root).alias("root"), "path", pl.Series("kind", kinds, dtype=KIND)
        ).drop_nulls()


def in_words(rows: int) -> str:
    """Format a number of rows.

    Example:
        >>> in_words(1), in_words(20)
        ('1 row', '20 rows')
    """
    return "1 row" if rows == 1 else f"{rows} rows"


def _some(steps: list[str]) -> str:
    return f"{', '.join(steps[:_NAMED])}{' …' if len(steps) > _NAMED else ''}"


def _spec(source: Session, run_id: str, options: RunOptions, rows: pl.DataFrame) -> RunSpec:
    """Build the run's spec: what the workers need to know to run some rows."""
    # An earlier run ended while it published these rows, so some outputs may be new and some old: existing outputs
    # do not mean that the row is done.
    half = rows.filter(pl.col("_event").is_in(["publishing", "half"]))["row"]
    config = source.config
    layout = source.layout()
    return RunSpec(
        run_id=run_id,
        dataset=config.dataset,
        outputs=config.outputs,
        log=config.log,
        scripts=source.scripts,
        id_pattern=config.ids.text,
        cells=tuple(_cell_spec(source, cell) for cell in layout.cells),
        workspace_version=config.info.version,
        force=options.force or bool(options.causes(config)),
        for_stale=not options.force,
        ignore_missing=options.ignore_missing,
        debug=options.debug,
        durable=config.run.durable,
        log_level=config.logging.level,
        threads_per_worker=config.run.threads_per_worker,
        memory_limit=config.run.memory_limit,
        redo=frozenset(half),
        empty_outputs=config.run.empty_outputs,
        links=_literal_links(source),
        follow_links=config.path.follow_links,
    )


def _literal_links(source: Session) -> dict[str, str]:
    """The literal folders of outputs that are symbolic links now, each with its target."""
    store = source.stores.get("outputs", source.stores["dataset"])
    if not store.is_local:
        return {}
    layout = source.layout()
    prefixes = {
        layout.places[link.place].template.prefix
        for cell in layout.cells
        for link in cell.links
        if link.role in ("output", "control")
    }
    return links_among(store.root, {folder for prefix in prefixes for folder in parents(prefix)})


def _cell_spec(source: Session, cell: UnitStep) -> UnitStepSpec:
    places = source.layout().places

    def ports(role: str) -> tuple[Port, ...]:
        bound = [(link.label, link.place, places[link.place]) for link in cell.linked(role)]
        return tuple(
            Port(label, place.template, inside(index) if role == "input" else (), place.roots)
            for label, index, place in bound
        )

    def inside(place: int) -> tuple[Template, ...]:
        return tuple(places[one].template for one in source.layout().raw_folders.get(place, ()))

    return UnitStepSpec(
        task=cell.task,
        modality=cell.modality,
        step=cell.step,
        script=cell.script,
        inputs=ports("input"),
        outputs=ports("output"),
        controls=ports("control"),
        version=cell.version,
        retries=cell.retries,
        timeout=cell.timeout,
        command=cell.command,
        code=source.code_of(cell),
    )


def _sweep_spools(source: Session) -> None:
    """Upload the journals that dead runs on this machine did not upload, and remove their folders."""
    for folder, is_ours in dead_spools(source.config.log):
        if not is_ours:
            continue  # a run of that other workspace does it
        with suppress(StorageError):
            journal = Path(folder, "journal")
            for run in journal.iterdir() if journal.is_dir() else ():
                JournalUploader(source.log_store, folder, run.name).send_all()
            close_spool(folder)


def run(
    source: Session,
    query: Query,
    options: RunOptions,
    *,
    progress: bool | None = None,
    watch: Callable[[list[Result]], None] | None = None,
) -> RunReport:
    """Plan, claim and run the steps of a selection in this process and its workers."""
    pool = None
    if options.resolved_mode(source.config) != "main_process":
        threads = source.config.run.threads_per_worker
        pool = Pool(_workers(source, options), threads_per_worker=threads)
    try:
        return _run(Execution(source, query, options, pool=pool), progress=progress, watch=watch)
    finally:
        if pool is not None:
            pool.close()  # also if no row ran: some workers may have been started


def _run(
    execution: Execution, *, progress: bool | None, watch: Callable[[list[Result]], None] | None
) -> RunReport:
    """Run the planned and claimed rows."""
    from sinagot_catalog.run.progress import open_progress

    if not execution.n_rows:
        return execution.finish()
    try:
        with (
            open_progress(execution, execution.source.config, progress=progress) as bar,
            execution.open_runner(bar.console) as runner,
        ):

            def note(results: list[Result]) -> None:
                execution.note(results)
                bar.note(results)
                if watch is not None:
                    watch(results)

            for phase in execution.phases_in_turn(note):
                runner.execute(phase, note)
    finally:
        report = execution.finish()
    execution.check_held()
    return report


def _workers(source: Session, options: RunOptions) -> int:
    """The most processes that a run uses."""
    return options.workers or source.config.run.workers or os.cpu_count() or 1


def prepare_query(source: Session, query: Query, options: RunOptions) -> Execution:
    """Plan and claim the steps of a selection."""
    return Execution(source, query, options)


def prepare(
    workspace: str,
    *,
    where: str | None = None,
    rows: str | None = None,
    config: Sequence[str] | None = None,
    since: datetime | None = None,
    deployed: Mapping[str, Any] | None = None,
    flow_run_id: str | None = None,
    **options: Any,
) -> Execution:
    """Open a workspace, plan and claim: the start of a flow whose run was not planned in the same process.

    Args:
        workspace: Folder, URL or toml.
        where: A filter over `steps`, in SQL.
        rows: A stored selection in `LOG`; without a deployment also any Parquet file with the keys of rows.
        config: Further config files, merged over the first.
        since: Leave out rows that were done after this time, whatever the other options select.
        deployed: The parameters of the deployment, if the run belongs to one.
        flow_run_id: The flow run that calls this. The first attempt with rows stores them, and a retry runs the
            stored rows: by then the filter may match other rows, because a row that failed has the status `ERROR`.
        options: The fields of `RunOptions`.

    Raises:
        UsageError: This worker does not run that workspace.
    """
    trust = check_allowed(workspace, config or [], deployed)
    source = Session(read_config([workspace, *(config or [])], read_text=TextReader()), trust=trust)
    is_again = flow_run_id is not None and f"{flow_run_id}.parquet" in source.log_store.names("selections")
    if is_again:
        where, rows = None, f"selections/{flow_run_id}.parquet"
    query = Query("steps")
    if where:
        query = query.where(sql_predicate(where))
    if since is not None:
        query = query.where(
            (pl.col("status") != "DONE") | pl.col("ended").is_null() | (pl.col("ended") < since)
        )
    if rows:
        kept = read_selection(source, rows, confined=trust is not None)
        query = replace(query, rows=rows_query(kept).rows)
    execution = prepare_query(source, query, RunOptions(**options))
    if flow_run_id is not None and not is_again:
        execution.keep_rows(flow_run_id)
    return execution
