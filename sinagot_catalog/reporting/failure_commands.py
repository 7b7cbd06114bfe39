"""Failure commands: the kinds of failure of a report, and the command that runs exactly the rows of one again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinagot_catalog.catalog import failed, failure_filter, failure_kinds, sql_predicate, sql_text
from sinagot_catalog.errors import SelectionError, row_label
from sinagot_catalog.journal import ORDER
from sinagot_catalog.run import shell_join
from sinagot_catalog.schema import KEYS
from sinagot_catalog.secrets import masked

if TYPE_CHECKING:
    from sinagot_catalog.catalog import Session

_FEW = 20
"""Up to this number of rows a command names each record."""
_MOST_BYTES = 100_000
"""The length of a command; a shell passes at most 128 KiB as one argument."""


class Failures(NamedTuple):
    """The most frequent kinds of failure, each with a traceback and a command, and the number of all kinds."""

    kinds: list[dict[str, Any]]
    n_kinds: int


def failures_of(source: Session, rows: pl.DataFrame, most: int) -> Failures:
    """Return the kinds of failure of some rows.

    Args:
        source: The session of the workspace.
        rows: The failed rows that the report shows.
        most: The largest number of kinds to return.
    """
    kinds = failure_kinds(rows)
    errors = (
        source.events()
        .filter(pl.col("event") == "error")
        .sort(*ORDER, maintain_order=True)
        .unique(list(KEYS), keep="last", maintain_order=True)
        .select(*KEYS, "traceback", "output")
    )
    examples = kinds.head(most).with_columns(pl.col("records").list.first().alias("record_id"))
    examples = examples.join(errors, on=list(KEYS), how="left", nulls_equal=True, maintain_order="left")
    every = source.catalog().whole_steps.filter(failed())
    out = []
    for kind in examples.iter_rows(named=True):
        words, n_selected = rerun_words(kind, every)
        out.append(
            {
                **kind,
                "where": row_label(kind["task"], kind["modality"], kind["step"]),
                "command": shell_join(["sinagot-catalog", "run", *workspace_words(source), *words]),
                "filter": " AND ".join(failure_filter(kind)),
                "n_selected": n_selected,
            }
        )
    return Failures(out, kinds.height)


def rerun_words(
    kind: dict[str, Any], every: pl.DataFrame, most_bytes: int = _MOST_BYTES
) -> tuple[list[str], int]:
    """Return the options of a `run` of the rows of one kind of failure, and how many failed rows they select.

    Args:
        kind: A row of `failure_kinds`.
        every: All failed rows of the workspace.
        most_bytes: If the names of the records are longer, the message selects the rows, and perhaps others.
    """
    units = [
        f"{name} IS NULL"
        for name in ("task", "modality")
        if kind[name] is None and every[name].null_count() < every.height
    ]
    by_record = failure_filter(kind, by_message=False) + units
    by_record.append(f"record_id IN ({', '.join(map(sql_text, kind['records']))})")
    by_message = failure_filter(kind) + units
    chosen, n_selected = by_record, kind["n"]
    if kind["n"] > _FEW:
        n_found = _n_selected(by_message, every)
        is_long = len(" AND ".join(by_record).encode()) > most_bytes
        # the message finds every row of the kind, and perhaps others
        if n_found is not None and (n_found == kind["n"] or is_long):
            chosen, n_selected = by_message, n_found
    force = ["--force"] if kind["n_done"] else []
    return [*force, "--where", " AND ".join(chosen)], n_selected


def _n_selected(conditions: list[str], every: pl.DataFrame) -> int | None:
    """Return how many failed rows fit the conditions; None if they cannot be applied."""
    try:
        return every.filter(sql_predicate(" AND ".join(conditions))).height
    except (SelectionError, pl.exceptions.PolarsError):
        return None


def workspace_words(source: Session) -> list[str]:
    """Return the words that open the workspace from any folder."""
    first, *further = [
        masked(file) if "://" in file else str(Path(file).absolute()) for file in source.config.files
    ]
    folder, _, name = first.rpartition("/")
    place = folder if name == "workspace.toml" and folder else first
    trust = ["--trust"] if source.trust else []
    return [place, *(word for file in further for word in ("--config", file)), *trust]
