"""A step of groups: the status of all members and groups from a listing that is held."""

from collections.abc import Iterator

import polars as pl

from benchmarks._measure import AtMost, Measurement, Scale, alternate
from benchmarks._workspaces import grouped
from sinagot_catalog import Workspace
from sinagot_catalog.catalog.tables import Catalog

__all__ = ["group_status"]


def group_status(scale: Scale) -> Iterator[Measurement]:
    """The status of a step of each record and a step of each hundred, beside the same `group_by`."""
    for records in scale.records:
        held = Workspace(grouped(scale, records))._source.catalog()  # noqa: SLF001 - below what users hold
        paths = held.listings["dataset"].paths.select("path")

        def ours(held: Catalog = held) -> None:
            assert Catalog(held.layout, held.listings, last=held.last).steps.height  # noqa: S101

        def floor(paths: pl.DataFrame = paths) -> None:
            assert _plain(paths).height  # noqa: S101

        yield Measurement(
            f"groups/{records}",
            f"status of {records} members and {-(-records // 100)} groups from a given listing",
            "the same group_by in plain Polars",
            AtMost(2.0) if records >= 100_000 else None,
            *alternate(ours, floor, scale.times),
        )


def _plain(paths: pl.DataFrame) -> pl.DataFrame:
    """The status of each record and of each group, journal and reasons left out."""
    found = paths.lazy().select(
        pl.col("path").str.extract(r"^(\w+)/").alias("folder"),
        pl.col("path").str.extract(r"/(REC-\d{4})").alias("group"),
        pl.col("path").str.extract(r"/(REC-\d{6})").alias("id"),
    )
    members = (
        found.filter(pl.col("id").is_not_null())
        .group_by("group", "id")
        .agg(
            (pl.col("folder") == "raw").any().alias("ready"), (pl.col("folder") == "out").any().alias("done")
        )
    )
    made = found.filter(pl.col("folder") == "total").select("group", made=True)
    groups = (
        members.group_by("group").agg(pl.col("done").all().alias("ready")).join(made, "group", how="left")
    )
    rows = [
        members.select("group", "id", "ready", "done"),
        groups.select(
            "group", pl.lit(None).alias("id"), "ready", pl.col("made").fill_null(value=False).alias("done")
        ),
    ]
    status = (
        pl.when("done")
        .then(pl.lit("DONE"))
        .when("ready")
        .then(pl.lit("DATA_READY"))
        .otherwise(pl.lit("INIT"))
    )
    named = pl.concat(rows, how="vertical_relaxed").with_columns(status.alias("status"))
    return named.sort("group", "id", nulls_last=True).collect()
