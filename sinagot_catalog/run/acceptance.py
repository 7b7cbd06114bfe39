"""Acceptance of present outputs: writes an event `accepted` for each row, so that the row counts as done."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog import (
    Query,
    Resolver,
    present_params,
    present_record,
)
from sinagot_catalog.errors import UsageError
from sinagot_catalog.journal import (
    JournalWriter,
    Made,
    Stamp,
    check_links,
    made_of,
    new_run_id,
)
from sinagot_catalog.run.claimed_runs.spec_builder import cell_spec
from sinagot_catalog.run.options import RunOptions
from sinagot_catalog.run.planning.preflight import make_roots
from sinagot_catalog.run.planning.request import of_steps
from sinagot_catalog.schema import KEYS
from sinagot_catalog.scripts import parse_command, to_json
from sinagot_catalog.storage import as_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sinagot_catalog.catalog import Catalog, Session, UnitStep


def accept(
    source: Session, query: Query, step: str | Sequence[str] | None = None, *, all_rows: bool = False
) -> pl.DataFrame:
    """Accept the present outputs of a selection.

    Args:
        source: The session of the workspace.
        query: The selection.
        step: Only this step, or these steps.
        all_rows: Allow a selection without a filter.

    Returns:
        A row per selected row: its keys, `accepted`, and `reason` if it was not accepted.

    Raises:
        UsageError: The selection has no filter, and `all_rows` is not set.
    """
    query = of_steps(source, query.seen_as("steps"), RunOptions(step=step))
    if query.is_whole and not all_rows:
        raise UsageError(
            "accept takes the present outputs of rows for good, and no filter says of which rows",
            "Name rows (--record, --step, --where), or say all of them: --all, accept(all_rows=True).",
        )
    source.refresh()
    catalog = query.widened(source.catalog())
    rows = Resolver(catalog, source.stats).rows(query).with_row_index("_at")
    rows = rows.with_columns(_reason())
    todo = rows.filter(pl.col("reason").is_null())
    if todo.height:
        held = _write(source, catalog, todo)
        live = pl.lit("a run that is alive has it on its list")
        rows = rows.with_columns(
            pl.when(pl.col("_at").is_in(held.implode())).then(live).otherwise("reason").alias("reason")
        )
        source.refresh()
    return rows.select(*KEYS, pl.col("reason").is_null().alias("accepted"), "reason")


def _reason() -> pl.Expr:
    """Why a row cannot be accepted; null if it can."""
    absent = pl.col("n_outputs") - pl.col("n_outputs_found")
    return (
        pl.when(pl.col("_rule") == "fault").then(pl.lit("its script cannot be used, or its paths are refused"))
        .when(pl.col("n_outputs") == 0).then(pl.lit("the step declares no output"))
        .when(absent > 0).then(pl.format("{} of {} outputs missing", absent, "n_outputs"))
        .when(pl.col("status").is_null()).then(pl.lit("a folder of it cannot be read"))
        .alias("reason")
    )  # fmt: skip


def _write(source: Session, catalog: Catalog, todo: pl.DataFrame) -> pl.Series:
    """Claim rows and write their events; return the rows (by `_at`) that another run holds."""
    if source.log_store.is_local:
        check_links(source.log_store.root)
    make_roots(source)
    source.log_store.check_writable()
    run_id = new_run_id()
    claim, held = source.claims.take(run_id, todo, above=catalog.highest_claim)
    try:
        keys = list(KEYS)
        left = todo.join(held, on=keys, how="semi", nulls_equal=True)["_at"]
        mine = todo.filter(~pl.col("_at").is_in(left.implode()))
        journal = _Lines(run_id, claim.number, source.config.info.version)
        for (index,), part in mine.partition_by("_cell", as_dict=True).items():
            _write_cell(source, catalog, catalog.layout.cells[int(str(index))], part, journal)
        if journal.lines:
            source.log_store.write(f"journal/{run_id}/main.ndjson", b"".join(journal.lines))
            source.journal.end(run_id)
    finally:
        source.claims.release(claim)
    return left


class _Lines(JournalWriter):
    """A journal writer that collects its lines, so that the whole file is written at once."""

    def __init__(self, run_id: str, claim: int, workspace_version: str | None) -> None:
        super().__init__("", run_id=run_id, claim=claim, workspace_version=workspace_version)
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        """Collect a line."""
        self.lines.append(line)


def _write_cell(
    source: Session, catalog: Catalog, cell: UnitStep, rows: pl.DataFrame, journal: _Lines
) -> None:
    """Write the events of the rows of one step."""
    lines = journal.step_lines(cell_spec(source, cell))
    codes = rows["_rec"]
    inputs = [list(_stamps(catalog.port_stats(cell, codes, port, source.stats))) for port in cell.input_ports]
    outputs = [
        list(_made(source, root, catalog.port_stats(cell, codes, [link], source.stats)))
        for link in cell.linked("output")
        for root in [catalog.layout.places[link.place].root]
    ]
    read = catalog.with_attempt(rows.select("_last"), ["_params", "_record"])
    if cell.command is not None:
        read = _named_by(cell.command, rows.height)
    params = present_params(read["_params"], cell.params)
    record = present_record(read["_record"], codes, catalog.metadata)
    for row, record_id in enumerate(rows["record_id"]):
        made = [one for of_port in outputs if (one := of_port[row]) is not None]
        stamps = [of_port[row] for of_port in inputs]
        lines.write(
            "accepted", record_id, inputs=stamps, made=made, params=params[row], record=record[row] or None
        )


def _named_by(command: str, n_rows: int) -> pl.DataFrame:
    """The parameters and metadata that a command names, as if some rows had read them."""
    names = {name for argument in parse_command(command) for kind, name in argument if kind == "field"}
    params, record = (
        sorted(name.removeprefix(group) for name in names if name.startswith(group))
        for group in ("params.", "record.")
    )
    read = to_json(dict.fromkeys(params)) if params else None
    schema = {"_params": pl.String(), "_record": pl.List(pl.List(pl.String()))}
    return pl.DataFrame([(read, [[name, None] for name in record])] * n_rows, schema=schema, orient="row")


def _stamps(found: pl.DataFrame) -> Iterator[Stamp | None]:
    """The present state of one input of some rows, as a run records it."""
    for row in found.iter_rows(named=True):
        if row["size"] is None:
            yield None
        elif row["is_folder"]:
            yield row["size"], row["count"], as_number(row["etag"])
        else:
            yield row["size"], row["mtime_ns"]


def _made(source: Session, root: str, outputs: pl.DataFrame) -> Iterator[Made | None]:
    """The provenance of one output of some rows; None for a file: the declaration is enough to own it."""
    store = source.stores[root]
    folders = outputs.filter("is_folder")["path"].unique().to_list()
    contents = dict(zip(folders, store.contents(folders), strict=True))
    for path in outputs["path"]:
        files = contents.get(path)
        if files is None:
            yield None
        elif store.is_local and os.path.islink(f"{store.root}/{path}"):  # noqa: PTH114 - paths are text
            yield Made(path)
        else:
            yield made_of(path, files)
