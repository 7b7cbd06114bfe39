"""Provenance: collects from the events of the journal what each row of a run made before. Pure functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.journal.event_lines import ORDER
from sinagot_catalog.journal.output_ownership import patterns_digest
from sinagot_catalog.journal.run_spec import LATEST, NEVER, Unrecorded
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Catalog, UnitStep

_SECOND = 1_000_000_000
SKEW = 2 * _SECOND
"""How far the clocks of a host and of its store may differ, in nanoseconds."""
_TIME_NS = pl.col("time").dt.timestamp("us") * 1_000
_PUBLISHED = pl.col("event").is_in(["publishing", "done", "accepted"])


def provenance_of(rows: pl.DataFrame, events: pl.DataFrame, catalog: Catalog | None = None) -> dict[int, str]:
    """What rows made before, as text that a worker reads (`output_ownership.Provenance`).

    The result holds only rows that need it: rows with a folder, with files that no output declares, with an
    accepted state, or that an older version ran, which recorded less.

    Args:
        rows: The columns of `KEYS`, and `row`.
        events: Events of the journal, with `_paths` and `_made`. The last event is found by the number of the
            claim, then by time, as for the status of a row.
        catalog: Finds the other rows with the same outputs: what one of these rows made belongs to each of them.
    """
    has_records = pl.col("_made").is_null() | (pl.col("_made").list.len() > 0)
    kinds = events.filter(
        pl.col("event").is_in(["publishing", "accepted"]) | ((pl.col("event") == "done") & has_records)
    )
    if kinds.is_empty():
        return {}
    every = _with_twins(rows, catalog)
    keyed = every.join(kinds.select(*KEYS).unique(), on=list(KEYS), how="semi", nulls_equal=True)
    if keyed.is_empty():
        return {}
    mine = _events_of(keyed, events).with_row_index("order")
    mine = mine.select("row", "event", "order", "seconds", "_paths", "_made", at=_TIME_NS)
    last = keyed.select("row").unique(maintain_order=True)
    for kind in ("done", "publishing", "accepted"):
        columns = pl.exclude("row", "event").name.prefix(f"{kind}:")
        newest = mine.filter(pl.col("event") == kind).unique("row", keep="last").select("row", columns)
        last = last.join(newest, on="row", how="left")
    texts = last.select("row", _record().struct.json_encode().alias("text"))
    return dict(texts.iter_rows())


def with_last_inputs(texts: dict[int, str], rows: pl.DataFrame) -> dict[int, str]:
    """Add to the provenance of rows the inputs of their last attempt, for those that run only if one has changed.

    Args:
        texts: The provenance of rows.
        rows: `row`, `_inputs` and `_time`; null if they are not known.
    """
    known = rows.select("row", "_inputs", pl.col("_time").dt.timestamp("ns")).drop_nulls()
    for row, inputs, at in known.iter_rows():
        texts[row] = json.dumps(json.loads(texts.get(row, "{}")) | {"inputs": inputs, "inputs_at_ns": at})
    return texts


def unrecorded(rows: pl.DataFrame, events: pl.DataFrame, catalog: Catalog) -> Unrecorded:
    """The rows that have an output or a control file in place that their runs may not have made.

    Args:
        rows: The rows of a plan, with `row`.
        events: Events of the journal.
        catalog: Tells which control files are in place, and finds the other rows with the same outputs: what one of
            these rows made belongs to each of them.
    """
    cells = catalog.layout.cells
    controlled = [cell.index for cell in cells if cell.places("control")]
    # A file at the path of a folder does not count as its output, but it is in place.
    templates = {
        cell.index: [catalog.layout.places[at].template for at in cell.places("output")] for cell in cells
    }
    foldered = [index for index, own in templates.items() if any(template.is_directory for template in own)]
    links = catalog.links(rows.filter(pl.col("_cell").is_in(controlled)))
    present = links.filter((pl.col("role") == "control") & pl.col("exists")).select(*KEYS).unique()
    controls = rows.join(present, on=list(KEYS), how="semi", nulls_equal=True)
    may_exist = (pl.col("n_outputs_found") > 0) | pl.col("_cell").is_in(foldered)
    # A run that died may have published a single file without an event of it.
    outputs = rows.filter(may_exist, pl.col("_event").ne_missing("start"))
    if outputs.is_empty() and controls.is_empty():
        return Unrecorded({})
    failed = (pl.col("event") == "error") & pl.col("error_type").ne_missing("ForeignFile")
    attempts = _PUBLISHED | failed | (pl.col("event") == "start")
    last = last_published(outputs, events, catalog)
    started = pl.col("ended") - (pl.col("seconds") * _SECOND).cast(pl.Int64)
    # An accepted file may be of any earlier time.
    since = pl.when(pl.col("event") == "accepted").then(0).otherwise(started - SKEW)
    known = {cell.index: _patterns(cell, catalog) for cell in cells}
    now = pl.col("_cell").cast(pl.Int64).replace_strict(known, default=None, return_dtype=pl.String)
    # The step still writes to the same patterns: the file is its own, even if someone changed or copied it since.
    has_same = (pl.col("_patterns") == now).fill_null(pl.col("_patterns").is_null())
    until = pl.when(has_same).then(LATEST).otherwise(pl.col("ended") + SKEW)
    periods = (
        last.filter(pl.col("event").is_in(["done", "accepted"]))
        .join(outputs.select("row", "_cell"), on="row", how="left")
        .select("row", since=since, until=until)
    )
    done = {row: (since, until) for row, since, until in periods.drop_nulls().iter_rows()}
    times = dict.fromkeys(outputs.join(last, on="row", how="anti")["row"].to_list(), NEVER)
    tried = _events_of(_with_twins(controls, catalog), events.filter(attempts))
    new = controls.join(tried, on="row", how="anti")["row"]
    return Unrecorded(times | done, frozenset(new.to_list()))


def _patterns(cell: UnitStep, catalog: Catalog) -> str | None:
    """The digest of the output patterns of a step; None where their paths depend on more than ids."""
    places = cell.places("output")
    if any(place in catalog.layout.columns for place in places):
        return None
    return patterns_digest(catalog.layout.places[place].template.text for place in places)


def last_published(rows: pl.DataFrame, events: pl.DataFrame, catalog: Catalog) -> pl.DataFrame:
    """The last event of each row about its outputs, with its time in nanoseconds in the column `ended`."""
    found = _events_of(_with_twins(rows, catalog), events.filter(_PUBLISHED))
    return found.unique("row", keep="last").with_columns(ended=_TIME_NS)


def _events_of(keyed: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Events of rows, in their order."""
    mine = events.join(keyed, on=list(KEYS), how="inner", nulls_equal=True, maintain_order="left")
    return mine.sort(*ORDER, maintain_order=True)


def _with_twins(rows: pl.DataFrame, catalog: Catalog | None) -> pl.DataFrame:
    """Numbers and keys of rows, and the keys of the rows with the same outputs."""
    mine = rows.select("row", *KEYS)
    return mine if catalog is None or mine.is_empty() else pl.concat([mine, _twins(mine, catalog)])


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
    """The members that `Provenance` reads."""
    done, publishing = pl.col("done:at"), pl.col("publishing:at")
    is_old_done = done.is_not_null() & pl.col("done:_made").is_null()
    is_old_publishing = (
        publishing.is_not_null() & pl.col("publishing:_made").is_null() & _follows("publishing", "done")
    )
    until = pl.max_horizontal(pl.when(is_old_done).then(done), pl.when(is_old_publishing).then(publishing))
    since = pl.when(is_old_done).then(done - (pl.col("done:seconds") * _SECOND).cast(pl.Int64))
    is_accepted = _follows("accepted", "done") & _follows("accepted", "publishing")
    accepted_made = pl.col("accepted:_made")
    # A link instead of a folder has no fingerprint; an event that lists nothing accepts any present state.
    has_link = accepted_made.list.eval(pl.element().struct.field("fingerprint").is_null()).list.any()
    return pl.struct(
        pl.col("done:_made").alias("done"),
        pl.when(is_accepted).then(accepted_made).alias("taken"),
        pl.col("publishing:_made").alias("publishing"),
        pl.col("publishing:_paths").alias("paths"),
        since.alias("since_ns"),
        until.alias("until_ns"),
        (is_accepted & (accepted_made.is_null() | has_link).fill_null(value=False)).alias("accepted"),
    )


def _follows(kind: str, other: str) -> pl.Expr:
    """Whether the last event of a kind comes after the last event of another kind, or that kind has no event."""
    later = pl.col(f"{kind}:order") > pl.col(f"{other}:order")
    return pl.col(f"{kind}:order").is_not_null() & later.fill_null(value=True)
