"""`gc`: deletes old events, and cleans up after dead runs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sinagot_catalog.cli.echo import broken
from sinagot_catalog.cli.output import put_either
from sinagot_catalog.cli.parser.command import age, verb
from sinagot_catalog.cli.parser.options import ONE_OBJECT, PLACE, time_span
from sinagot_catalog.cli.workspace_args import open_workspace
from sinagot_catalog.config import count_of


@verb(
    "delete old events and the leftovers of dead runs; no status changes",
    """
  sinagot-catalog gc example/harbor --older-than 90d""",
    PLACE,
    time_span(
        "--older-than",
        "the age up to which everything is kept: 36h, 90d (default), 12w",
        parse=age,
        old=["--keep"],
        default="90d",
    ),
    ONE_OBJECT,
)
def gc(args: Any) -> int:
    """Delete old events and the files of dead runs."""
    swept = open_workspace(args).gc(older_than=timedelta(seconds=args.older_than))
    parts = [
        count_of(swept.events, "old event"),
        count_of(swept.selections, "selection"),
        count_of(swept.reports, "report"),
        f"the leftovers of {count_of(swept.runs, 'dead run')}",
    ]
    told = f"deleted: {', '.join(parts)}" if any(asdict(swept).values()) else "there was nothing to delete"
    put_either(args, asdict(swept), broken(told, 2))
    return 0
