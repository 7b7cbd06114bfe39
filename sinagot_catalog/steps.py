"""Steps: the handles of the steps of a scope (`StepCollection`) and of one step (`Step`)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Unpack

import polars as pl

from sinagot_catalog import record_data
from sinagot_catalog.catalog import no_step, scan_files
from sinagot_catalog.errors import NamesNearest, NotFoundError, SelectionError, UsageError, renamed
from sinagot_catalog.schema import STATUS_NUMBER, TABLES
from sinagot_catalog.selection import Selection
from sinagot_catalog.status import StepStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sinagot_catalog.catalog import Query, Session
    from sinagot_catalog.flows import RunHandle
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.run import (
        Plan,
        PlanArguments,
        RunArguments,
        RunOptions,
        SubmitArguments,
        WatchArguments,
    )
    from sinagot_catalog.scripts import ScriptTemplate


class StepCollection(Selection):
    """The steps of a scope: a row per unit and step.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> ws.steps.scripts_names()
        ['count', 'mean', 'summary']
        >>> report = ws.steps.run("count", mode="main_process", progress=False)
        >>> report.counts()
        {'done': 3}
    """

    def scripts_names(self) -> list[str] | dict[str, list[str]]:
        """Return the step names in run order; a dict by modality if the scope has no modality."""
        config, query = self._source.config, self._query
        if config.is_unit_mode:
            return list(config.steps.scripts)
        if query.modality is not None:
            return list(config.modalities[query.modality].steps(query.task))
        units = self._source.layout().units_in(query.task, None)
        names = dict.fromkeys(unit.modality for unit in units if unit.modality)
        return {name: list(config.modalities[name].steps(query.task)) for name in names}

    def get(self, label: str) -> Step | Any:
        """Return a step by name; a dict by modality (None without such a step) if the scope has no modality.

        Raises:
            NotFoundError: When no step of the scope has that name; names similar ones.
        """
        names = self.scripts_names()
        every = names if isinstance(names, list) else [name for some in names.values() for name in some]
        if label not in every:
            raise NotFoundError(*no_step(self._source, label, every, " here"))
        if isinstance(names, list):
            return self._step(label, self._query.modality)
        return {
            modality: self._step(label, modality) if label in some else None
            for modality, some in names.items()
        }

    def first(self) -> Step | Any:
        """Return the first step, or None; a dict by modality if the scope has no modality."""
        names = self.scripts_names()
        if isinstance(names, list):
            return self._step(names[0], self._query.modality) if names else None
        return {modality: self._step(some[0], modality) if some else None for modality, some in names.items()}

    def _step(self, label: str, modality: str | None) -> Step:
        query = self._query
        if modality != query.modality:
            query = query.within(query.task, modality)
        return Step(StepCollection(self._source, self._kinds, query), label)

    def status(self) -> pl.DataFrame:
        """Return the statuses with sinagot's column names and numbers.

        Returns:
            Columns `record_id, task, modality, step_index, step_label, step_status`; null if unknown.
        """
        rows = self._rows(self._query, pl.lit(value=True))
        index = pl.col("step_index").cast(pl.Int64)
        label = pl.col("step").alias("step_label")
        return rows.select("record_id", "task", "modality", index, label, STATUS_NUMBER)

    def scan_outputs(
        self,
        step: str | None = None,
        label: str | None = None,
        format: str | None = None,  # noqa: A002 - the usual name of a reader's option
        *,
        strict: bool = True,
        **reader_options: Any,
    ) -> pl.LazyFrame:
        """Read all result files of these rows as one lazy frame.

        The frame has the columns of all its files, each of a type that holds all values; columns that a file
        lacks are null. CSV columns with codes (`007`), or the name of a field of the id, are text. No file is
        opened before the frame is collected or its schema is read. A filter of key columns directly on the frame
        chooses files, like a filter of the rows before: others are not opened, and their columns are left out.

        Each file is read once. `record_id` is that of its row: of a group, if a group step made it; null if several
        records share it. Fields that its pattern names in place of the record are columns. `task` and `modality`
        are null if the file belongs to several.

        Args:
            step: The step that wrote the results; not needed if the rows have one step.
            label: The output, if the step has several.
            format: `csv`, `tsv`, `parquet`, `ipc`, `json`, `ndjson`, or for files of one value (column `value`)
                `value`, a number if all are numbers, and `text`; by default the ends of the names decide.
            strict: False leaves out unreadable files, with a warning that gives their number.
            reader_options: Options for Polars' own reader of each file, and `encoding`, which may be any that
                Python knows. A `schema` sets the columns, and the library does not read the others.

        Returns:
            `record_id, task, modality, step`, then the columns of the files; a column with the name of a key
            ends in `_right`. Rows without a file are left out. An unreadable file raises a `StorageError` when
            the frame is collected; it names the file, the record and the position.

        Raises:
            SelectionError: When step or label are needed, or unknown.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> _ = ws.steps.run(mode="main_process", progress=False)
            >>> ws.steps.scan_outputs("summary").select("record_id", "boats").collect().rows()[0]
            ('REC-20200601', 31)
        """
        resolver = self._resolver()
        found = record_data.outputs(resolver, resolver.rows(self._query), step, label, self._query)
        files = record_data.each_once(resolver, found)
        ids = ("record_id", *self._source.config.ids.groups)
        return scan_files(self._source.stores, files, format, reader_options, ids=ids, strict=strict)

    # --- running -----------------------------------------------------------------------------------------

    def plan(
        self,
        step_label: str | Sequence[str] | None = None,
        force: bool = False,  # noqa: FBT001, FBT002 - sinagot's own order of arguments
        ignore_missing: bool = False,  # noqa: FBT001, FBT002
        **options: Unpack[PlanArguments],
    ) -> Plan:
        """Return what `run` would do: every row with its action and the reason for it. Nothing is run or written.

        Args:
            step_label: Only this step, or these.
            force: Also run rows that are done.
            ignore_missing: Also try rows that lack an input.
            options: `downstream`, `upstream`, `stale`, `limit` and `part`, as in `run`.

        Raises:
            SelectionError: When the step is unknown, or steps wait for each other.
        """
        from sinagot_catalog.run import PlanArguments, RunOptions, plan

        wanted = RunOptions.of(options, PlanArguments, step_label, force=force, ignore_missing=ignore_missing)
        return plan(self._source, self._query, wanted)

    def run(
        self,
        step_label: str | Sequence[str] | None = None,
        force: bool = False,  # noqa: FBT001, FBT002 - sinagot's own order of arguments
        ignore_missing: bool = False,  # noqa: FBT001, FBT002
        debug: bool = False,  # noqa: FBT001, FBT002
        *,
        progress: bool | None = None,
        **options: Unpack[RunArguments],
    ) -> RunReport:
        """Run these rows on this machine, and wait for them.

        Args:
            step_label: Only this step, or these; their rows are tried even if an input is missing.
            force: Also run rows that are done.
            ignore_missing: Also try rows that lack an input.
            debug: Run in this process, log at DEBUG, and re-raise the errors of a script.
            progress: True for a bar, False for no output; by default a bar on a terminal or in a notebook,
                otherwise log lines.
            options: `mode` is `"processes"`, `"main_process"` or `"prefect"`, by default as set in `[run] mode`.
                `workers` is the number of processes, by default that of the cores. `downstream=True` adds the
                rows that become ready by this run, `upstream=True` those that make missing inputs. `stale=True`
                also runs rows that are stale by an input, a version or parameters, `stale="code"` by a changed
                script; by default as set in `[run] rerun_on`. `limit` is the maximal number of rows, in run order.
                `stop_after=3` ends the run after three failures of one kind (step, error and message).
                `part=(3, 8)` runs the third of eight parts of the records; `part="last"` runs the rows that belong
                to no part, as they read outputs of other records. The parts share no row.

        Returns:
            A report with a row per job.

        Raises:
            SelectionError: When the step is unknown, or steps wait for each other. Nothing is run.
        """
        from sinagot_catalog.run import RunArguments, RunOptions, run

        wanted = RunOptions.of(
            options, RunArguments, step_label, force=force, ignore_missing=ignore_missing, debug=debug
        )
        if wanted.resolved_mode(self._source.config) == "prefect":
            return self._submit(wanted, wait=True).wait()
        report = run(self._source, self._query, wanted, progress=progress, observer=_observer())
        self._warn_of_absent(report.frame.height)
        return report

    @renamed(say="on_message")
    def submit(
        self,
        step_label: str | Sequence[str] | None = None,
        force: bool = False,  # noqa: FBT001, FBT002 - sinagot's own order of arguments
        ignore_missing: bool = False,  # noqa: FBT001, FBT002
        *,
        deployment: str | None = None,
        cluster: object = None,
        on_message: Callable[[str], None] | None = None,
        **options: Unpack[SubmitArguments],
    ) -> RunHandle:
        """Submit these rows as a Prefect flow; the handle follows it.

        Without a configured Prefect API the library starts a local server that keeps running. The flow runs in this
        process or, with a deployment, on the workers of that deployment.

        Args:
            step_label: Only this step, or these.
            force: Also run rows that are done.
            ignore_missing: Also try rows that lack an input.
            deployment: The deployment that runs them, such as `"run-workspace/nightly"`; see `Workspace.deploy`.
            cluster: The address of a cluster, or a client or cluster of Dask, which stays open; by default, what
                `[prefect]` chooses.
            on_message: Receives messages on the server in use; by default they go to stderr.
            options: `workers`, `stop_after`, `downstream`, `upstream`, `stale`, `limit` and `part`, as in `run`.

        Returns:
            A handle with `url`, `state`, `wait()` and `cancel()`.

        Raises:
            NotFoundError: There is no such deployment; names similar ones.
        """
        from sinagot_catalog.run import RunOptions, SubmitArguments

        wanted = RunOptions.of(
            options, SubmitArguments, step_label, force=force, ignore_missing=ignore_missing
        )
        if deployment is not None:
            from sinagot_catalog.flows import send

            if cluster is not None:
                raise UsageError(
                    "cluster: the workers of a deployment use the cluster of their workspace.toml",
                    "Write it into [prefect], or leave out the deployment.",
                )
            return send(self._source, self._query, wanted, deployment, on_message=on_message)
        return self._submit(wanted, on_message, cluster=cluster)

    @renamed(every="interval", settle="stable_for", say="on_message")
    def watch(
        self,
        step_label: str | Sequence[str] | None = None,
        *,
        interval: float | str = 60.0,
        stable_for: float | str = 2.0,
        submit: bool = True,
        deployment: str | None = None,
        once: bool = False,
        on_message: Callable[[str], None] | None = None,
        **options: Unpack[WatchArguments],
    ) -> Iterator[RunReport]:
        """Run these rows as they become ready, and the rows that become ready by them; each row once.

        New files on a local disk are noticed at once if the operating system reports them. Buckets and network
        disks are listed periodically. A failed row waits until one of its inputs changes, or until another run
        executes it. Rounds run one after the other; rows that become ready during a round run in the next
        round. Ctrl-C between two rounds ends the watch.

        Args:
            step_label: Only this step, or these, and nothing downstream.
            interval: The time until the next listing, even if no change was noticed: seconds, or `"5m"`.
            stable_for: The time for which size and time of a new file must be stable before it is read.
            submit: Submit the rows of a round as a Prefect flow; otherwise they run here, as in `run`.
            deployment: The deployment that runs them, such as `"run-workspace/nightly"`; a run that has begun
                continues when the watch ends.
            once: End when no row is ready.
            on_message: Receives a message on each error of a round; by default it goes to stderr.
            options: `workers` and `stale`, as in `run`.

        Yields:
            The report of each round that ran rows.

        Raises:
            SinagotError: In the first round, and with `once`. Later errors are reported, and the watch continues.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> for report in ws.steps.watch("count", submit=False, once=True, stable_for=0):
            ...     print(report.summary())
            3 done
        """
        from sinagot_catalog.flows import send, to_stderr
        from sinagot_catalog.run import RunOptions, WatchArguments, run, seconds_of, watch, without_repeats

        wanted = RunOptions.of(options, WatchArguments, step_label, downstream=step_label is None)
        say = on_message or to_stderr
        talk = without_repeats(say)
        pause, stable = seconds_of("interval", interval), seconds_of("stable_for", stable_for)

        def act(source: Session, query: Query, options: RunOptions) -> RunReport:
            if deployment is not None:
                return send(source, query, options, deployment, wait=True, on_message=talk).wait()
            if submit:
                rows = type(self)(source, self._kinds, query)
                return rows._submit(options, talk, wait=True).wait()  # noqa: SLF001 - the same class
            return run(source, query, options, progress=False)

        return watch(
            self._source, self._query, wanted, act, say, once=once, interval=pause, stable_for=stable
        )

    def _submit(
        self,
        options: RunOptions,
        on_message: Callable[[str], None] | None = None,
        *,
        wait: bool = False,
        cluster: object = None,
    ) -> RunHandle:
        from sinagot_catalog.flows import submit
        from sinagot_catalog.run import claim, plan

        made = plan(self._source, self._query, options)
        claimed = claim(self._source, self._query, made, options)
        return submit(claimed, wait=wait, cluster=cluster, on_message=on_message)

    def _name(self) -> str:
        return f"StepCollection{'Unit' if self._source.config.is_unit_mode else ''} instance"

    def _scope(self) -> str:
        return ""


class Step(NamesNearest):
    """One step of one record, or of a scope.

    Attributes:
        label: The step's name.
    """

    _rows_in = "rows", StepCollection, TABLES["steps"]

    def __init__(self, steps: StepCollection, label: str) -> None:
        self._steps = steps
        self.label = label

    @property
    def id(self) -> str | None:
        """The id of its record, None if it is a step of several."""
        return self._steps._query.record  # noqa: SLF001 - a step is a view of its collection

    @property
    def task(self) -> str | None:
        """The task of its scope."""
        return self._steps._query.task  # noqa: SLF001

    @property
    def modality(self) -> str | None:
        """The modality of its scope."""
        return self._steps._query.modality  # noqa: SLF001

    @property
    def rows(self) -> StepCollection:
        """The rows of `steps` that this step has."""
        return self._steps.filter(pl.col("step") == self.label)

    @property
    def script_class(self) -> type[ScriptTemplate]:
        """The class `Script` of its file; the file is imported."""
        from sinagot_catalog.run import load_script

        return load_script(self._steps._source, self.label, self.task, self.modality)  # noqa: SLF001

    @property
    def script(self) -> ScriptTemplate:
        """The script for its record, as `run` would call it.

        Raises:
            SelectionError: When it is a step of several records.
        """
        if self.id is None:
            raise SelectionError(
                f"{self!r} is a step of several records", "Ask a record: ws.records.get(id).steps.get(label)."
            )
        from sinagot_catalog.run import script_of

        return script_of(self._steps._source, self.label, self.task, self.modality, self.id)  # noqa: SLF001

    def status(self) -> StepStatus | None:
        """Return the status of its record's step; None if it is unknown.

        Raises:
            SelectionError: When it has several rows.
        """
        status = self.rows.select("status")["status"].to_list()
        if len(status) != 1:
            raise SelectionError(
                f"{self!r} stands for {len(status)} rows", "Use .rows.status() for all of them."
            )
        return None if status[0] is None else StepStatus[status[0]]

    def run(
        self,
        force: bool = False,  # noqa: FBT001, FBT002 - sinagot's own order of arguments
        ignore_missing: bool = False,  # noqa: FBT001, FBT002
        debug: bool = False,  # noqa: FBT001, FBT002
        **options: Any,
    ) -> RunReport:
        """Run the step; see `StepCollection.run`."""
        return self._steps.run(self.label, force, ignore_missing, debug, **options)

    def logs(self) -> pl.DataFrame:
        """Return the log of its runs, newest first."""
        return self._steps.records.logs().filter(pl.col("step") == self.label)

    def __repr__(self) -> str:
        name = "Step" if self._steps._source.config.is_unit_mode else "ScopedStep"  # noqa: SLF001
        return f"<{name} instance | task: {self.task}, modality: {self.modality}, label: {self.label}>"

    def _repr_html_(self) -> str:
        return self.rows._repr_html_()


def _observer() -> Any:
    """What observes rows that run inside a flow or a task of the user; None where Prefect is not in use."""
    if "prefect" not in sys.modules:
        return None
    from sinagot_catalog.flows import observer

    return observer()
