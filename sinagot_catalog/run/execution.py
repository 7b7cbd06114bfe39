"""One run: rows selected, planned and claimed, handed to workers, reported. Whoever drives it."""

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
from sinagot_catalog.run.cleanup import sweep
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
"""Seconds after which what runs wrote down is sent to a bucket."""

_NAMED = 4
"""So many steps a title names."""

_logger = logging.getLogger("sinagot_catalog")


# --- the run ------------------------------------------------------------------------------------------------


class Execution:
    """One planned and claimed run.

    Attributes:
        run_id: The run's name.
        plan: Every selected row and what becomes of it.
        phases: The groups to run; each phase ends before the next begins.
        n_rows: How many rows there are to run.
        spec: What every row shares.
        workers: How many processes to use.
        name: What the workspace is called.
        label: What it runs, in a few words.
        heard: What its scripts said on a cluster whose journal cannot be read here.
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
        self._provenance = provenance_of(todo, source.events(), source.catalog()) if todo.height else {}
        self._blocked = rows.filter(pl.col("action") == "blocked")
        self._absent = self._without_files(rows)
        self._held = todo.clear()
        if todo.height:
            todo = self._take(todo)
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
        """Claim rows; gives those that no other run holds."""
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
            source.claims.release(claim)  # this process may live on, and its claim with it
            raise
        return todo

    def _without_files(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of records that were asked for by their ids and have no file; logs which."""
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
        """What some of its groups hold, in a few words: the number of rows comes last."""
        cells = {cell: None for group in groups for _, cell, _ in group}
        steps = list(dict.fromkeys(self.spec.cells[cell].step for cell in cells))
        first, last = groups[0][0][2], groups[-1][-1][2]
        span = first if first == last else f"{first} … {last}"
        return f"{self.name} · {_some(steps)} · {span} · {in_words(sum(map(len, groups)))}"

    def keep_selection(self) -> str | None:
        """Keep the selected rows as a Parquet file beside the journal, for a selection can be anything.

        Returns:
            Its path in the `LOG` folder, or None where the whole workspace was selected.
        """
        if self.query.is_whole and self.source.span is None:
            return None
        return keep_selection(self.source.log_store, self.plan.frame, self.run_id)

    def keep_rows(self, flow_run_id: str) -> None:
        """Keep which rows a flow run has beside the journal: tried again, it has the same ones.

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
        """Keep the report beside the journal, for those who wait for the flow run elsewhere.

        Args:
            flow_run_id: The flow run that drives this run.
            attempt: How often it has been tried, this time included.
            ended: Whether this is its end; at its begin it only tells which run of the journal it is.
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
        """How long a row took before, by the number of its cell, where that is known."""
        known = self.plan.rows.drop_nulls("_median").select("_cell", "_median").unique("_cell")
        return dict(known.iter_rows())

    def _beat(self) -> None:
        """Say to other hosts that the run is alive."""
        while not self._over.wait(self.source.config.run.lease / 4):
            try:
                is_held = self._claim is None or self.source.claims.heartbeat(self._claim)
            except OSError:
                continue  # the next beat may get through; else the lease runs out, as it should
            if not is_held and not self._over.is_set():
                self.lost = True
                if self._runner is not None:
                    self._runner.stop()
                return

    def _open_spool(self) -> None:
        """Where a part lies in a bucket: the local folder of the run, and who sends its journal there."""
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
        """Send the journal to its bucket while the run goes on, so that others see what it does."""
        while self._shipper is not None and not self._over.wait(_SHIP_EVERY):
            with suppress(StorageError):  # the next time sends it all
                self._shipper.send_all()

    def _close_spool(self) -> None:
        """Send what is left of the journal, and remove the local folder; where that fails a later run does it."""
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
        """Where the rows run."""
        resolved = self.options.resolved_mode(self.source.config)
        return "main_process" if resolved == "main_process" else "processes"

    def start_workers(self) -> None:
        """Get ready what runs the rows of a run that is about to be submitted: meanwhile a server is reached."""
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
        """Wait until a cluster is reached, where one is; what went wrong is raised here."""
        if self._opening is not None:
            self._opening.runner()

    @property
    def _most_workers(self) -> int:
        return max(1, min(self.workers, sum(map(len, self.phases))))

    def open_runner(self, console: logging.Logger | None = None, *, submitted: bool = False) -> Runner:
        """Start what runs the rows.

        Args:
            console: Gets what scripts log in this process.
            submitted: Whether a flow runs them: then they go where `[prefect] task_runner` says.
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
        """Say that another run took the rows, where that was so."""
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
        """The phases, each when the one before is over, without the rows that wait for one that failed.

        Args:
            note: Is given the results of the rows that are left out.
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
        """Collect results; any thread may call it."""
        with self._lock:
            self._results.add(results)

    def finish(self) -> RunReport:
        """Give the rows back and report; the workspace sees the new files. Further calls give the same report."""
        with self._lock:
            if self._report is None:
                self._over.set()
                if self._pool is not None:
                    self._pool.close()  # its workers may be warm, and never have been used
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
        """Release the rows and tidy the journal; a full disk must not take the report with it."""
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
        # Whatever ended the run: a row that it never came to, or that it can say nothing of, is in the report.
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
        """Tell the source which paths this run wrote."""
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
        """Which of some paths exist, and as what; a bucket is not asked for what is known to be there.

        Args:
            root: Whose paths they are.
            paths: A column `path`.
            folders: Those that are directories, where all of them are known to be there.
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
    """A number of rows.

    Example:
        >>> in_words(1), in_words(20)
        ('1 row', '20 rows')
    """
    return "1 row" if rows == 1 else f"{rows} rows"


def _some(steps: list[str]) -> str:
    return f"{', '.join(steps[:_NAMED])}{' …' if len(steps) > _NAMED else ''}"


def _spec(source: Session, run_id: str, options: RunOptions, rows: pl.DataFrame) -> RunSpec:
    """What the workers need to know to run some rows."""
    # Some of their outputs are new and some old: that they are there does not mean that they are done.
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
    """The literal folders of outputs that are links now, and where each leads."""
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
    """Send what runs that died on this machine had no time to send, and remove their folders."""
    for folder, is_ours in dead_spools(source.config.log):
        if not is_ours:
            continue  # its own workspace does that
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
            pool.close()  # also where nothing was run: some workers may be warm


def _run(
    execution: Execution, *, progress: bool | None, watch: Callable[[list[Result]], None] | None
) -> RunReport:
    """Run what is planned and claimed."""
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
    """How many processes a run uses at most."""
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
    """Open a workspace, plan and claim: how a flow begins that was not planned in its own process.

    Args:
        workspace: Folder, URL or toml.
        where: A filter over `steps`, in SQL.
        rows: A selection beside the journal; or, by hand, any Parquet file with the keys of rows.
        config: Further config files, merged over the first.
        since: Leave out what was done since then, whatever else is asked.
        deployed: The parameters of the deployment, where it is a run of one.
        flow_run_id: The flow run that asks. Its rows are kept when it first has some; tried again it has those, for
            the filter may fit others by then: a row that failed is `ERROR`, and no more what it was.
        options: The words of `RunOptions`.

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
