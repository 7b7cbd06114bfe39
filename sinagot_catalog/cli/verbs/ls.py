"""`ls`: prints rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say, width
from sinagot_catalog.cli.output import is_machine, put_rows, put_table, say_note
from sinagot_catalog.cli.parser.command import Argument, OneOf, Option, verb
from sinagot_catalog.cli.parser.options import (
    OUTPUT,
    SNAPSHOT,
    WORKSPACE,
    columns,
    limit,
    record,
    status_option,
    steps,
    where,
)
from sinagot_catalog.cli.workspace_args import (
    check_ids,
    is_narrowed,
    named_steps,
    of_steps,
    of_where,
    open_workspace,
    say_absent_value,
    say_unread_values,
    say_what_is_missing,
    source_of,
)
from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.startup import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog.selection import Selection
    from sinagot_catalog.workspace import Workspace

LIMIT = 100
"""Default number of rows on a terminal."""

_SELECTIONS = ("records", "units", "files", "steps")
"""The tables that are read in ranges of records if the listing is large."""

_SHOWN = {
    "units": ["record_id", "task", "modality", "has_data", "n_steps", "n_done", "n_error", "next_step"],
    "files": ["path", "size", "modified", "record_id", "task", "modality", "step", "role"],
    "steps": ["record_id", "task", "modality", "step", "status", "seconds", "reason"],
    "events": ["time", "record_id", "task", "modality", "step", "event", "message"],
    "links": ["record_id", "task", "modality", "step", "role", "label", "path", "exists"],
}


@verb(
    "rows of a table: records (the default), units, files, steps, events, links",
    """
  sinagot-catalog ls --status error                   the records with an error
  sinagot-catalog ls steps --where "status = 'ERROR'" --columns record_id,step,message
  sinagot-catalog ls files --where "size = 0" --csv
  sinagot-catalog ls files --sort -size --limit 10      the ten largest

--json, --csv and --parquet have the table's columns, as the README lists them. Columns that need sizes or times of
files (stale; size and times of records) are there where --columns or --where names them.""",
    Argument(
        "table",
        "TABLE",
        default="records",
        required=False,
        type=OneOf(["records", "units", "files", "steps", "events", "links"]),
    ),
    WORKSPACE,
    SNAPSHOT,
    where("only rows that fit; it may name columns of records"),
    status_option("only rows with a step of this status"),
    steps("only rows with this step"),
    record(),
    columns("--columns", "these columns, in this order"),
    Option("--sort", metavar="A,-B", help="in the order of these columns; with - from the greatest down"),
    limit("at most N rows (by default 100 on a terminal; 0 for all)"),
    OUTPUT,
)
def ls(args: Any) -> int:
    """Print rows of a table."""
    ws = open_workspace(args)
    machine = is_machine(args)
    limit = args.limit if args.limit is not None else LIMIT if width() and not machine else 0
    shown = _Shown(_parts(ws, args, limit), limit, is_latest=args.table == "events" and not args.sort)
    if machine:
        put_rows(args, shown)
    else:
        from sinagot_catalog.reporting import without_empty

        frame = pl.concat(list(shown))
        if frame.height:
            put_table(frame if args.columns else without_empty(frame))
    if shown.total:
        _say_cut(ws, args, shown, limit)
    else:
        say(f"no {args.table}{' that fit' if is_narrowed(args) else ''}")
        if not is_narrowed(args):
            say_what_is_missing(ws)
        elif args.table in _SELECTIONS:
            say_absent_value(_fitting(ws, args))
    return 0


class _Shown:
    """The first rows of a table, as they come.

    Args:
        parts: The rows, each part with the number of rows that fit; more than it has if sizes of the others are not
            read.
        limit: At most so many; 0 for all.
        is_latest: Whether the last rows are shown.
    """

    def __init__(self, parts: Iterator[tuple[pl.DataFrame, int]], limit: int, *, is_latest: bool) -> None:
        self._parts = parts
        self._limit = limit
        self._is_latest = is_latest
        self.height = self.total = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for part, n in self._parts:
            most = self._limit - self.height if self._limit else part.height
            frame = part.tail(most) if self._is_latest else part.head(most)
            self.total += n
            self.height += frame.height
            yield frame
            if self._limit and self.height >= self._limit:
                return


def _say_cut(ws: Workspace, args: Any, shown: _Shown, limit: int) -> None:
    """Print which tables have unread rows, and how many rows are not shown."""
    source = source_of(ws)
    for table in source.ranges.any.catalog().tables if args.table == "records" else ():
        if table.unread:
            say_note(table.unread)
    if limit and shown.height == limit and args.table in _SELECTIONS and source.ranges:
        say(f"(the first {shown.height} rows; --limit 0 for all)")
    elif shown.height < shown.total:
        say(f"({shown.height} of {shown.total:,} rows; --limit 0 for all)")


def _split_columns_of_files(ws: Workspace, frame: pl.DataFrame, args: Any) -> pl.DataFrame:
    """Report files without values, and put each field of a column from files into a column of its own: `qc.snr`."""
    say_unread_values(ws)
    columns = source_of(ws).ranges.any.catalog().file_columns
    if args.json or args.parquet:
        return frame
    for name in (*columns.names(args.table), *columns.names("records")):
        dtype = frame.schema.get(name)
        if isinstance(dtype, pl.Struct) and dtype.fields:
            frame = frame.unnest(name, separator=".")
        elif isinstance(dtype, pl.Struct):
            frame = frame.with_columns(pl.lit(None, pl.String).alias(name))
    return frame


def _parts(ws: Workspace, args: Any, limit: int) -> Iterator[tuple[pl.DataFrame, int]]:
    """Yield the rows that fit, in the chosen order, with the columns to show; range by range of records.

    Sizes and times are read of the shown rows only, unless the order needs them.
    """
    names = args.columns or []
    order = _order(args)
    shown = names or ([] if is_machine(args) else _SHOWN.get(args.table, []))
    if args.table not in _SELECTIONS:
        check_ids(ws, args.record or ())
        frame = ws.events() if args.table == "events" else ws.links()
        known = {cell.step for cell in source_of(ws).layout().cells}
        frame = _of_frame(frame, args, [*names, *order], known)
        yield _sorted(frame, order).select(shown or frame.columns), frame.height
        return
    rows = _fitting(ws, args)
    shown = shown or list(rows.collect_schema())
    named = list(dict.fromkeys([*shown, *order]))
    if order:
        frame = _first(
            (part.select(named) for part in rows.ranges()), order, limit if source_of(ws).ranges else 0
        )
        yield _split_columns_of_files(ws, frame.select(shown), args), frame.height
        return
    for part in rows.ranges():
        n = len(part) if limit else 0
        few = part.filter(pl.int_range(pl.len()) < limit) if limit else part
        frame = few.select(named)
        yield _split_columns_of_files(ws, frame.select(shown), args), n or frame.height


def _fitting(ws: Workspace, args: Any) -> Selection:
    """Return the rows of the table that fit all options."""
    chosen: Any = ws
    if args.table == "steps" or args.status or args.step:
        chosen = of_steps(named_steps(ws, args), args)
    elif args.record:
        check_ids(ws, args.record)
        chosen = ws.records.filter(pl.col("record_id").is_in(args.record))
    rows: Selection = getattr(chosen, args.table)
    return of_where(rows, args)


def _first(parts: Iterator[pl.DataFrame], order: dict[str, bool], limit: int) -> pl.DataFrame:
    """Return the first rows in an order; 0 for all."""
    rows = _sorted(next(parts), order)
    for part in parts:
        rows = _sorted(pl.concat([rows.head(limit) if limit else rows, part]), order)
    return rows.head(limit) if limit else rows


def _sorted(frame: pl.DataFrame, order: dict[str, bool]) -> pl.DataFrame:
    down = list(order.values())
    return frame.sort(list(order), descending=down, nulls_last=True, maintain_order=True) if order else frame


def _order(args: Any) -> dict[str, bool]:
    """Return the columns to sort by; True for those that go down."""
    names = [name.strip() for name in (args.sort or "").split(",")]
    return {name.removeprefix("-"): name.startswith("-") for name in names if name.strip("-")}


def _of_frame(frame: pl.DataFrame, args: Any, columns: list[str], step_names: set[str]) -> pl.DataFrame:
    """Narrow a table that is not a selection."""
    from sinagot_catalog.catalog import check_literals, fitting, sql_predicate

    if args.status:
        raise SelectionError(
            f"--status does not apply to {args.table}", "It applies to records, units, files and steps."
        )
    predicates = [sql_predicate(args.where)] if args.where else []
    for column, values in (("record_id", args.record), ("step", args.step)):
        predicates += [pl.col(column).is_in(values)] if values else []
    for name in [*(name for predicate in predicates for name in predicate.meta.root_names()), *columns]:
        if name not in frame.columns:
            near = did_you_mean(name, frame.columns)
            quotes = "" if near else f" In SQL a text has single quotes: '{name}'."
            raise SelectionError(
                f"{args.table} has no column {name!r}{near}",
                f"Its columns: {', '.join(frame.columns)}.{quotes}",
            )
    steps = {"step": sorted(step_names.union(frame["step"].drop_nulls()))} if args.step else {}
    for predicate in predicates:
        check_literals(predicate, dict(frame.schema), steps)
        try:
            frame = fitting(frame, predicate, frame.columns)
        except pl.exceptions.StructFieldNotFoundError as error:
            raise SelectionError(f"no column of {args.table} has fields, such as {error}") from error
    return frame
