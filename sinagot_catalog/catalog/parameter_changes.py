"""Parameter changes: finds the parameters and metadata that have another value than when rows read them. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.scripts import changes, to_json, value_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_READ = pl.List(pl.List(pl.String()))


def parameter_changes(
    done: pl.DataFrame, codes: pl.Series, params: Mapping[str, Any], metadata: Callable[[], pl.DataFrame]
) -> pl.Series:
    """Return what changed for rows of one step, as a clause; null where nothing did.

    Args:
        done: What the rows read: `_params`, `_record`.
        codes: The records of the rows, as positions in `metadata`.
        params: The present parameters of the step.
        metadata: Gives the present metadata of all records; only called if rows read some.
    """
    texts = done["_params"].unique().drop_nulls()
    clauses = {text: "; ".join(changes(text, params)) or None for text in texts}
    of_params = done["_params"].replace_strict(clauses, default=None, return_dtype=pl.String)
    if done["_record"].is_null().all():
        return of_params.alias("changes")
    of_record = _record_changes(done["_record"], codes, metadata())
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
    parts = []
    for (name,), part in long.partition_by("name", as_dict=True, maintain_order=True).items():
        is_known = name in metadata.columns
        now = metadata[str(name)].gather(part["_rec"]) if is_known else pl.Series([None] * part.height)
        then = part["then"].cast(pl.Float64, strict=False) if now.dtype.is_numeric() else part["then"]
        parts.append(
            part.select(
                "_row",
                "name",
                "then",
                now.cast(pl.String).alias("now"),
                then.eq_missing(now.cast(then.dtype)).alias("is_same"),
            )
        )
    schema = {
        "_row": pl.UInt32,
        "name": pl.String,
        "then": pl.String,
        "now": pl.String,
        "is_same": pl.Boolean,
    }
    return pl.concat([pl.DataFrame(schema=schema), *parts])


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
    found: list[list[tuple[str, Any]]] = [[] for _ in codes]
    values = _read_values(read, codes, metadata)
    for row, name, now in values.select("_row", "name", "now").iter_rows():
        found[row].append((name, now))
    return found
