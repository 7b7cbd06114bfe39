"""Staleness: find the causes that make a DONE row stale (inputs, version, parameters, code).

A cause is true if the recorded value differs from the present value, false if it is equal, null if it is unknown.
The events `done` and `accepted` record these values. A row without such an event is compared by file times alone.
"""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.scripts import changes, to_json, value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sinagot_catalog.catalog.files.file_stats import Stats
    from sinagot_catalog.catalog.steps_table import StepsTable
    from sinagot_catalog.catalog.structure.layout import UnitStep


CAUSES = pl.Struct(
    {
        "input": pl.Boolean(),
        "version": pl.Boolean(),
        "params": pl.Boolean(),
        "code": pl.Boolean(),
        "changes": pl.String(),
    }
)
"""The causes that can make a row stale; `changes` are the changed parameters in words."""

ASKED = ("input", "version", "params")
"""The causes that `--stale` acts on; `--stale=code` also acts on `code`."""

FOLDER = 3
"""How many numbers the journal records per folder; per file it records two."""


def acted_on(stale: bool | str | None, rerun_on: Sequence[str]) -> frozenset[str]:  # noqa: FBT001
    """Return the causes that a run acts on.

    Args:
        stale: The user's choice: True, False, `"code"`; None for the choice of the config.
        rerun_on: `[run] rerun_on`.

    Example:
        >>> sorted(acted_on("code", ())), sorted(acted_on(None, ("input",)))
        (['code', 'input', 'params', 'version'], ['input'])
    """
    if stale is None:
        return frozenset(rerun_on)
    return frozenset(ASKED if stale else ()) | ({"code"} if stale == "code" else set())


def is_stale(causes: pl.Series, among: Iterable[str] = ("input", "version", "params", "code")) -> pl.Series:
    """Whether one of the causes is true; null if none is true and one is unknown.

    Args:
        causes: A struct of `CAUSES`.
        among: The causes that count.
    """
    names = [name for name in among if name in CAUSES.to_schema()]
    if not names:
        return pl.Series([False]).new_from_index(0, len(causes))
    return reduce(or_, [causes.struct.field(name) for name in names])


def in_words(causes: pl.Series, among: Iterable[str]) -> pl.Series:
    """Return the true causes as a clause; empty if none is true."""
    words = {
        "input": pl.lit("an input changed since"),
        "version": pl.lit("a version changed since"),
        "params": pl.col("changes"),
        "code": pl.lit("script changed"),
    }
    holding = [pl.when(pl.col(name)).then(text) for name, text in words.items() if name in set(among)]
    if not holding:
        return pl.Series([""]).new_from_index(0, len(causes))
    return causes.struct.unnest().select(
        pl.concat_str(holding, separator=", ", ignore_nulls=True).alias("causes")
    )["causes"]


def _text(value: str | None) -> pl.Expr:
    return pl.lit(value, dtype=pl.String)


def _changed(position: int, now: pl.DataFrame, newer: pl.Expr, *, is_optional: bool) -> pl.Expr:
    """Whether an input differs from its recorded state."""
    then = pl.col("_inputs").list.get(position, null_on_oob=True)
    is_folder, length = pl.lit(now["is_folder"]), then.list.len()
    size, time = (then.list.get(item, null_on_oob=True) for item in (0, 1))
    digest = pl.lit(
        now["etag"].str.to_integer(base=16, dtype=pl.UInt64, strict=False).reinterpret(signed=True)
    )
    return (
        # an absent input cannot be compared, and a new run could not read it
        pl.when(pl.lit(now["size"]).is_null()).then(then.is_not_null() if is_optional else None)
        .when(then.is_null() & is_folder).then(pl.when(newer).then(newer))
        .when(then.is_null()).then(pl.lit(value=True))
        .when(is_folder != (length == FOLDER)).then(pl.lit(value=True))
        .when(is_folder).then(digest != then.list.get(2, null_on_oob=True))
        .otherwise((size != pl.lit(now["size"])) | (time != pl.lit(now["mtime_ns"])))
    )  # fmt: skip


def _without_record(then: pl.Series, now: Sequence[pl.DataFrame]) -> pl.Series:
    """Whether the inputs of a row, or one that is a folder, were not recorded: then file times are compared."""
    states = (then.list.get(position, null_on_oob=True) for position in range(len(now)))
    folders = [state.is_null() & stamp["is_folder"] for state, stamp in zip(states, now, strict=True)]
    return reduce(or_, folders, then.is_null())


def _newer(
    inputs: Sequence[pl.DataFrame], outputs: Sequence[pl.DataFrame], may_lack: Sequence[bool]
) -> pl.Expr:
    """Whether an input is newer than the oldest output; null if a time is unknown."""
    if not (inputs and outputs):
        return pl.lit(value=False)
    times = [[pl.lit(stamp["mtime_ns"]) for stamp in some] for some in (inputs, outputs)]
    needed = [time for time, lacks in zip(times[0], may_lack, strict=True) if not lacks]
    is_known = pl.all_horizontal(time.is_not_null() for time in (*needed, *times[1]))
    newer = pl.max_horizontal(times[0]) > pl.min_horizontal(times[1])
    return pl.when(newer).then(newer).when(is_known).then(newer)


# --- the rows of a table -------------------------------------------------------------------------------------


_RECORDED = ("event", "_inputs", "_script", "_workspace", "_code", "_params", "_record")


def row_causes(
    table: StepsTable, rows: pl.DataFrame, stats: Stats, status: str, events: Sequence[str]
) -> pl.Series:
    """Return the causes for the rows of a status; a struct of `CAUSES`, null for other rows.

    Args:
        table: The table `steps`.
        rows: Some of its rows.
        stats: Reads sizes and times.
        status: The status of the rows that count.
        events: The events whose record counts; after another event only file times are compared.
    """

    def derive(cell: UnitStep, part: pl.DataFrame) -> pl.Series:
        done = table.with_attempt(part.select("_last"), _RECORDED)
        is_event = pl.col("event").is_in(events)
        done = done.with_columns(pl.when(is_event).then(pl.col("_inputs", "_params", "_record")))
        inputs = [table.port_stats(cell, part["_rec"], port, stats) for port in cell.input_ports]
        may_lack = [port[0].is_optional for port in cell.input_ports]
        by_time = _without_record(done["_inputs"], inputs).arg_true()  # of no other row the outputs matter
        outputs = [
            table.port_stats(cell, part["_rec"].gather(by_time), [link], stats)
            for link in cell.linked("output")
        ]
        times = part.select("_rec")[by_time].with_columns(
            _newer([stamp[by_time] for stamp in inputs], outputs, may_lack).alias("newer")
        )
        unknown = pl.Series([None], dtype=pl.Boolean).new_from_index(0, part.height)
        newer = pl.lit(unknown.scatter(by_time, times["newer"]))
        changed = [
            _changed(position, now, newer, is_optional=is_optional)
            for position, (now, is_optional) in enumerate(zip(inputs, may_lack, strict=True))
        ]
        has_inputs = pl.col("_inputs").is_not_null()
        is_other_script = pl.col("_script").ne_missing(_text(cell.version))
        is_other_workspace = pl.col("_workspace").ne_missing(_text(table.workspace_version))
        code = None if cell.version else table.code_of(cell)
        changes = pl.lit(_parameter_changes(table, cell, done, part["_rec"]))
        return done.select(
            pl.struct(
                pl.when(has_inputs)
                .then(reduce(or_, changed, pl.lit(value=False)))
                .otherwise(newer)
                .alias("input"),
                (has_inputs & (is_other_script | is_other_workspace)).alias("version"),
                changes.is_not_null().alias("params"),
                (has_inputs & (pl.col("_code") != _text(code))).fill_null(value=False).alias("code"),
                changes.alias("changes"),
            )
        ).to_series()

    return table.by_unit_step("causes", rows, pl.col("status") == status, derive, CAUSES)


# --- parameters and metadata ---------------------------------------------------------------------------------


_READ = pl.List(pl.List(pl.String()))


def _parameter_changes(table: StepsTable, cell: UnitStep, done: pl.DataFrame, codes: pl.Series) -> pl.Series:
    """Return what changed of what rows of one step read, as a clause; null where nothing did."""
    texts = done["_params"].unique().drop_nulls()
    clauses = {text: "; ".join(changes(text, cell.params)) or None for text in texts}
    of_params = done["_params"].replace_strict(clauses, default=None, return_dtype=pl.String)
    if done["_record"].is_null().all():
        return of_params
    of_record = _record_changes(done["_record"], codes, table.metadata)
    both = pl.concat_str(pl.lit(of_params), pl.lit(of_record), separator="; ", ignore_nulls=True)
    return pl.select(pl.when(both != "").then(both).alias("changes"))["changes"]


def _read_values(read: pl.Series, codes: pl.Series, metadata: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each metadata column that a row read: `_row, name, then, now, is_same`."""
    long = (
        pl.DataFrame({"_rec": codes, "read": read.cast(_READ)})
        .with_row_index("_row")
        .filter(pl.col("read").list.len() > 0, pl.col("_rec") < metadata.height)  # a group has no metadata
        .explode("read")
        .select(
            "_row", "_rec", pl.col("read").list.get(0).alias("name"), pl.col("read").list.get(1).alias("then")
        )
    )
    names = [name for name in long["name"].unique() if name in metadata.columns]
    is_number = pl.col("name").is_in([name for name in names if metadata.schema[name].is_numeric()])
    present = [
        pl.when(pl.col("name") == name).then(pl.lit(metadata[name].gather(long["_rec"]).cast(pl.String)))
        for name in names
    ]
    values = long.with_columns(pl.coalesce(*present, pl.lit(None, pl.String)).alias("now"))
    then, now = pl.col("then"), pl.col("now")
    is_same = then.cast(pl.Float64, strict=False).eq_missing(now.cast(pl.Float64, strict=False))
    is_same = pl.when(is_number).then(is_same).otherwise(then.eq_missing(now))
    return values.select("_row", "name", "then", "now", is_same.alias("is_same"))


def _record_changes(read: pl.Series, codes: pl.Series, metadata: pl.DataFrame) -> pl.Series:
    changed = _read_values(read, codes, metadata).filter(~pl.col("is_same"))
    if changed.is_empty():
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(codes))
    clause = pl.format(
        "{} was {}, is {}", "name", pl.col("then").fill_null("unknown"), pl.col("now").fill_null("unknown")
    )
    clauses = changed.group_by("_row").agg(clause.str.join("; ").alias("clause"))
    rows = pl.int_range(len(codes), dtype=pl.UInt32, eager=True).alias("_row").to_frame()
    return rows.join(clauses, on="_row", how="left", maintain_order="left")["clause"]


def present_params(read: pl.Series, params: Mapping[str, Any]) -> pl.Series:
    """Return the present values of the parameters that rows read, as JSON; null for rows that read none."""
    keys: dict[str, str] = {}
    for text in read.unique().drop_nulls():
        keys[text] = to_json({name: value_at(params, name) for name in json.loads(text)})
    return read.replace_strict(keys, default=None, return_dtype=pl.String)


def present_record(read: pl.Series, codes: pl.Series, metadata: pl.DataFrame) -> list[list[tuple[str, Any]]]:
    """Return for each row the present values of the metadata columns that it read."""
    records: list[list[tuple[str, Any]]] = [[] for _ in codes]
    values = _read_values(read, codes, metadata)
    for row, name, now in values.select("_row", "name", "now").iter_rows():
        records[row].append((name, now))
    return records
