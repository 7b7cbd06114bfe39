"""Failures: groups the failed rows of `steps` by step, error type and similar message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sinagot_catalog.catalog.expressions import only
from sinagot_catalog.catalog.rules.status_rules import first_line
from sinagot_catalog.schema import FAILED_ATTEMPTS

_VARYING = r"'[^']*'|\"[^\"]*\"|\S*/\S+|\d+"
"""The parts of a message that differ between failures of one kind, besides the id of the record."""
_TELLING = 4
"""Number of characters from which on an id is looked for in a message: a shorter one may be part of a word."""


def failure_kind() -> pl.Expr:
    """The first line of the column `message`, with `…` for the parts that differ between failures of one kind.

    Example:
        >>> rows = {"record_id": ["ann_pre", "R1"], "message": ["'x' lacks 3 of ann_pre", "no R1 in a/b"]}
        >>> pl.DataFrame(rows).select(failure_kind()).to_series().to_list()
        ['… lacks … of …', 'no R… in …']
    """
    line, record = pl.col("message").str.extract(r"^\s*([^\n]{0,300})", 1), pl.col("record_id")
    named = (
        pl.when(record.str.len_chars() < _TELLING).then(line).otherwise(line.str.split(record).list.join("…"))
    )
    return named.str.replace_all(_VARYING, "…").alias("kind")


def failure_kind_of(record_id: str, message: str) -> str:
    """The same of one message."""
    return pl.DataFrame({"record_id": [record_id], "message": [message]}).select(failure_kind()).item() or ""


def failure_kinds(rows: pl.DataFrame, by: Sequence[str] = ("task", "modality", "step")) -> pl.DataFrame:
    """Group failed rows of `steps`, the most frequent kind first.

    Args:
        rows: Rows of `steps` that count as failures, with all columns of the table.
        by: The columns in which failures of one kind are equal; another one is null if its values differ.

    Returns:
        Columns `task, modality, step, error_type, message` (with `…` for parts that differ), `n`, `first`, `last`,
        `examples` (up to three record ids, joined by `; `), `records` (every record id) and `n_done` (the number
        of rows that older outputs make DONE).
    """
    # a reason of the catalog's own, such as an unreadable script, is the same for every row already,
    # and has nothing to do with an earlier attempt
    of_attempt = pl.col("reason").str.contains(first_line(pl.col("message")), literal=True)
    rows = rows.with_columns(
        pl.when(of_attempt.fill_null(value=False)).then(name).alias(name)
        for name in ("error_type", "message")
    )
    return (
        rows.with_columns(pl.coalesce(failure_kind(), "reason").alias("kind"))
        .group_by(*by, "error_type", "kind", maintain_order=True)
        .agg(
            *(only(pl.col(name)).alias(name) for name in ("task", "modality", "step") if name not in by),
            first_line(only(pl.col("message"))).alias("message"),  # the full text, if all rows have the same
            pl.len().alias("n"),
            pl.col("ended").min().alias("first"),
            pl.col("ended").max().alias("last"),
            pl.col("record_id").head(3).str.join("; ").alias("examples"),
            pl.col("record_id").alias("records"),
            (pl.col("status") == "DONE").sum().alias("n_done"),
        )
        .sort("n", descending=True, maintain_order=True)
        .select(
            *("task", "modality", "step", "error_type"),
            pl.coalesce("message", "kind").alias("message"),
            *("n", "first", "last", "examples", "records", "n_done"),
        )
    )


def failure_filter(kind: Mapping[str, Any], *, by_message: bool = True) -> list[str]:
    """Return the conditions in SQL that select the rows of one kind of failure.

    Args:
        kind: A row of `failure_kinds`.
        by_message: Whether the conditions name the error; otherwise they select every failure of the step.

    Example:
        >>> failure_filter({"task": None, "modality": None, "step": "a", "n_done": 0}, by_message=False)
        ["status = 'ERROR'", "step = 'a'"]
    """
    outcomes = ", ".join(map(sql_text, FAILED_ATTEMPTS))
    conditions = [f"outcome IN ({outcomes})" if kind["n_done"] else "status = 'ERROR'"]
    conditions += [f"{name} = {sql_text(kind[name])}" for name in ("task", "modality", "step") if kind[name]]
    if by_message and kind["error_type"]:
        like = kind["message"].replace("…", "%").rstrip("%") + "%"
        conditions += [f"error_type = {sql_text(kind['error_type'])}", f"message LIKE {sql_text(like)}"]
    return conditions


def sql_text(value: str) -> str:
    """Quote a text for SQL.

    Example:
        >>> sql_text("it's")
        "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"
