"""Report frames: the tables of runs, durations and shares that the page and the charts draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.reporting.report_rows import WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILES = {"low": 0.0, "quarter": 0.25, "median": 0.5, "three": 0.75, "high": 1.0}
"""The columns of `durations`, and the part of the attempts that took at most so long."""


def last_runs(events: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return the last runs, newest first: `run_id, begin, end, done, failed, host`."""
    return (
        events.filter(pl.col("run_id").is_not_null())
        .group_by("run_id")
        .agg(
            pl.col("time").min().alias("begin"),
            pl.col("time").max().alias("end"),
            (pl.col("event") == "done").sum().alias("done"),
            (pl.col("event") == "error").sum().alias("failed"),
            pl.col("host").first(),
        )
        .sort("begin", descending=True)
        .head(most)
    )


def durations(steps: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return how long the last attempts of each step took: `_cell, n, sum, name` and the columns of `QUANTILES`."""
    seconds = pl.col("seconds")
    return (
        steps.filter(seconds >= 0)
        .group_by("_cell")
        .agg(
            pl.len().alias("n"),
            *(seconds.quantile(part).alias(name) for name, part in QUANTILES.items()),
            seconds.sum().alias("sum"),
        )
        .sort("_cell")
        .with_columns(step_name(names).alias("name"))
    )


def shares(steps: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Return the share of each status in each group: the columns of `by`, `status, n, total, share, _code`.

    Example:
        >>> steps = pl.DataFrame({"step": ["a", "a", "a", "a"], "_code": [3, 3, 3, 4]})
        >>> shares(steps, "step").rows()
        [('a', 'DONE', 3, 4, 0.75, 3), ('a', 'ERROR', 1, 4, 0.25, 4)]
    """
    n = pl.col("n")
    return (
        steps.group_by(*by, "_code", maintain_order=True)
        .agg(pl.len().alias("n"))
        .sort("_code", maintain_order=True)
        .sort(*by, maintain_order=True)
        .with_columns(n.sum().over(by).alias("total"), status_name().alias("status"))
        .select(*by, "status", "n", "total", (n / pl.col("total")).alias("share"), "_code")
    )


def status_name() -> pl.Expr:
    """Return the short name of `_code`."""
    return pl.col("_code").replace_strict(dict(enumerate(WORDS)), return_dtype=pl.String)


def step_name(names: Sequence[str]) -> pl.Expr:
    """Return the name of the step of `_cell`."""
    return pl.col("_cell").replace_strict(dict(enumerate(names)), return_dtype=pl.String)
