"""The result of a run for people: one line, and the kinds of failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.workspace_args import command
from sinagot_catalog.config import count_of, duration_text
from sinagot_catalog.errors import failure_text, row_label
from sinagot_catalog.startup import polars as pl

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunReport

_SHOWN = 5


def result_line(report: RunReport) -> str:
    """Return the result of a run and its duration."""
    return f"{report.summary()} in {duration_text(report.seconds)}"


def say_failures(args: Any, report: RunReport) -> None:
    """Print the first kinds of failure, each with an example, and the command that shows more."""
    from sinagot_catalog.catalog import failure_kind

    failed = report.failures().sort(pl.col("outcome") == "blocked", maintain_order=True)
    kinds = failed.group_by("step", "outcome", "error_type", failure_kind(), maintain_order=True).agg(
        pl.len().alias("n"), pl.col("record_id", "task", "modality", "message").first()
    )
    for row in kinds.head(_SHOWN).iter_rows(named=True):
        say(_failure(row))
    if failed.height:
        more = f"{count_of(kinds.height - _SHOWN, 'more kind')}; " if kinds.height > _SHOWN else ""
        say(f"{more}see {command(args, 'logs', '--failed')}")


def _failure(row: dict[str, Any]) -> str:
    """Format a kind of failure in one line, by one of its rows."""
    from sinagot_catalog.schema import KEYS

    key = row_label(*(row[key] for key in KEYS))
    message = (row["message"] or row["outcome"]).strip().partition("\n")[0]
    text = failure_text(row["error_type"], message)
    others = f"   ({row['n']} rows like this)" if row["n"] > 1 else ""
    return f"  {key}: {text}{others}"
