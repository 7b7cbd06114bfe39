"""The volume of a plan: estimates the bytes that its rows read, from the sizes of a sample of their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import stat_paths

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog, Stats

__all__ = ["volume"]

_SAMPLE, _SAMPLE_REMOTE = 2000, 200


def volume(catalog: Catalog, stats: Stats, rows: pl.DataFrame) -> pl.DataFrame:
    """Estimated bytes of the existing inputs per step, from the sizes of a sample."""
    links = catalog.links(rows).filter(pl.col("role") == "input", pl.col("exists"))
    links = links.unique(["step", "root", "path"], maintain_order=True)
    sums = []
    for (root,), part in links.partition_by("root", as_dict=True).items():
        every = max(1, part.height // (_SAMPLE if catalog.listings[str(root)].is_local else _SAMPLE_REMOTE))
        some = part.gather_every(every)
        sized = some.with_columns(stat_paths(catalog, str(root), some, stats)["size"])
        counts = part.group_by("step", maintain_order=True).len("n")
        means = sized.group_by("step").agg(pl.col("size").mean())
        sums.append(counts.join(means, on="step", how="left", maintain_order="left"))
    if not sums:
        return pl.DataFrame(schema={"step": pl.String, "bytes": pl.Int64})
    scaled = (pl.col("size").fill_null(0) * pl.col("n")).round().cast(pl.Int64).sum().alias("bytes")
    return pl.concat(sums).group_by("step", maintain_order=True).agg(scaled)
