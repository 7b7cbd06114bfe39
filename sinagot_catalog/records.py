"""Records: the handles of a scope of records (`RecordCollection`) and of one record (`Record`)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from sinagot_catalog import record_data
from sinagot_catalog.catalog import Query, no_step
from sinagot_catalog.errors import NotFoundError, SelectionError, did_you_mean
from sinagot_catalog.patterns import id_values
from sinagot_catalog.schema import EVENTS, STATUS_NUMBER
from sinagot_catalog.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from logging import Logger

    from sinagot_catalog.config import Config
    from sinagot_catalog.workspace import Workspace


class ScopeError(SelectionError, AttributeError):
    """The scope has no task or modality of the given attribute's name."""


class RecordCollection(Selection):
    """The records of a scope: of the workspace, of a task, of a modality, or of one unit.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> ws.records.first()
        <Record instance | id: REC-20200601>
        >>> list(ws.records.head(2))
        [<Record instance | id: REC-20200601>, <Record instance | id: REC-20200602>]
    """

    # --- the workspace -----------------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """The workspace of the records.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.records.first().workspace is ws
            True
        """
        return self._kinds.workspace

    @property
    def config(self) -> Config:
        """The config of the workspace."""
        return self._source.config

    @property
    def logger(self) -> Logger:
        """The logger of the workspace."""
        return self.workspace.logger

    # --- ids ---------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """The record ids, sorted."""
        ids = list(self.iter_ids())
        self._warn_of_absent(len(ids))
        return ids

    def iter_ids(self) -> Iterator[str]:
        """Iterate over the record ids, sorted."""
        for resolver in self._resolvers():
            yield from resolver.rows(self._query)["record_id"]

    def all(self) -> Iterator[Record]:
        """Iterate over the records, sorted by id."""
        for record_id in self.iter_ids():
            yield self._record(record_id)

    def __iter__(self) -> Iterator[Record]:
        return self.all()

    def first(self) -> Record | None:
        """The first record, or None if there is none."""
        return next(self.all(), None)

    def head(self, count: int = 5) -> Iterator[Record]:  # type: ignore[override]
        """Iterate over the first `count` records, as sinagot does."""
        for record_id in islice(self.iter_ids(), max(count, 0)):
            yield self._record(record_id)

    def get(self, record_id: str) -> Record:
        """Return the record of an id, even if it has no file yet.

        Raises:
            NotFoundError: When the id does not fit `id_pattern`; names similar ids. Or when the workspace was
                opened for other records.
        """
        if str(record_id) != record_id or id_values(record_id, self._source.config.ids) is None:
            raise NotFoundError(
                f"{record_id!r} {self._source.config.ids.refusal(str(record_id))}{self._near(record_id)}"
            )
        self._source.check_span(record_id)
        return self._record(record_id)

    def __getitem__(self, record_id: str) -> Record:
        """Return the existing record of an id.

        Raises:
            NotFoundError: When no record has that id; names similar ids.
        """
        if not isinstance(record_id, str):
            raise NotFoundError(
                f"there is no record {record_id!r}: an id is a text",
                "For the first five records write .head(5), for a list of the ids .ids().",
            )
        if not self.has(record_id):
            is_group = self._source.is_cheap and record_id in self._source.catalog().row_ids
            hint = (
                "It is a group of records: name its records, or filter by their fields." if is_group else ""
            )
            raise NotFoundError(f"there is no record {record_id!r}{self._near(record_id)}", hint)
        return self._record(record_id)

    def _near(self, record_id: str) -> str:
        """The similar ids in words; nothing if they cost a listing."""
        return did_you_mean(record_id, self.ids() if self._source.is_cheap else [])

    def has(self, record_id: str) -> bool:
        """Whether a record of that id exists."""
        return record_id in self

    def __contains__(self, record_id: object) -> bool:
        if not isinstance(record_id, str):
            return False
        parts = (
            resolver
            for resolver in self._resolvers()
            if resolver.catalog.span is None or record_id in resolver.catalog.span
        )
        return any(record_id in part.rows(self._query)["record_id"] for part in parts)

    def _record(self, record_id: str) -> Record:
        query = Query("records", self.task, self.modality, record_id)
        return self._with(query)  # type: ignore[return-value]

    # --- scopes ------------------------------------------------------------------------------------------

    @property
    def task(self) -> str | None:
        """The task of the scope, or None for all."""
        return self._query.task

    @property
    def modality(self) -> str | None:
        """The modality of the scope, or None for all."""
        return self._query.modality

    @property
    def is_unit(self) -> bool:
        """Whether the scope is one unit: a task and a modality, or all if the config declares neither."""
        return any((unit.task, unit.modality) == (self.task, self.modality) for unit in self._units())

    def get_subscope(self, task: str | None = None, modality: str | None = None) -> Self:
        """Narrow the scope to a task, a modality or both.

        Raises:
            ScopeError: When the config has no such unit; names the existing ones.
        """
        if task is not None and modality is not None:
            return self.get_subscope(task=task).get_subscope(modality=modality)
        query = self._query.within(
            self.task if task is None else task, self.modality if modality is None else modality
        )
        is_twice = None not in (task, self.task) or None not in (modality, self.modality)
        if is_twice or not self._source.layout().units_in(query.task, query.modality):
            name = next(scope for scope in (task, modality) if scope is not None)
            valid = self._subscopes()
            raise ScopeError(
                f"{name!r} is not valid for {self!r}{did_you_mean(name, valid)}",
                "Valid here: " + ", ".join(valid) + "."
                if valid
                else "Nothing further can be chosen here; a record is records[id].",
            )
        return self._with(query)  # type: ignore[return-value]

    def _subscopes(self) -> list[str]:
        """The tasks and modalities that this scope can be narrowed to."""
        return list(dict.fromkeys([*self._names("task"), *self._names("modality")]))

    def _names(self, kind: str) -> list[str]:
        """The tasks, or the modalities, that this scope can be narrowed to."""
        if getattr(self, kind) is not None:
            return []
        return list(dict.fromkeys(filter(None, (getattr(unit, kind) for unit in self._units()))))

    def __getattr__(self, name: str) -> Self:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if hasattr(type(self), name):  # a property of a custom class raised the error: raise it again
            return object.__getattribute__(self, name)  # type: ignore[no-any-return]
        if name in self._source.config.tasks:
            return self.get_subscope(task=name)
        if name in self._source.config.modalities:
            return self.get_subscope(modality=name)
        hint = self._instead(name, self._subscopes())
        if not hint and id_values(name, self._source.config.ids) is not None:
            hint = f"; a record is asked for as [{name!r}]"
        raise ScopeError(f"{name!r} is not valid for {self!r}{hint}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._subscopes()]

    def iter_tasks(self) -> Iterator[Self]:
        """Iterate over the tasks that the scope can be narrowed to, each as a scope."""
        for task in self._names("task"):
            yield self.get_subscope(task=task)

    def iter_modalities(self) -> Iterator[Self]:
        """Iterate over the modalities that the scope can be narrowed to, each as a scope."""
        for modality in self._names("modality"):
            yield self.get_subscope(modality=modality)

    def iter_units(self) -> Iterator[Self]:
        """Iterate over the scope's units, each as a scope."""
        for unit in self._units():
            yield self._with(self._query.within(unit.task, unit.modality))  # type: ignore[misc]

    def _units(self) -> list[Any]:
        return self._source.layout().units_in(self.task, self.modality)

    # --- counts ------------------------------------------------------------------------------------------

    def count_detail(self, with_record_id: bool = False) -> pl.DataFrame:  # noqa: FBT001, FBT002 - sinagot's own
        """Count the records with data, by unit.

        Args:
            with_record_id: Return a row per record and unit instead, with count 1.

        Returns:
            Columns `task, modality, count`, or `record_id, task, modality, count`.
        """
        rows = self._rows(self._query.seen_as("units"), pl.col("has_data"))
        return self._counted(rows, each=with_record_id)

    def count_raw_data(self, with_record_id: bool = False) -> pl.DataFrame:  # noqa: FBT001, FBT002 - sinagot's own
        """`count_detail` under its name in sinagot 0.3."""
        return self.count_detail(with_record_id)

    def count_step(
        self,
        step_label: str | None = None,
        position: str = "input",
        with_record_id: bool = False,  # noqa: FBT001, FBT002 - sinagot's own
    ) -> pl.DataFrame:
        """Count the records that have all inputs, or all outputs, of a step, by unit.

        Args:
            step_label: The step; by default the first step of each unit.
            position: `input` or `output`.
            with_record_id: Return a row per record and unit instead, with count 1.

        Returns:
            Columns `task, modality, count`, or `record_id, task, modality, count`.

        Raises:
            SelectionError: When the step or the position does not exist.
        """
        if position not in ("input", "output"):
            raise SelectionError(f"position {position!r} is neither 'input' nor 'output'")
        known = self._source.layout().steps
        if step_label is not None and step_label not in known:
            raise SelectionError(*no_step(self._source, step_label, known))
        here = pl.col("step_index") == 1 if step_label is None else pl.col("step") == step_label
        full = pl.col(f"n_{position}s_found") == pl.col(f"n_{position}s")
        rows = self._rows(self._query.seen_as("steps"), here & full)
        return self._counted(rows, each=with_record_id)

    def _counted(self, rows: pl.DataFrame, *, each: bool) -> pl.DataFrame:
        """Count the rows of each unit, also of units without rows; or return each row with count 1."""
        if each:
            return rows.select("record_id", "task", "modality", pl.lit(1, dtype=pl.Int64).alias("count"))
        counts = rows.group_by("task", "modality", maintain_order=True).agg(
            pl.len().cast(pl.Int64).alias("count")
        )
        return (
            self._every_unit()
            .join(counts, on=["task", "modality"], how="left", nulls_equal=True)
            .fill_null(0)
        )

    def _every_unit(self) -> pl.DataFrame:
        units = self._units()
        columns = {"task": [unit.task for unit in units], "modality": [unit.modality for unit in units]}
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))

    # --- data --------------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The record data of the scope's modality (`models.plugin`, `models.data_path`).

        For a collection: a frame with `record_id` and a column per key, a row per record with a data file. For
        a record: a dict, None without a file; setting it replaces the file.

        Raises:
            SelectionError: When the scope's modality has no record data.
        """
        return record_data.data_frame(self._source, self._resolver(), self._query)

    def get_processed_data(self, data_key: str) -> pl.DataFrame:
        """Read results as `[processed.KEY]` declares.

        Returns:
            `record_id` and the values, a row (of a table: its rows) per record with a result.

        Raises:
            NotFoundError: When the config has no such key.
        """
        task, modality = record_data.scope_of_processed(self._source.config, data_key)
        query = self._query.within(task or self._query.task, modality or self._query.modality)
        query = query.seen_as("steps")
        resolver = self._resolver()
        return record_data.processed(self._source, resolver, resolver.rows(query), data_key)

    # --- logs --------------------------------------------------------------------------------------------

    def logs(self) -> pl.DataFrame:
        """The log of runs for these records, newest first.

        Returns:
            The columns of `events`, and sinagot's `step_label`, `step_status`, `log_from` and `scope`.
        """
        query = self._query
        events = self._source.events()
        if query.record is not None:
            events = events.filter(pl.col("record_id") == query.record)
        elif query.is_narrowed:
            events = events.filter(pl.col("record_id").is_in(self.ids()))
        for column, value in (("task", query.task), ("modality", query.modality)):
            if value is not None:
                events = events.filter(pl.col(column) == value)
        seed = {"log_from": pl.lit("script"), "scope": pl.lit("record")}
        label = pl.col("step").alias("step_label")
        return events.select(*EVENTS, label, STATUS_NUMBER, **seed).reverse()

    def _name(self) -> str:
        return f"{type(self).__name__} instance"


class Record(RecordCollection):
    """One record.

    Example:
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> record = ws.records.get("REC-20200602")
        >>> record.id
        'REC-20200602'
        >>> record.steps.get("count").status().name
        'DATA_READY'
    """

    @property
    def id(self) -> str:
        """The record's id."""
        return self._query.record or ""

    @property
    def data(self) -> dict[str, Any] | None:
        """The record's data in the scope's modality; setting it replaces the file."""
        return record_data.read_data(self._source, self._query)

    @data.setter
    def data(self, data: Mapping[str, Any]) -> None:
        record_data.write_data(self._source, self._query, data)

    def __bool__(self) -> bool:
        return True

    def count_detail(self, with_record_id: bool = False) -> pl.DataFrame:  # noqa: FBT001, FBT002 - sinagot's own
        """Whether the record has data, by unit.

        Args:
            with_record_id: Leave out the units without data.

        Returns:
            Columns `record_id, task, modality, count`.
        """
        counts = super().count_detail(with_record_id)
        return counts if with_record_id else counts.insert_column(0, pl.lit(self.id).alias("record_id"))

    def logs_json(self) -> list[dict[str, Any]]:
        """Return `logs` as plain dicts, times as ISO text; empty if there are none."""
        frame = self.logs().with_columns(pl.col("time").dt.to_string("iso:strict"))
        return frame.with_columns(pl.col("status").cast(pl.String)).to_dicts()

    def status_dict(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return the steps' statuses by task and modality, in sinagot's form for web pages."""
        out: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in self.steps.status().iter_rows(named=True):
            steps = out.setdefault(row["task"] or "", {}).setdefault(row["modality"] or "", [])
            steps.append({key: row[key] for key in ("step_index", "step_label", "step_status")})
        return out

    def status_json(self) -> str:
        """Return `status_dict` as JSON text."""
        import json

        return json.dumps(self.status_dict())

    def _scope(self) -> str:
        scope = super()._scope()
        return f"id: {self.id}, {scope}" if scope else f"id: {self.id}"
