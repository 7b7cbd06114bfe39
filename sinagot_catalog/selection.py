"""Selections: immutable rows of one table, and their views as other tables."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from random import randrange
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from sinagot_catalog.catalog import (
    FrameProtocols,
    Query,
    Resolver,
    absent_value,
    as_expression,
    check_literals,
    equality,
    failed,
    failure_kinds,
    flattened,
    no_attribute,
    rows_frame,
    sql_predicate,
)
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import NamesNearest, NoMatchWarning, SelectionError, SinagotError
from sinagot_catalog.schema import KEYS, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.flows import RunHandle
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.models import ViewTypes
    from sinagot_catalog.records import RecordCollection
    from sinagot_catalog.run import Plan
    from sinagot_catalog.steps import StepCollection


class Selection(FrameProtocols, NamesNearest):
    """Rows of one table of the catalog; immutable, and lazy: nothing is listed before the user asks for rows.

    It is filtered like a Polars frame, and passed to any library that reads Arrow, such as DuckDB, Altair, narwhals
    and `ibis.memtable`. pandas takes `.collect().to_pandas()`, great_tables takes `.collect()`.

    Example:
        >>> import polars as pl
        >>> from sinagot_catalog import example
        >>> ws = example()
        >>> ready = ws.steps.filter(pl.col("status") == "DATA_READY")
        >>> ready.records.ids()[:1]
        ['REC-20200601']
    """

    def __init__(self, source: Session, kinds: ViewTypes, query: Query) -> None:
        self._source = source
        self._kinds = kinds
        self._query = query

    def _with(self, query: Query) -> Selection:
        return self._kinds.make(self._source, query)

    def _same(self, query: Query) -> Self:
        return type(self)(self._source, self._kinds, query)

    def _resolver(self) -> Resolver:
        return Resolver(self._query.widened(self._source.catalog()), self._source.stats)

    def ranges(self) -> Iterator[Self]:
        """Iterate over ranges of these rows by record id, each as a selection; a small listing is one range.

        A given listing of more than two million keys is looked at in ranges, so that memory is bounded. `collect`,
        `lazy`, `count`, `plan` and `run` go through them, too, and return the rows of all.

        Raises:
            SelectionError: There are several ranges, and a filter needs all rows at once.

        Example:
            >>> from sinagot_catalog import example
            >>> [rows.count() for rows in example().steps.ranges()]
            [9]
        """
        for source in self._source.ranges.sessions(self._query):
            yield type(self)(source, self._kinds, self._query)

    def _resolvers(self) -> Iterator[Resolver]:
        """Yield a resolver for each range; the first one knows every column."""
        for source in self._source.ranges.sessions(self._query):
            yield Resolver(self._query.widened(source.catalog()), source.stats)

    def _rows(self, query: Query, predicate: pl.Expr) -> pl.DataFrame:
        """Return the rows of a query that fit, with the keys of the rows."""
        parts = [resolver.rows(query).filter(predicate) for resolver in self._resolvers()]
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    # --- narrowing ---------------------------------------------------------------------------------------

    def filter(self, *predicates: pl.Expr | bool | Iterable[pl.Expr], **constraints: Any) -> Self:
        """Keep the rows that fit, like Polars' `filter`.

        Args:
            predicates: Expressions over the columns of this table, and of `records`.
            constraints: Columns and their values; None means null. `status` also has the short names READY,
                RUNNING and NO_DATA.

        Raises:
            SelectionError: When a column with fixed values is compared with a value that it can never have.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.steps.filter(status="DOEN")
            Traceback (most recent call last):
            sinagot_catalog.errors.SelectionError: status is never 'DOEN'; did you mean 'DONE'?
            It is one of INIT, DATA_READY, PROCESSING, DONE, ERROR, DATA_NOT_AVAILABLE, EXCLUDED.
        """
        flat: list[pl.Expr] = []
        for predicate in predicates:
            several = isinstance(predicate, Iterable) and not isinstance(predicate, (str, pl.Series))
            flat += map(as_expression, predicate if several else [predicate])  # type: ignore[arg-type]
        flat += [equality(self._query.table, column, value) for column, value in constraints.items()]
        return self._same(self._query.where(*flat))

    def sql_filter(self, where: str) -> Self:
        """Keep the rows that fit a predicate in SQL, as used on the command line and in deployments.

        Raises:
            SelectionError: When the text cannot be read, or compares a column with a value that it can never have.
        """
        return self.filter(sql_predicate(where, short_names=self._query.table != "records"))

    # --- views -------------------------------------------------------------------------------------------

    @property
    def records(self) -> RecordCollection:
        """The records that have at least one of these rows."""
        return self._with(self._query.seen_as("records"))  # type: ignore[return-value]

    @property
    def units(self) -> Selection:
        """The units of these rows: all units of records, and the units that have at least one of the rows."""
        return self._with(self._query.seen_as("units"))

    @property
    def files(self) -> Selection:
        """The files that these rows read or write."""
        return self._with(self._query.seen_as("files"))

    @property
    def steps(self) -> StepCollection:
        """The steps of these rows: all steps of records and units, and the steps that read or write files."""
        return self._with(self._query.seen_as("steps"))  # type: ignore[return-value]

    # --- rows --------------------------------------------------------------------------------------------

    def collect(self) -> pl.DataFrame:
        """Return the rows as a Polars frame, ordered by record id and the config's order.

        Columns that need sizes or times (`stale`; `size`, `first_modified` and `last_modified` of a record), and
        columns from files (steps with `COLUMNS`), are included if a filter names them; `select` names them too.
        """
        rows = self._fetch(None)
        self._warn_of_absent(rows.height)
        return rows

    def _fetch(self, columns: Sequence[str] | None) -> pl.DataFrame:
        parts = [resolver.fetch(self._query, columns) for resolver in self._resolvers()]
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def select(
        self, *columns: str | pl.Expr | Iterable[str | pl.Expr], **named: pl.Expr | str
    ) -> pl.DataFrame:
        """Return columns of the rows as a Polars frame, like Polars' `select`.

        Args:
            columns: Names and expressions; they may also name columns of `records`.
            named: Further expressions by the names of their columns.

        Raises:
            SelectionError: When there is no such column; names similar ones.

        Example:
            >>> import polars as pl
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.steps.filter(step="mean").select("record_id", "n_files", late=pl.col("step") > "m").row(0)
            ('REC-20200601', 1, True)
        """
        flat = flattened(columns)
        resolver = next(self._resolvers())
        if all(isinstance(expr, str) and not expr.startswith("^") for expr in flat) and not named:
            return self._fetch(list(resolver.described(self._query, flat)))  # type: ignore[arg-type]
        given = [pl.col(expr) if isinstance(expr, str) else expr for expr in (*flat, *named.values())]
        for expr in given:
            check_literals(expr, TABLES[self._query.table], {})
        used = dict.fromkeys(name for expr in given for name in resolver.check(self._query.table, expr))
        frame = self._fetch(list(used) or self._query.shown(TABLES[self._query.table])[:1])
        try:
            return frame.select(*flat, **named)
        except pl.exceptions.StructFieldNotFoundError as error:
            raise resolver.no_field(self._query.table, used, error) from error
        except pl.exceptions.PolarsError as error:
            raise SelectionError(f"the columns cannot be made: {str(error).splitlines()[0]}") from error

    def sort(
        self, *by: str | pl.Expr | Iterable[str | pl.Expr], descending: bool = False, nulls_last: bool = False
    ) -> pl.DataFrame:
        """Return the rows as a Polars frame in another order.

        Args:
            by: Columns and expressions; they may also name columns of `records`.
            descending: Largest first.
            nulls_last: Put nulls last.
        """
        flat, resolver = flattened(by), next(self._resolvers())
        for expr in flat:
            resolver.check(self._query.table, pl.col(expr) if isinstance(expr, str) else expr)
        ordered = self.lazy().sort(*flat, descending=descending, nulls_last=nulls_last, maintain_order=True)
        return ordered.select(*self.collect_schema()).collect()

    def head(self, n: int = 5) -> Self:
        """Return the first rows as a selection, which can be run.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.steps.filter(status="DATA_READY").head(2).select("record_id", "step").rows()
            [('REC-20200601', 'count'), ('REC-20200601', 'mean')]
        """
        return self._same(self._query.where(pl.int_range(pl.len()) < n))

    def sample(self, n: int = 1, *, seed: int | None = None) -> Self:
        """Return random rows as a selection, with the same rows each time that it is collected.

        Args:
            n: The number of rows.
            seed: The random seed; by default each call chooses other rows.
        """
        chosen = randrange(2**31) if seed is None else seed  # noqa: S311 - no secret
        return self._same(self._query.where(pl.int_range(pl.len()).shuffle(chosen) < n))

    def lazy(self) -> pl.LazyFrame:
        """Return the rows as a lazy frame; columns that it does not use are not read.

        Without a projection it has the columns of `collect`. Its verbs may also name columns that need sizes or
        times, and columns of `records`.

        Example:
            >>> import polars as pl
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.steps.lazy().filter(pl.col("n_files") > 1).select("step", "stale").collect().height
            0
        """
        return rows_frame(self._resolvers, self._query, self.collect_schema())

    def collect_schema(self) -> pl.Schema:
        """Return names and dtypes of the columns that `collect` returns."""
        if self._query.table == "records" or self._query.names_more_than_units:
            return pl.Schema(next(self._resolvers()).described(self._query))
        schema = TABLES[self._query.table]  # fixed: needs no listing
        return pl.Schema({name: schema[name] for name in self._query.shown(schema)})

    def __len__(self) -> int:
        return sum(resolver.count(self._query) for resolver in self._resolvers())

    def count(self) -> int:
        """Return the number of rows."""
        count = len(self)
        self._warn_of_absent(count)
        return count

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle the query, not the class: a modality's own class cannot be imported by name.
        return _made, (self._kinds, self._source, self._query)

    def _instead(self, name: str, also: Sequence[str] = ()) -> str:
        """What to write for a name that the selection does not have, as the end of a sentence."""
        columns = {*TABLES[self._query.table], *self._source.config.ids.groups}
        return no_attribute(self, name, self._kinds, self._query.table, columns=columns, also=also)

    def matrix(self) -> pl.DataFrame:
        """Return records by steps: a row per record, and a column with the statuses of each step.

        Example:
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> ws.records.matrix().row(0)
            ('REC-20200601', 'DATA_READY', 'DATA_READY', 'INIT')
        """
        from sinagot_catalog.reporting import status_matrix

        return status_matrix(self._source.layout(), self.steps.select(*KEYS, "status"))

    def failures(self) -> pl.DataFrame:
        """Cluster the failures: a row per step, error type and kind of message.

        A row whose last attempt failed counts, even if older outputs make it DONE.

        Returns:
            Columns `task, modality, step, error_type, message` (with `…` for parts that differ), `n`, `first`,
            `last` and `examples` (up to three record ids, joined by `; `), most frequent first.
        """
        rows = self.steps.filter(failed()).collect()
        return failure_kinds(rows).drop("records", "n_done")

    # --- running -----------------------------------------------------------------------------------------

    def plan(self, *args: Any, **options: Any) -> Plan:
        """Return what `run` would do with the steps of these rows; see `StepCollection.plan`."""
        return self.steps.plan(*args, **options)

    def run(self, *args: Any, **options: Any) -> RunReport:
        """Run the steps of these rows; see `StepCollection.run`."""
        return self.steps.run(*args, **options)

    def submit(self, *args: Any, **options: Any) -> RunHandle:
        """Submit the steps of these rows as a Prefect flow; see `StepCollection.submit`."""
        return self.steps.submit(*args, **options)

    def accept(
        self, step_label: str | Sequence[str] | None = None, *, all_rows: bool = False
    ) -> pl.DataFrame:
        """Accept the present outputs of these rows, for example after a copy: the rows count as done.

        The journal records the present inputs, outputs and code: a later change of them makes a row stale.

        Args:
            step_label: Only this step, or these.
            all_rows: Accept all rows of the workspace; otherwise the selection must be narrowed.

        Returns:
            A row per selected row: `record_id, task, modality, step, accepted`, and `reason` if the row was
            left out (an output is missing, or a live run has claimed it).

        Raises:
            UsageError: Nothing narrows the selection.
        """
        from sinagot_catalog.run import accept

        return accept(self._source, self._query, step_label, all_rows=all_rows)

    def exclude(self, reason: str, step_label: str | Sequence[str] | None = None) -> pl.DataFrame:
        """Leave these rows out: they get the status EXCLUDED, and no run takes them. Their results are kept.

        The table of exclusions gets a row per record, unit or step of the selection, with the reason, the user's
        name and the time. If the config names no table, `exclude.csv` beside it is made, and a warning says which
        line to add.

        Args:
            reason: Why, in a few words.
            step_label: Only this step, or these.

        Returns:
            A row per exclusion: `record_id, task, modality, step` (null stands for all), `excluded`, and `reason`
            if not: it was excluded already, or the config names no table.

        Raises:
            UsageError: The reason is empty, or nothing narrows the selection.

        Example:
            >>> import warnings
            >>> from sinagot_catalog import example
            >>> ws = example()
            >>> with warnings.catch_warnings(action="ignore"):
            ...     ws.records.filter(record_id="REC-20200602").exclude("fog").row(0)
            ('REC-20200602', None, None, None, False, 'written to exclude.csv')
        """
        from sinagot_catalog.catalog import exclude, missing_line

        rows = exclude(self._source, self._query, reason, step=step_label)
        if (text := missing_line(self._source)) is not None:
            warnings.warn(text, stacklevel=2)
        return rows

    def include(self, step_label: str | Sequence[str] | None = None) -> pl.DataFrame:
        """Take these rows back: remove their rows from the table of exclusions.

        Args:
            step_label: Only this step, or these, of their records.

        Returns:
            A row per exclusion of these rows: `record_id, task, modality, step`, `included`, and `reason` if it
            stays because it excludes rows outside of the selection, too.

        Raises:
            UsageError: Nothing narrows the selection.
        """
        from sinagot_catalog.catalog import include

        return include(self._source, self._query, step_label)

    # --- display -----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Show the scope, the filters, and the number of filtered rows; does not list a bucket."""
        parts = [self._scope(), *self._query.filters(), self._counted_rows()]
        text = " | ".join(part for part in parts if part)
        return f"<{self._name()} | {text}>" if text else f"<{self._name()}>"

    def _counted_rows(self) -> str:
        """The number of rows of a narrowed selection; empty if it is not known cheaply."""
        if not (self._query.is_narrowed and self._source.is_cheap):
            return ""
        try:
            count = len(self)
            absent = "" if count else absent_value(self._source, self._query)
        except SinagotError:
            return ""
        text = count_of(count, self._query.table.removesuffix("s"))
        return f"{text}: {absent}" if absent else text

    def _warn_of_absent(self, count: int) -> None:
        if not count and (text := absent_value(self._source, self._query)):
            warnings.warn(text, NoMatchWarning, stacklevel=3)

    def _name(self) -> str:
        return f"{self._query.table.capitalize()} instance"

    def _scope(self) -> str:
        if self._source.config.is_unit_mode:
            return ""
        return f"task: {self._query.task}, modality: {self._query.modality}"

    def _repr_html_(self) -> str:
        """Show counts first, then the first rows; does not list a bucket."""
        import html

        if not self._source.is_cheap:
            return f"<p>{html.escape(repr(self))}: not listed yet; <code>.collect()</code> lists it</p>"
        from sinagot_catalog.reporting import selection_page, shown_columns

        columns = shown_columns(self._query.table)
        rows = self.select(columns) if columns else self.collect()
        return selection_page(repr(self), self._query.table, rows)


def _made(kinds: ViewTypes, source: Session, query: Query) -> Selection:
    return kinds.make(source, query)
