"""The volume of a plan: estimates the bytes that its rows read, from the sizes of a sample of their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import stat_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog.catalog import Catalog, Stats

_SAMPLE, _SAMPLE_REMOTE = 2000, 200


def volume(catalog: Catalog, stats: Stats, rows: pl.DataFrame) -> pl.DataFrame:
    """Estimated bytes of the existing inputs per step, from the sizes of a sample."""
    links = pl.concat([_links(catalog.links(rows.clear()), 1), *_sampled(catalog, rows)])
    links = links.unique(["step", "root", "path"], maintain_order=True)
    sums = []
    for (root,), part in links.partition_by("root", as_dict=True).items():
        sized = measured(catalog, str(root), part, stats)
        counts = part.group_by("step", maintain_order=True).agg(pl.col("_weight").sum().alias("n"))
        weight = pl.col("_weight").filter(pl.col("size").is_not_null())
        means = sized.group_by("step").agg((pl.col("size") * pl.col("_weight")).sum() / weight.sum())
        sums.append(counts.join(means, on="step", how="left", maintain_order="left"))
    if not sums:
        return pl.DataFrame(schema={"step": pl.String, "bytes": pl.Int64})
    scaled = (
        (pl.col("size").fill_nan(None).fill_null(0) * pl.col("n")).round().cast(pl.Int64).sum().alias("bytes")
    )
    return pl.concat(sums).group_by("step", maintain_order=True).agg(scaled)


def measured(catalog: Catalog, root: str, links: pl.DataFrame, stats: Stats) -> pl.DataFrame:
    """Some of the links to a root, evenly spread over all, with `size` and `mtime_ns`."""
    most = _SAMPLE if catalog.listings[root].is_local else _SAMPLE_REMOTE
    some = links.gather_every(max(1, links.height // most))
    return some.with_columns(stat_paths(catalog, root, some, stats).select("size", "mtime_ns"))


def _sampled(catalog: Catalog, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the existing inputs of each unit step, of some of its rows where each file belongs to one row."""
    rows = rows.select("_rec", "_cell", "record_id", "task", "modality", "step")
    for (cell,), part in rows.partition_by("_cell", as_dict=True, maintain_order=True).items():
        templates = [
            catalog.layout.places[place].template for place in catalog.layout.cells[cell].places("input")
        ]
        is_per_row = catalog.layout.cells[cell].by is None and all(
            map(catalog.layout.ids.is_told_by, templates)
        )
        every = max(1, part.height // _SAMPLE) if is_per_row else 1
        yield _links(catalog.links(part.gather_every(every)), every)


def _links(links: pl.DataFrame, weight: int) -> pl.DataFrame:
    """The links to existing inputs; each stands for some others."""
    inputs = links.filter(pl.col("role") == "input", pl.col("exists"))
    return inputs.with_columns(pl.lit(weight, pl.Int64).alias("_weight"))
