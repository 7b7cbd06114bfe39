"""Status rules: derive a step's status from files and events, and the sentence that explains it. Pure expressions.

They read these columns, a row per record and unit step: `_broken` (the script cannot be used, the step's paths are
refused, or a pattern names no path), `_unknown` (a path lies in an unreadable folder), `_ready` (every input is
present), `_made` (every output is present, null without outputs), `_event` (the last event that is a status, see
`journal.reader`), `_alive` (its run is alive).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.schema import ATTEMPT, FAILED_ATTEMPTS, STATUS, STATUS_COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["counts", "failed", "first_line", "outcome", "reason", "status"]


def status() -> pl.Expr:
    """Return the status: the first rule that holds decides."""
    event, alive = pl.col("_event"), pl.col("_alive")
    running = event.is_in(["start", "publishing"])
    made = pl.coalesce("_made", event.is_in(["done", "accepted"])).fill_null(value=False)
    return (
        pl.when(pl.col("_broken")).then(_is("ERROR"))
        .when(running & alive).then(_is("PROCESSING"))
        .when(pl.col("_unknown")).then(None)
        .when(event.is_in(["publishing", "half"])).then(_is("ERROR"))
        .when(made).then(_is("DONE"))
        .when(event.is_in(["start", "error"])).then(_is("ERROR"))
        .when(pl.col("_ready")).then(_is("DATA_READY"))
        .when(event == "not_available").then(_is("DATA_NOT_AVAILABLE"))
        .otherwise(_is("INIT"))
        .alias("status")
    )  # fmt: skip


def _is(status: str) -> pl.Expr:
    return pl.lit(status, dtype=STATUS)


def outcome(alive: Iterable[str]) -> pl.Expr:
    """Return the outcome of an attempt; null while its run is alive, and if a log of sinagot names no run.

    Args:
        alive: The runs that are alive.
    """
    event = pl.col("event")
    is_dead = ~pl.col("run_id").is_in(list(alive))
    return (
        pl.when(event.is_in(["start", "publishing"]) & is_dead).then(pl.lit("lost"))
        .when(event.is_in(["error", "half"]) & (pl.col("error_type") == "Timeout")).then(pl.lit("timeout"))
        .when(event.is_in(["error", "half"])).then(pl.lit("error"))
        .when(event == "accepted").then(pl.lit("done"))
        .when(event.is_in(["done", "cancelled", "not_available"])).then(event)
        .cast(ATTEMPT).alias("outcome")
    )  # fmt: skip


def failed() -> pl.Expr:
    """Whether a row of `steps` counts as a failure, also if older outputs make it DONE."""
    is_error = pl.col("status") == "ERROR"
    return (is_error | pl.col("outcome").is_in(FAILED_ATTEMPTS)).fill_null(value=False)


def reason(errors: Mapping[int, str], unreadable: Sequence[str]) -> pl.Expr:
    """Return why a row has its status, one short sentence.

    Args:
        errors: Why steps cannot run, by the index of their unit step.
        unreadable: Folders that could not be read.
    """
    failure = pl.concat_str(
        pl.col("error_type").fill_null("error"), pl.lit(": "), first_line(pl.col("message").fill_null(""))
    )
    run = pl.concat_str(
        pl.lit("run "),
        pl.col("run_id").fill_null("unknown"),
        pl.lit(" on "),
        pl.col("host").fill_null("?"),
    )
    unfinished = pl.col("_event") == "start"
    return (
        pl.when(pl.col("_broken"))
        .then(
            pl.coalesce(
                pl.col("_cell").cast(pl.UInt32).replace_strict(errors, default=None, return_dtype=pl.String),
                "_unnamed",
            )
        )
        .when(pl.col("status").is_null())
        .then(pl.concat_str(pl.lit("unknown: cannot read "), pl.lit(", ".join(unreadable))))
        .when((pl.col("status") == "PROCESSING") & pl.col("run_id").is_null())
        .then(pl.lit("begun, says a log of sinagot"))
        .when(pl.col("status") == "PROCESSING")
        .then(pl.concat_str(pl.lit("running: "), run))
        .when((pl.col("status") == "ERROR") & (pl.col("_event") == "half"))
        .then(pl.concat_str(pl.lit("half published: "), failure))
        .when((pl.col("status") == "ERROR") & (pl.col("_event") == "publishing"))
        .then(pl.concat_str(pl.lit("half published: "), run, pl.lit(" ended between two outputs")))
        .when((pl.col("status") == "DONE") & (pl.col("_event") == "error"))
        .then(pl.concat_str(pl.lit("kept; last attempt failed: "), failure))
        .when((pl.col("status") == "DONE") & unfinished)
        .then(pl.concat_str(pl.lit("kept; last attempt lost: "), run, pl.lit(" ended without a word")))
        .when(pl.col("status") == "DONE")
        .then(pl.lit("all outputs are there"))
        .when((pl.col("status") == "ERROR") & unfinished)
        .then(pl.concat_str(pl.lit("lost: "), run, pl.lit(" ended without a word")))
        .when(pl.col("status") == "ERROR")
        .then(failure)
        .when(pl.col("status") == "DATA_READY")
        .then(pl.lit("all inputs are there"))
        .when(pl.col("_waits").is_not_null())
        .then(pl.concat_str(pl.lit("waits for "), pl.col("_waits")))
        .otherwise(pl.concat_str(pl.lit("missing "), pl.col("missing")))
        .alias("reason")
    )


def counts() -> list[pl.Expr]:
    """Return the number of steps of a group, in total and by status."""
    names = dict(zip(STATUS_COUNTS, [*STATUS.categories, None], strict=True))
    return [
        pl.len().cast(pl.UInt32).alias("n_steps"),
        *(
            (pl.col("status").is_null() if status is None else pl.col("status") == status)
            .sum().cast(pl.UInt32).alias(name)
            for name, status in names.items()
        ),
    ]  # fmt: skip


def first_line(text: pl.Expr) -> pl.Expr:
    """Return the first line of a text, cut to the width of a table column."""
    return text.str.extract(r"^\s*([^\n]{0,200})", 1)
