"""`accept`: records the present outputs of rows as done."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import is_machine, put, put_rows
from sinagot_catalog.cli.parser.command import flag, verb
from sinagot_catalog.cli.parser.options import OUTPUT, ROWS
from sinagot_catalog.cli.workspace_args import first_of, open_workspace, selected
from sinagot_catalog.config import count_of
from sinagot_catalog.startup import polars as pl


@verb(
    "mark the present outputs of rows as up to date, for example after a copy",
    """
  sinagot-catalog accept --step clean
  sinagot-catalog accept --where "record_id < 'REC-20200610'"
  sinagot-catalog accept --all

Rows that lack an output are left out. Recorded are the present inputs, outputs and code, and the parameters
that a command names or that the last run of a script read: from here on, a change of them makes a row stale.
--json, --csv and --parquet have a row per selected row: record_id, task, modality, step, accepted, reason.""",
    ROWS,
    flag("--all", group="which rows", help="all rows of the workspace"),
    OUTPUT,
)
def accept(args: Any) -> int:
    """Accept the selected rows."""
    ws = open_workspace(args)
    rows = selected(ws, args).accept(args.step, all_rows=args.all)
    if is_machine(args):
        put_rows(args, [rows])
    else:
        put(f"{count_of(int(rows['accepted'].sum()), 'row')} accepted")
    left = rows.filter(~pl.col("accepted"))
    if left.height:
        say(f"{left.height:,} left out, such as {first_of(left)}")
    return 0
