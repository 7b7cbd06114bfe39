"""Provenance: collects from the events of the journal what each row of a run made before. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.journal.reader import ORDER
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog

__all__ = ["provenance_of"]

_US = 1_000
_SECOND = 1_000_000_000


def provenance_of(
    rows: pl.DataFrame, events: pl.DataFrame, catalog: Catalog | None = None, *, replaces: bool = True
) -> dict[int, str]:
    """What rows made before, as text that a worker reads (`ownership.Provenance`).

    The result holds only rows that need it: rows with a folder, with files that no output declares, with an
    accepted state, or that an older version ran, which recorded less. If the run replaces no declared output of
    others, also rows that may have made some of their declared paths.

    Args:
        rows: The columns of `KEYS`, and `row`; with a catalog also `_cell`.
        events: Events of the journal, with `_paths` and `_made`. The last event is found by the number of the
            claim, then by time, as for the status of a row.
        catalog: Finds the other rows with the same outputs: what one of these rows made belongs to each of them.
        replaces: Whether the run replaces declared outputs, whoever made them.
    """
    told = pl.col("_made").is_null() | (pl.col("_made").list.len() > 0)
    kinds = events.filter(
        pl.col("event").is_in(["publishing", "accepted"]) | ((pl.col("event") == "done") & told)
    )
    partly = rows.clear() if replaces or catalog is None else rows.filter(_may_have_outputs(catalog))
    if kinds.is_empty() and partly.is_empty():
        return {}
    every = rows.select("row", *KEYS)
    every = every if catalog is None else pl.concat([every, _twins(every, catalog)])
    keyed = every.join(kinds.select(*KEYS).unique(), on=list(KEYS), how="semi", nulls_equal=True)
    if not partly.is_empty():
        ended = events.filter(pl.col("event").is_in(["done", "error"])).select(*KEYS).unique()
        tried = every.join(partly.select("row"), on="row", how="semi")
        tried = tried.join(ended, on=list(KEYS), how="semi", nulls_equal=True)
        keyed = pl.concat([keyed, tried]).unique(maintain_order=True)
    if keyed.is_empty():
        return {}
    mine = (
        events.join(keyed, on=list(KEYS), how="inner", nulls_equal=True, maintain_order="left")
        .sort(*ORDER, maintain_order=True)
        .with_row_index("order")
        .select(
            *("row", "event", "order", "seconds", "error_type", "_paths", "_made"),
            (pl.col("time").dt.timestamp("us") * _US).alias("at"),
        )
    )
    last = keyed.select("row").unique(maintain_order=True)
    for kind in ("done", "publishing", "accepted", "error"):
        columns = pl.exclude("row", "event", "error_type").name.prefix(f"{kind}:")
        newest = (
            mine.filter((pl.col("event") == kind) & ~_was_refused())
            .unique("row", keep="last")
            .select("row", columns)
        )
        last = last.join(newest, on="row", how="left")
    texts = last.select("row", _record().struct.json_encode().alias("text"))
    return dict(texts.iter_rows())


def _may_have_outputs(catalog: Catalog) -> pl.Expr:
    """Whether something may be at a declared path of a row: always if the row is done, else at one of several."""
    cells = [
        cell.index
        for cell in catalog.layout.cells
        if len(declared := [*cell.places("output"), *cell.places("control")]) > 1
        or any(catalog.layout.places[place].template.is_directory for place in declared)
    ]
    return pl.col("_cell").is_in(cells) | (pl.col("status") == "DONE")


def _was_refused() -> pl.Expr:
    """Whether a row failed because of a file of others; it published nothing then."""
    return pl.col("error_type").eq_missing("ForeignFile")


def _twins(rows: pl.DataFrame, catalog: Catalog) -> pl.DataFrame:
    """The other rows with the same outputs, under the number of the row that runs for them."""
    layout = catalog.layout
    outputs = {cell.index: frozenset(cell.places("output")) for cell in layout.cells}
    shared = [
        cell
        for cell, places in outputs.items()
        if places
        and (list(outputs.values()).count(places) > 1 or any(place not in layout.telling for place in places))
    ]
    steps = catalog.steps.filter(pl.col("_cell").is_in(shared))
    if steps.is_empty():
        return rows.clear()
    links = catalog.links(steps).filter(pl.col("role") == "output").select(*KEYS, "root", "path")
    mine = links.join(rows, on=list(KEYS), how="inner", nulls_equal=True).select("row", "root", "path")
    twins = mine.join(links, on=["root", "path"], how="inner").select("row", *KEYS).unique()
    return twins.join(rows, on=["row", *KEYS], how="anti", nulls_equal=True)


def _record() -> pl.Expr:
    """The members that `Provenance.from_text` reads."""
    done, publishing = pl.col("done:at"), pl.col("publishing:at")
    is_old_done = done.is_not_null() & pl.col("done:_made").is_null()
    is_old_publishing = (
        publishing.is_not_null() & pl.col("publishing:_made").is_null() & _follows("publishing", "done")
    )
    until = pl.max_horizontal(pl.when(is_old_done).then(done), pl.when(is_old_publishing).then(publishing))
    since = pl.when(is_old_done).then(done - (pl.col("done:seconds") * _SECOND).cast(pl.Int64))
    is_accepted = _follows("accepted", "done") & _follows("accepted", "publishing")
    accepted_made = pl.col("accepted:_made")
    failed = pl.col("error:at")
    # A link instead of a folder has no fingerprint; an event that lists nothing accepts any present state.
    has_link = accepted_made.list.eval(pl.element().struct.field("fingerprint").is_null()).list.any()
    return pl.struct(
        pl.col("done:_made").alias("done"),
        pl.when(is_accepted).then(accepted_made).alias("taken"),
        pl.col("publishing:_made").alias("publishing"),
        pl.col("publishing:_paths").alias("paths"),
        pl.when(pl.col("accepted:at").is_null())
        .then(done - (pl.col("done:seconds").fill_null(0) * _SECOND).cast(pl.Int64))
        .otherwise(0)
        .alias("own_since_ns"),
        (failed - (pl.col("error:seconds") * _SECOND).cast(pl.Int64)).alias("tried_ns"),
        failed.alias("failed_ns"),
        since.alias("since_ns"),
        until.alias("until_ns"),
        (is_accepted & (accepted_made.is_null() | has_link).fill_null(value=False)).alias("accepted"),
    )


def _follows(kind: str, other: str) -> pl.Expr:
    """Whether the last event of a kind comes after the last event of another kind, or that kind has no event."""
    later = pl.col(f"{kind}:order") > pl.col(f"{other}:order")
    return pl.col(f"{kind}:order").is_not_null() & later.fill_null(value=True)
