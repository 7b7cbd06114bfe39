"""`watch`: runs rows as they become ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import paint, put, put_whole
from sinagot_catalog.cli.run import SOME_FAILED, in_one_line, say_failures
from sinagot_catalog.cli.workspace_args import (
    name_of,
    open_workspace,
    say_what_is_missing,
    selected,
    steps_of,
)

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunReport

__all__ = ["watch"]


def watch(args: Any) -> int:
    """Run rows as they become ready; print a line for each round that ran rows."""
    ws = open_workspace(args)
    reports = selected(ws, args).watch(
        steps_of(args),
        every=args.every,
        settle=args.settle,
        submit=not args.run,
        deployment=args.deployment,
        once=args.once,
        workers=args.workers or None,
        stale=args.stale,
        say=say,
    )
    if not args.once:
        say(f"watching {name_of(ws)}, and looking every {args.every:g} s; Ctrl-C ends it")
    say_what_is_missing(ws)
    ok = True
    for report in reports:
        ok = ok and report.ok
        try:
            _tell(args, report)
        except KeyboardInterrupt:  # the round has resolved its rows: end as between two rounds
            break
    return 0 if ok or not args.once else SOME_FAILED


def _tell(args: Any, report: RunReport) -> None:
    """Print one line on a round, with its failures; or a line of JSON for each of its rows."""
    say_failures(args, report)
    line = f"{time.strftime('%H:%M:%S')}  {in_one_line(report)}"
    if args.json:
        rows = report.frame.with_columns(pl.lit(report.run_id).alias("run_id"))
        put_whole(rows.write_ndjson(), end="")
        say(line)
    else:
        put(paint(line, "32" if report.ok else "31"))
