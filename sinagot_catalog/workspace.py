"""The workspace: opens a config, a dataset and a folder of scripts as a catalog."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from sinagot_catalog import diagnostics
from sinagot_catalog.catalog import (
    Query,
    Session,
    as_text,
    check_query,
    diff,
    names,
    names_in,
    no_attribute,
    not_read,
    notices_frame,
    snapshot,
    with_long_names,
)
from sinagot_catalog.config import read_config
from sinagot_catalog.models import ViewTypes
from sinagot_catalog.patterns import id_values
from sinagot_catalog.records import RecordCollection, ScopeError
from sinagot_catalog.schema import EVENTS, KEYS, LINKS, TIMED
from sinagot_catalog.storage import TextReader, is_url
from sinagot_catalog.workspace_runs import WorkspaceRuns

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from sinagot_catalog.catalog import Diff
    from sinagot_catalog.config import Config
    from sinagot_catalog.diagnostics import Explanation, FileOrigin, PatternReport
    from sinagot_catalog.reporting import Plot
    from sinagot_catalog.selection import Selection
    from sinagot_catalog.steps import StepCollection


class Workspace(WorkspaceRuns):
    """An open workspace. It lists and writes nothing until the user asks for it.

    Args:
        config_path: A folder or URL that contains `workspace.toml`, the toml itself, or several tomls that are
            merged deeply; later ones override earlier ones.
        data_path: The dataset; overrides the config; relative to the current folder.
        scripts_path: The scripts; overrides the config; relative to the current folder.
        storage_options: fsspec options for every remote root.
        trust: Whether the library may run scripts and evaluate computed patterns. By default if the config and the
            scripts are local, and only the user and root can write them.
        listing: A listing of the dataset that replaces the library's own: a frame, a Parquet or CSV file with a
            column `path` (or `key`), or the `manifest.json` of an S3 Inventory.
        records: The only records to include: a prefix of their ids, or a pair of the first id and the first id
            that is excluded (None: no bound). Of a given Parquet listing, only the parts that may contain them
            are read.
        snapshot: A snapshot made by `snapshot()` that replaces the listing: its name, the path or URL of its
            folder, or `"latest"`. Files and the results of runs come from the snapshot; the config with its
            version, the scripts and the tables of records are the present ones. `refresh()` lists the files,
            and so do `plan`, `run` and `submit`.

    Raises:
        ConfigError: With every fault of the config, each with its address.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> ws.records.ids()
        ['REC-20200601', 'REC-20200602', 'REC-20200603']
    """

    def __init__(
        self,
        config_path: str | Path | Sequence[str | Path],
        data_path: str | Path | None = None,
        scripts_path: str | Path | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        trust: bool | None = None,
        listing: Any = None,
        records: str | tuple[str | None, str | None] | None = None,
        snapshot: str | None = None,
    ) -> None:
        reserved = {
            name for cls in (RecordCollection, Workspace) for name in dir(cls) if not name.startswith("_")
        }
        config = read_config(
            config_path,
            read_text=TextReader(storage_options),
            data_path=data_path,
            scripts_path=scripts_path,
            reserved=reserved,
        )
        given = {"listing": listing, "records": records, "snapshot": snapshot}
        self._source = Session(config, storage_options=storage_options, trust=trust, **given)
        self._kinds = ViewTypes(self._source, self)
        self.logger = _logger(config)
        for notice in config.notices:
            self.logger.warning(notice)

    # --- tables ------------------------------------------------------------------------------------------

    @property
    def records(self) -> RecordCollection:
        """Every record."""
        return self._select("records")  # type: ignore[return-value]

    @property
    def units(self) -> Selection:
        """Every unit: record x task x modality."""
        return self._select("units")

    @property
    def files(self) -> Selection:
        """Every file in the folders that the patterns name."""
        return self._select("files")

    @property
    def steps(self) -> StepCollection:
        """Every step of every unit."""
        return self._select("steps")  # type: ignore[return-value]

    def _select(self, table: str) -> Selection:
        return self._kinds.make(self._source, Query(table))

    @property
    def config(self) -> Config:
        """The config, checked and complete."""
        return self._source.config

    @property
    def data_path(self) -> Path | str:
        """The dataset: a `Path`, or the text of a URL."""
        return _located(self.config.dataset)

    @property
    def scripts_path(self) -> Path | str:
        """The folder of the scripts: a `Path`, or the text of a URL."""
        return _located(self.config.scripts)

    @property
    def version(self) -> str | None:
        """`[info] version`."""
        return self.config.info.version

    @property
    def info(self) -> Any:
        """The section `[info]`."""
        return self.config.info

    @property
    def is_unit_mode(self) -> bool:
        """Whether the config declares neither tasks nor modalities."""
        return self.config.is_unit_mode

    # --- scopes ------------------------------------------------------------------------------------------

    def get_subscope(self, task: str | None = None, modality: str | None = None) -> RecordCollection:
        """Return the records of a task, a modality or both."""
        return self.records.get_subscope(task, modality)

    def __getitem__(self, task_or_modality: str) -> RecordCollection:
        """Return the records of a task or a modality of any name."""
        if task_or_modality in self.config.tasks:
            return self.get_subscope(task=task_or_modality)
        return self.get_subscope(modality=task_or_modality)

    def __getattr__(self, name: str) -> RecordCollection:
        if name.startswith("_"):
            raise AttributeError(f"'Workspace' object has no attribute {name!r}")
        if name in self.config.tasks or name in self.config.modalities:
            return self[name]
        hint = no_attribute(self, name, self._kinds, also=[*self.config.tasks, *self.config.modalities])
        if name in ("doctor", "gc", "ui", "init", "sbatch", "server", "serve"):
            hint = f"; the command line has it: sinagot-catalog {name}"
        elif name in _scripts(self.config):
            hint = f"; a step is asked for as steps.get({name!r})"
        elif not hint and id_values(name, self.config.ids) is not None:
            hint = f"; a record is asked for as records[{name!r}]"
        raise ScopeError(f"'Workspace' object has no attribute {name!r}{hint}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.config.tasks, *self.config.modalities]

    # --- queries -----------------------------------------------------------------------------------------

    def refresh(self) -> Self:
        """Forget the listing, or the snapshot; the next question lists again.

        On a local disk of Linux, from the third listing on, only changed folders are listed again.
        """
        self._source.refresh()
        return self

    def sql(self, query: str) -> pl.LazyFrame:
        """Query the tables `records`, `units`, `files`, `steps`, `links` and `events` in SQL.

        Raises:
            SelectionError: When Polars cannot read the query, or it compares a column with an impossible value.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.sql("SELECT step, count(*) AS n FROM steps GROUP BY step ORDER BY step").collect().rows()
            [('count', 3), ('mean', 3), ('summary', 3)]
        """
        structs = [*self._columns_from_files("records"), *self._columns_from_files("units")]
        own = self.records.collect_schema()
        check_query(query, own=own, structs=structs)
        query = query if "status" in own else with_long_names(query)
        tables = {
            **{name: self._table(name, names_in(query)) for name in ("records", "units", "files", "steps")},
            "links": self.links().lazy(),
            "events": self.events().lazy(),
        }
        try:
            frame = pl.SQLContext(frames=tables).execute(as_text(query), eager=False)
            frame.collect_schema()  # Polars reports an unknown table or column only now
        except Exception as error:
            raise not_read(error, own) from error
        return frame

    def _columns_from_files(self, table: str) -> list[str]:
        """Return the columns of `records` or `units` that come from files."""
        if table not in ("records", "units"):
            return []
        return self._source.ranges.any.catalog().file_columns.names(table)

    def _table(self, name: str, named: Container[str]) -> pl.LazyFrame:
        """Return a table for a query, with columns that need sizes or times if the query names them."""
        rows = self._select(name)
        further = [column for column in sorted(TIMED.get(name, ())) if column in named]
        further += [column for column in self._columns_from_files(name) if column in named]
        return rows.lazy().select(*rows.collect_schema(), *further) if further else rows.lazy()

    def events(self) -> pl.DataFrame:
        """Every line of the journal, oldest first: the table `events`."""
        return self._source.events().select(*EVENTS)

    def links(self) -> pl.DataFrame:
        """Every path that a step reads or writes, existing or not: the table `links`."""
        catalog = self._source.catalog()
        return catalog.links(catalog.steps).select(*LINKS)

    @property
    def notices(self) -> pl.DataFrame:
        """What the last listing left out or could not use: a row per kind, with `count`, an `example` and a `text`.

        Example:
            >>> from sinagot_catalog import example
            >>> example().notices.columns
            ['kind', 'count', 'example', 'text']
        """
        return notices_frame(self._source.notices())

    # --- snapshots and reports ---------------------------------------------------------------------------

    def snapshot(self) -> str:
        """Store the present catalog as Parquet files under `LOG/snapshots`.

        The snapshot contains the files, the status and last state of each step, the live runs, and the tables
        of records. It does not contain the config, its version and the scripts: a snapshot is shown with the
        present ones.

        Returns:
            The name of the snapshot, for `diff`, and for `Workspace(..., snapshot=name)`.

        Example:
            >>> from sinagot_catalog import Workspace, example
            >>> ws = example()
            >>> name = ws.snapshot()
            >>> then = Workspace(ws.config.root, snapshot=name)
            >>> then.records.count(), str(then).startswith(f"<Workspace instance | snapshot {name}, ")
            (3, True)
        """
        return snapshot(self._source)

    def snapshots(self) -> list[str]:
        """Return the names of the stored snapshots, oldest first."""
        return names(self._source.log_store)

    def diff(self, a: str | None = None, b: str | None = None) -> Diff:
        """Return the changes: records and files that are new, gone or different, and changed statuses.

        Args:
            a: The earlier snapshot; by default the newest.
            b: The later snapshot; by default a fresh listing.

        Raises:
            NotFoundError: When there is no such snapshot.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> name = ws.snapshot()
            >>> _ = ws.records.get("REC-20200601").steps.run("count", mode="main_process", progress=False)
            >>> ws.diff(name).steps.select("step", "before", "after").rows()
            [('count', 'DATA_READY', 'DONE')]
        """
        return diff(self._source, a, b)

    def explain(
        self, record_id: str, step: str, task: str | None = None, modality: str | None = None
    ) -> Explanation:
        """Explain the status of one row of `steps`: every rule with its values.

        Args:
            record_id: The record; it may have no file yet. The id of a group for a group step.
            step: The step's name.
            task: Its task, if several units have that step; so `modality`.
            modality: Its modality.

        Returns:
            The rules, the files, the last attempt with its traceback, the steps that the row waits for, and what
            would change its status. It prints as text; `to_dict()` returns plain values.

        Raises:
            NotFoundError: When the id does not fit `id_pattern`, or there is no such step.
            SelectionError: When several units have that step; names them.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.explain("REC-20200601", "count").reason
            'all inputs are there'
        """
        cell = self._source.layout().unit_step(step, task, modality)
        if cell.by is None:
            self.records.get(record_id)
        else:
            self._source.catalog().group_steps.check(cell, record_id)
        return diagnostics.explain(self._source, record_id, cell)

    def explain_path(self, path: str | Path) -> FileOrigin:
        """Find what made a file: the step and run, and its code, parameters and inputs; prints as text."""
        return diagnostics.explain_path(self._source, str(path))

    @property
    def plot(self) -> Plot:
        """Charts of all rows or of a selection (extra `plot`), and `mermaid()`, a text; see `Plot`."""
        from sinagot_catalog.reporting import Plot

        return Plot(self._source, self.steps)

    def report(
        self, path: str | Path = "report.html", *, where: str | None = None, by: Sequence[str] = ()
    ) -> Path:
        """Write one self-contained HTML page: completeness, failures, runs, missing inputs.

        Args:
            path: The file; an existing file is replaced.
            where: A filter in SQL of the rows of `steps` to show.
            by: Columns of `steps` or `records` to show completeness by, in addition to tasks and fields of the id.

        Returns:
            The file's path.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> page = ws.report(f"{ws.config.root}/report.html", where="step = 'count'")
            >>> "0 of 3 rows done (0 %), 3 can run now" in page.read_text()
            True
        """
        from sinagot_catalog.reporting import write_report

        rows = self.steps.sql_filter(where) if where else self.steps
        chosen = rows.select(*dict.fromkeys([*KEYS, *by])) if where or by else None
        return write_report(self._source, path, chosen, where=where, by=by)

    def try_pattern(self, pattern: str | Sequence[str]) -> PatternReport:
        """Return what a pattern finds in the dataset: matches, near misses, and collisions on one unit.

        Args:
            pattern: A pattern as in a script; a further placeholder such as `{run}` stands for any text without
                a `/`.

        Returns:
            The fitting paths, similar paths with the token that fails, and the collisions.

        Raises:
            PatternError: When the pattern is empty or leaves the dataset.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.try_pattern("raw/{id}-{kind}.csv").matches.row(0)
            ('raw/REC-20200601-raw.csv', 'REC-20200601', 'raw')
        """
        from sinagot_catalog.diagnostics import try_pattern

        return try_pattern(self._source, pattern)

    # --- closing and display -----------------------------------------------------------------------------

    def close(self) -> None:
        """Release the resources of the workspace; its handles stay usable, and list again."""
        self._source.refresh()
        for handler in list(self.logger.handlers):
            self.logger.removeHandler(handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._source,)

    def __repr__(self) -> str:
        kept = self._source.kept
        return "<Workspace instance>" if kept is None else f"<Workspace instance | {kept}>"

    def _repr_html_(self) -> str:
        from sinagot_catalog.reporting import summary_of

        return summary_of(self._source)


def _reopen(source: Session) -> Workspace:
    workspace = object.__new__(Workspace)
    workspace._source = source
    workspace._kinds = ViewTypes(source, workspace)
    workspace.logger = _logger(source.config)
    return workspace


def _located(place: str) -> Path | str:
    return place if is_url(place) else Path(place)


def _scripts(config: Config) -> set[str]:
    """The scripts that the config lists."""
    of_modalities = (name for modality in config.modalities.values() for name in modality.steps(None))
    return {*config.steps.scripts, *of_modalities}


def _logger(config: Config) -> logging.Logger:
    """Return a logger of this workspace: it has sinagot's name, but workspaces do not share it."""
    logger = logging.Logger(config.logging.name, config.logging.level)  # noqa: LOG001 - see above
    logger.parent = logging.getLogger(config.logging.name)
    return logger
