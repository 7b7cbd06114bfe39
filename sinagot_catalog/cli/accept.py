"""`accept`: records the present outputs of rows as done."""

from __future__ import annotations

from typing import Any

import polars as pl

from sinagot_catalog.cli.echo import clean, say
from sinagot_catalog.cli.output import is_machine, put, put_rows
from sinagot_catalog.cli.workspace_args import open_workspace, selected, steps_of
from sinagot_catalog.errors import row_label
from sinagot_catalog.schema import KEYS

__all__ = ["accept"]


def accept(args: Any) -> int:
    """Accept the selected rows."""
    ws = open_workspace(args)
    rows = selected(ws, args).accept(steps_of(args), all_rows=args.all)
    if is_machine(args):
        put_rows(args, rows)
    else:
        count = int(rows["accepted"].sum())
        put(f"{count:,} {'row' if count == 1 else 'rows'} accepted")
    left = rows.filter(~pl.col("accepted"))
    if left.height:
        first = left.row(0, named=True)
        name = row_label(*(first[key] for key in KEYS))
        say(clean(f"{left.height:,} left out, such as {name}: {first['reason']}"))
    return 0
