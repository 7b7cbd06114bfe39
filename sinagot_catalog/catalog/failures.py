"""Failures: clusters rows of `steps` that failed by step, error type and kind of message. Pure."""

import polars as pl

from sinagot_catalog.catalog.status_rules import first_line

__all__ = ["VARYING", "cluster_failures"]

VARYING = r"'[^']*'|\"[^\"]*\"|\S*/\S+|\d+"
"""The parts of a message that differ between failures of one kind, as a regular expression."""


def cluster_failures(rows: pl.DataFrame) -> pl.DataFrame:
    """Cluster failed rows of `steps`; see `Selection.failures`."""
    # a reason of the catalog's own, such as an unreadable script, is the same for every row already,
    # and has nothing to do with an earlier attempt
    of_attempt = pl.col("reason").str.contains(first_line(pl.col("message")), literal=True)
    rows = rows.with_columns(
        pl.when(of_attempt.fill_null(value=False)).then(name).alias(name)
        for name in ("error_type", "message")
    )
    kind = pl.col("message").str.extract(r"^\s*([^\n]{0,300})", 1).str.replace_all(VARYING, "…")
    return (
        rows.with_columns(pl.coalesce(kind, "reason").alias("kind"))
        .group_by("task", "modality", "step", "error_type", "kind", maintain_order=True)
        .agg(
            # the full text, if all rows have the same
            pl.when(pl.col("message").n_unique() == 1)
            .then(first_line(pl.col("message").first()))
            .alias("message"),
            pl.len().alias("n"),
            pl.col("ended").min().alias("first"),
            pl.col("ended").max().alias("last"),
            pl.col("record_id").head(3).str.join("; ").alias("examples"),
        )
        .sort("n", descending=True, maintain_order=True)
        .select(
            *("task", "modality", "step", "error_type"),
            pl.coalesce("message", "kind").alias("message"),
            *("n", "first", "last", "examples"),
        )
    )
